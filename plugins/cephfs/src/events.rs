//! What metadata servers take back: the host forgets it, and then they are told.

use crate::fs::Fs;
use crate::nodes::Nodes;
use futures::FutureExt as _;
use futures::channel::mpsc::UnboundedReceiver;
use futures::future::poll_fn;
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};
use wasmount_ceph::cephfs::{Done, Invalid, Token};
use wasmount_sdk::notify::{Invalidation, invalidate, of_data, of_entry, shrink};
use wasmount_sdk::{ErrorKind, log, system};

/// Invalidations of names and attributes that the host does at the same time. The client tells at most 256 items in one, and the host takes 20 000
/// altogether: these and those of bytes are fewer.
const QUICK_AT_ONCE: usize = 64;
/// The same of bytes, of one file each. They may have to wait for reads, and those for an OSD that does not answer: a reader that is slow to let go
/// of one file holds up only who wants that file, as long as there are not thousands of them, and nobody who wants something else.
const SLOW_AT_ONCE: usize = 2048;
/// After how long the host is asked again if it could not make the kernel let go in time. Until it does, the right is held: giving it
/// back would be a lie, and the server's patience (its `session_autoclose`) decides.
const AGAIN_MS: u64 = 500;

/// Passes on what the client tells without having been asked, until the mount is closed.
pub async fn pass_on(fs: Fs, nodes: Rc<Nodes>, mut news: UnboundedReceiver<Done>) {
    let mut lanes = Lanes::new();
    loop {
        futures::select_biased! {
            () = poll_fn(|context| lanes.poll_ended(context)).fuse() => {}
            done = news.next() => match done {
                Some(Done::Invalidate { token, items }) => {
                    let pace = pace(&items);
                    let items = items.into_iter().filter_map(|item| translate(&nodes, item)).collect();
                    lanes.begin(pace, forget(fs.clone(), token, items));
                }
                Some(Done::Shrink { count }) => shrink(count),
                // Somebody gave it up when it was answered already.
                Some(Done::Call { result, .. }) => result.into_iter().for_each(|answer| fs.give_back(answer)),
                None => return,
            },
        }
    }
}

/// How long an invalidation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Nobody waits for it, and there is not more than one for each loss of a session.
    Unlimited,
    Quick,
    Slow,
}

fn pace(items: &[Invalid]) -> Pace {
    let one = |item: &Invalid| match item {
        Invalid::Everything => Pace::Unlimited,
        Invalid::Data(_) => Pace::Slow,
        Invalid::Attributes(_) | Invalid::Entry(..) | Invalid::Directory(_) => Pace::Quick,
    };
    items.iter().map(one).find(|pace| *pace != Pace::Quick).unwrap_or(Pace::Quick)
}

/// Invalidations under way. What is slow does not stand before what is not.
struct Lanes<F> {
    quick: Lane<F>,
    slow: Lane<F>,
}

/// Work that is done at the same time, up to a limit; what comes then waits for its turn.
struct Lane<F> {
    running: FuturesUnordered<F>,
    waiting: VecDeque<F>,
    at_once: usize,
}

impl<F: Future<Output = ()>> Lanes<F> {
    fn new() -> Self {
        let lane = |at_once| Lane { running: FuturesUnordered::new(), waiting: VecDeque::new(), at_once };
        Self { quick: lane(QUICK_AT_ONCE), slow: lane(SLOW_AT_ONCE) }
    }

    fn begin(&mut self, pace: Pace, work: F) {
        match pace {
            Pace::Unlimited => self.slow.running.push(work),
            Pace::Quick => self.quick.push(work),
            Pace::Slow => self.slow.push(work),
        }
    }

    /// Goes on with all of them; ready when one has ended.
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let ended = [&mut self.quick, &mut self.slow].map(|lane| lane.poll_ended(context));
        if ended.iter().any(Poll::is_ready) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<F: Future<Output = ()>> Lane<F> {
    fn push(&mut self, work: F) {
        if self.running.len() < self.at_once {
            self.running.push(work);
        } else {
            self.waiting.push_back(work);
        }
    }

    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.running.poll_next_unpin(context) {
            Poll::Ready(Some(())) => {
                if self.running.len() < self.at_once {
                    self.running.extend(self.waiting.pop_front());
                }
                Poll::Ready(())
            }
            // Whoever begins something polls again.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// What the host has to forget; `None`: nothing, since it has no number for it.
fn translate(nodes: &Nodes, item: Invalid) -> Option<Invalidation> {
    Some(match item {
        Invalid::Attributes(vino) => Invalidation::Attributes(nodes.number(vino)?),
        Invalid::Data(vino) => of_data(nodes.number(vino)?),
        Invalid::Entry(vino, name) => of_entry(nodes.number(vino)?, &*name),
        Invalid::Directory(vino) => Invalidation::Directory(nodes.number(vino)?),
        Invalid::Everything => Invalidation::Everything,
    })
}

/// Has these forgotten, however long it takes, and tells the client.
async fn forget(fs: Fs, token: Token, items: Vec<Invalidation>) {
    while !items.is_empty() {
        match invalidate(items.clone()).await {
            Ok(()) => break,
            Err(error) if error.kind == ErrorKind::Interrupted => return,
            Err(error) => {
                log::warn(&format!(
                    "the host does not let go of what another client wants: {}",
                    error.message
                ));
                system::sleep(AGAIN_MS).await;
            }
        }
    }
    fs.invalidated(token);
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::channel::oneshot;
    use futures::future::LocalBoxFuture;
    use std::cell::Cell;
    use wasmount_ceph::cephfs::Vino;

    /// Goes on until nothing is left that can end.
    fn go_on<F: Future<Output = ()>>(lanes: &mut Lanes<F>) {
        while poll_fn(|context| lanes.poll_ended(context)).now_or_never().is_some() {}
    }

    #[test]
    fn readers_that_do_not_let_go_hold_up_nobody_else() {
        let ended = Rc::new(Cell::new(0));
        let mut lanes = Lanes::<LocalBoxFuture<'static, ()>>::new();
        let mut readers = VecDeque::new();
        let file = [Invalid::Data(Vino::head(7))];
        let mut take_back = |lanes: &mut Lanes<_>, pace, count| {
            for _ in 0..count {
                let (reader, ends) = oneshot::channel::<()>();
                let ended = ended.clone();
                readers.push_back(reader);
                let work = async move {
                    let _ends_with_its_reader = ends.await;
                    ended.set(ended.get() + 1);
                };
                lanes.begin(pace, work.boxed_local());
            }
        };
        take_back(&mut lanes, pace(&file), SLOW_AT_ONCE + 10);
        go_on(&mut lanes);
        let names = [Invalid::Directory(Vino::ROOT), Invalid::Attributes(Vino::head(8))];
        let at_once = || async {}.boxed_local();
        for _ in 0..3 * QUICK_AT_ONCE {
            lanes.begin(pace(&names), at_once());
        }
        lanes.begin(pace(&[Invalid::Everything]), at_once());
        go_on(&mut lanes);
        assert_eq!((lanes.quick.running.len(), lanes.quick.waiting.len()), (0, 0));
        assert_eq!((lanes.slow.running.len(), lanes.slow.waiting.len()), (SLOW_AT_ONCE, 10));
        // Not too many are begun, and each that ends makes room for one.
        take_back(&mut lanes, pace(&names), QUICK_AT_ONCE + 1);
        assert_eq!((lanes.quick.running.len(), lanes.quick.waiting.len()), (QUICK_AT_ONCE, 1));
        readers.drain(..10);
        go_on(&mut lanes);
        assert_eq!((lanes.slow.running.len(), lanes.slow.waiting.len()), (SLOW_AT_ONCE, 0));
        drop(readers);
        go_on(&mut lanes);
        assert_eq!(ended.get(), SLOW_AT_ONCE + 10 + QUICK_AT_ONCE + 1);
    }

    #[test]
    fn the_host_is_told_its_own_numbers() {
        let root = Vino::head(0x1_0000_0000);
        let nodes = Nodes::new(root, None);
        let frozen = Vino { ino: 1 << 50, snap: 3 };
        assert!(translate(&nodes, Invalid::Attributes(frozen)).is_none(), "it has no number");
        let number = nodes.refer(frozen);
        let told = |item| format!("{:?}", translate(&nodes, item).unwrap());
        assert_eq!(told(Invalid::Attributes(frozen)), format!("{:?}", Invalidation::Attributes(number)));
        assert_eq!(told(Invalid::Directory(root)), format!("{:?}", Invalidation::Directory(1)));
        assert_eq!(
            told(Invalid::Entry(root, b"\xff".as_slice().into())),
            format!("{:?}", of_entry(1, b"\xff"))
        );
        assert_eq!(told(Invalid::Data(Vino::head(7))), format!("{:?}", of_data(7)));
        assert_eq!(told(Invalid::Everything), format!("{:?}", Invalidation::Everything));
    }
}
