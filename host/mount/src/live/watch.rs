//! Notices that something in a directory may have changed.
//!
//! kubelet writes a new directory, points the link `..data_tmp` at it and renames that to `..data`: files are never written in place, so it is directories
//! that are watched. What has changed, whoever asks finds out by looking.

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};

/// After an event nobody looks for so long: one exchange of a directory is several events, and a file that somebody writes in place is half there at
/// first.
const SETTLE: Duration = Duration::from_millis(100);

/// Somebody looks after so long whatever happens: a directory may have been exchanged above the watched one, and on some file
/// systems there are no events.
const SELDOM: Duration = Duration::from_secs(10);

/// The same where nothing can be watched.
const OFTEN: Duration = Duration::from_secs(1);

/// Room for some events; how many there are does not matter.
const BUFFER: usize = 4096;

/// Watched directories.
pub(crate) struct Watch {
    /// `None`: the system has no more of them to give.
    events: Option<AsyncFd<OwnedFd>>,
    directories: BTreeMap<PathBuf, i32>,
}

impl Watch {
    /// Nothing is watched yet.
    pub(crate) fn new() -> Self {
        #[expect(
            deprecated,
            reason = "what `register` has its callers promise, an OwnedFd promises by its type"
        )]
        let register = AsyncFd::new;
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(std::io::Error::from)
            .and_then(register)
            .inspect_err(|error| {
                tracing::info!(%error, "files are looked at once a second, because they cannot be watched (inotify)");
            });
        Self { events: events.ok(), directories: BTreeMap::new() }
    }

    /// Watches these directories and no others. Those that are not there are tried again with the next call.
    pub(crate) fn observe(&mut self, directories: BTreeSet<PathBuf>) {
        let Some(events) = &self.events else { return };
        let flags = WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let before = std::mem::take(&mut self.directories);
        for directory in directories {
            // Of one that is watched already nothing changes; another one of the same name is another one.
            if let Ok(number) = inotify::add_watch(events.get_ref(), &directory, flags) {
                self.directories.insert(directory, number);
            }
        }
        let still: BTreeSet<i32> = self.directories.values().copied().collect();
        for number in before.into_values().filter(|number| !still.contains(number)) {
            // Gone with its directory, perhaps.
            let _ = inotify::remove_watch(events.get_ref(), number);
        }
    }

    /// Waits until something may have changed.
    ///
    /// # Cancellation safety
    /// Events are lost; whoever goes on should look first.
    pub(crate) async fn changed(&mut self) {
        let Some(events) = &mut self.events else { return sleep(OFTEN).await };
        // The end of the time is as good as an event.
        if timeout(SELDOM, drain(events)).await.is_ok() {
            sleep(SETTLE).await;
            let _ = timeout(Duration::ZERO, drain(events)).await;
        }
    }
}

/// Waits for events and takes all that are there.
async fn drain(events: &mut AsyncFd<OwnedFd>) {
    let Ok(mut ready) = events.readable().await else { return sleep(OFTEN).await };
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut reader = Reader::new(ready.get_inner(), &mut buffer);
    while reader.next().is_ok() {}
    ready.clear_ready();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    const SOON: Duration = Duration::from_secs(2);

    #[tokio::test]
    async fn what_kubelet_does_is_noticed_and_silence_is_silence() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let mut watch = Watch::new();
        let observed = || BTreeSet::from([dir.path().to_owned(), path("later")]);
        watch.observe(observed());
        let silence = Duration::from_millis(300);
        assert!(timeout(silence, watch.changed()).await.is_err());

        fs::create_dir(path("..1")).unwrap();
        symlink("..1", path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        timeout(SOON, watch.changed()).await.unwrap();
        assert!(timeout(silence, watch.changed()).await.is_err(), "one exchange is one change");

        fs::create_dir(path("later")).unwrap();
        timeout(SOON, watch.changed()).await.unwrap();
        watch.observe(observed());
        fs::write(path("later/key"), "x").unwrap();
        timeout(SOON, watch.changed()).await.unwrap();
        fs::remove_dir_all(path("later")).unwrap();
        timeout(SOON, watch.changed()).await.unwrap();

        watch.observe(BTreeSet::new());
        let _ = timeout(silence, watch.changed()).await;
        fs::write(path("unobserved"), "x").unwrap();
        assert!(timeout(silence, watch.changed()).await.is_err());
    }
}
