//! What metadata servers take back: the host forgets it, and then they are told.

use crate::fs::Fs;
use crate::nodes::Nodes;
use futures::FutureExt as _;
use futures::channel::mpsc::UnboundedReceiver;
use futures::future::{Either, pending};
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::rc::Rc;
use wasmount_ceph::cephfs::{Done, Invalid, Token};
use wasmount_sdk::notify::{Invalidation, invalidate, of_data, of_entry, shrink};
use wasmount_sdk::{ErrorKind, log, system};

/// Invalidations that the host does at the same time. None waits for another, so that a reader that is slow to let go of one file holds up
/// only who wants that file.
const AT_ONCE: usize = 64;
/// After how long the host is asked again if it could not make the kernel let go in time. Until it does, the right is held: giving it
/// back would be a lie, and the server's patience (its `session_autoclose`) decides.
const AGAIN_MS: u64 = 500;

/// Passes on what the client tells without having been asked, until the mount is closed.
pub async fn pass_on(fs: Fs, nodes: Rc<Nodes>, mut news: UnboundedReceiver<Done>) {
    let mut running = FuturesUnordered::new();
    loop {
        let next = if running.len() < AT_ONCE { Either::Left(news.next()) } else { Either::Right(pending()) };
        futures::select_biased! {
            () = running.select_next_some() => {}
            done = next.fuse() => match done {
                Some(Done::Invalidate { token, items }) => {
                    let items = items.into_iter().filter_map(|item| translate(&nodes, item)).collect();
                    running.push(forget(fs.clone(), token, items));
                }
                Some(Done::Shrink { count }) => shrink(count),
                // Somebody gave it up when it was answered already.
                Some(Done::Call { result, .. }) => result.into_iter().for_each(|answer| fs.give_back(answer)),
                None => return,
            },
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
    use wasmount_ceph::cephfs::Vino;

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
