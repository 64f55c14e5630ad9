//! `notify`: what a provider says is no longer true.

use super::types::to_wit;
use super::wit::notify as wit;
use super::wit::types::Error as WitError;
use super::{interruptible, too_large, with};
use crate::instance::{GuestState, HasGuest};
use crate::limits::Limits;
use futures::task::noop_waker;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Context;
use tokio::sync::oneshot;
use wasmount_core::ports::{BoxFuture, FileEvents, Invalidation, NodeNumber};
use wasmount_types::{Blame, ByteRange, Error, ErrorKind, Name};
use wasmtime::component::Accessor;

/// Where the notifications of one mount's instances go: nowhere until somebody subscribes, since what nobody has asked for cannot be
/// cached.
#[derive(Default)]
pub(crate) struct Events {
    to: OnceLock<Arc<dyn FileEvents>>,
    /// Items of invalidations that have not returned.
    items: AtomicUsize,
}

impl Events {
    /// From now on they go there. The first one stays.
    pub(crate) fn subscribe(&self, to: Arc<dyn FileEvents>) {
        let _ = self.to.set(to);
    }

    /// What vouched for everything is gone.
    pub(crate) fn begin_anew(&self) {
        let Some(to) = self.to.get() else { return };
        begin(to.invalidate(vec![Invalidation::Everything]));
    }

    /// Room for so many items until the guard is dropped.
    fn room(self: &Arc<Self>, count: usize, limits: &Limits) -> Result<Room, Error> {
        let most = limits.invalidations;
        let add = |items: usize| items.checked_add(count).filter(|items| *items <= most);
        match self.items.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add) {
            Ok(_) => Ok(Room { events: self.clone(), count }),
            Err(_) => {
                Err(too_large(format_args!("more than {most} items in invalidations that have not returned")))
            }
        }
    }
}

/// Begins something that comes to its end without being waited for.
fn begin(mut work: Forgetting) {
    // What it does at once is done when this returns; all else goes on by itself.
    let _ = work.as_mut().poll(&mut Context::from_waker(&noop_waker()));
}

/// See [`Events::room`].
struct Room {
    events: Arc<Events>,
    count: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.events.items.fetch_sub(self.count, Ordering::SeqCst);
    }
}

fn node(number: u64) -> Result<NodeNumber, Error> {
    match number {
        0 => Err(Error::new(ErrorKind::Invalid, Blame::Plugin, "there is no node 0")),
        _ => Ok(NodeNumber(number)),
    }
}

/// An item in the words of the host; `None`: of a kind that a file system does not have.
fn item(item: wit::Invalidation) -> Result<Option<Invalidation>, Error> {
    Ok(Some(match item {
        wit::Invalidation::Attributes(number) => Invalidation::Attributes(node(number)?),
        wit::Invalidation::Data(key) => {
            let range = key.range.map(|range| ByteRange { offset: range.offset, length: range.length });
            Invalidation::Data(node(key.node)?, range)
        }
        wit::Invalidation::Entry(key) => {
            let name = Name::new(&key.name).map_err(|what| {
                Error::new(ErrorKind::Invalid, Blame::Plugin, format!("an entry to be forgotten: {what}"))
            })?;
            Invalidation::Entry(node(key.parent)?, name)
        }
        wit::Invalidation::Directory(number) => Invalidation::Directory(node(number)?),
        wit::Invalidation::Geometry(_) => return Ok(None),
        wit::Invalidation::Everything => Invalidation::Everything,
    }))
}

/// Under way until the host has forgotten.
type Forgetting = BoxFuture<'static, Result<(), Error>>;

/// Checks what a guest wants to be forgotten, and where it goes. `None`: there is nothing to be done.
fn accept(state: &GuestState, items: Vec<wit::Invalidation>) -> Result<Option<(Forgetting, Room)>, Error> {
    let (events, limits) = (&state.rights.events, &state.rights.limits);
    if items.len() > limits.invalidation {
        let count = items.len();
        return Err(too_large(format_args!("{count} items at once, the limit is {}", limits.invalidation)));
    }
    let items = items.into_iter().filter_map(|one| item(one).transpose()).collect::<Result<Vec<_>, _>>()?;
    let Some(to) = events.to.get().filter(|_| !items.is_empty()) else { return Ok(None) };
    let room = events.room(items.len(), limits)?;
    Ok(Some((to.invalidate(items), room)))
}

impl wit::Host for GuestState {
    fn shrink(&mut self, nodes: u64) -> wasmtime::Result<()> {
        if let Some(to) = self.rights.events.to.get() {
            to.shrink(nodes);
        }
        Ok(())
    }
}

impl<T: Send + 'static> wit::HostWithStore<T> for HasGuest {
    async fn invalidate(
        acc: &Accessor<T, Self>,
        items: Vec<wit::Invalidation>,
    ) -> wasmtime::Result<Result<(), WitError>> {
        let (accepted, limit) =
            with(acc, |state| (accept(state, items), state.rights.limits.invalidate_time));
        let (work, room) = match accepted {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(to_wit(error))),
        };
        // The work goes on when the guest does not wait for it any more, and takes its room as long.
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            let _room = room;
            // Nobody may be waiting any more.
            let _ = tell.send(work.await);
        });
        let work = async {
            match tokio::time::timeout(limit, told).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(Error::new(ErrorKind::Interrupted, Blame::Host, "wasmount is stopping")),
                Err(_) => {
                    Err(Error::timed_out(Blame::Host, "making the kernel forget what is no longer true"))
                }
            }
        };
        Ok(interruptible(acc, work).await.unwrap_or_else(|stopped| Err(stopped.error())).map_err(to_wit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Remembers what it was told.
    #[derive(Default)]
    struct Told(Mutex<Vec<Invalidation>>);

    impl FileEvents for Told {
        fn invalidate(&self, items: Vec<Invalidation>) -> BoxFuture<'static, Result<(), Error>> {
            self.0.lock().unwrap().extend(items);
            Box::pin(std::future::ready(Ok(())))
        }

        fn shrink(&self, _nodes: u64) {}
    }

    #[test]
    fn items_that_make_no_sense_are_refused() {
        let entry =
            |parent, name: &[u8]| wit::Invalidation::Entry(wit::EntryKey { parent, name: name.into() });
        for bad in [
            wit::Invalidation::Attributes(0),
            wit::Invalidation::Directory(0),
            wit::Invalidation::Data(wit::DataKey { node: 0, range: None }),
            entry(0, b"a"),
            entry(1, b""),
            entry(1, b"a/b"),
            entry(1, b".."),
            entry(1, &[b'a'; 256]),
        ] {
            let error = item(bad).unwrap_err();
            assert_eq!((error.kind, error.blame), (ErrorKind::Invalid, Blame::Plugin));
        }
        let name = Name::new(b"\xff").unwrap();
        assert_eq!(item(entry(7, b"\xff")).unwrap(), Some(Invalidation::Entry(NodeNumber(7), name)));
        assert_eq!(item(wit::Invalidation::Geometry(1)).unwrap(), None);
    }

    #[test]
    fn there_is_room_for_so_many_items_and_no_more() {
        let limits = Limits { invalidations: 10, ..Limits::default() };
        let events = Arc::new(Events::default());
        let first = events.room(6, &limits).unwrap();
        assert_eq!(events.room(5, &limits).err().unwrap().kind, ErrorKind::TooLarge);
        let second = events.room(4, &limits).unwrap();
        drop((first, second));
        events.room(10, &limits).unwrap();
    }

    #[test]
    fn the_first_subscriber_hears_that_everything_begins_anew() {
        let (events, first, second) = (Events::default(), Arc::<Told>::default(), Arc::<Told>::default());
        events.begin_anew();
        events.subscribe(first.clone());
        events.subscribe(second.clone());
        events.begin_anew();
        assert_eq!(*first.0.lock().unwrap(), [Invalidation::Everything]);
        assert!(second.0.lock().unwrap().is_empty());
    }
}
