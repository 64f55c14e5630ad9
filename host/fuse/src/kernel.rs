//! What core may tell the kernel.

use crate::device::Device;
use crate::drops::{DropWriter, Drops};
use crate::pages::{Notes, PageWriter};
use bytes::Bytes;
use std::any::Any;
use std::future::ready;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::oneshot;
use wasmount_core::ports::{BoxFuture, KernelPages};
use wasmount_types::{Ino, Name};

/// The threads behind [`KernelPages`]. They hold the connection until [`end`](Self::end).
pub(crate) struct KernelSide {
    pages: PageWriter,
    drops: DropWriter<Device>,
}

impl KernelSide {
    /// Starts them.
    pub(crate) fn start(device: Device) -> io::Result<Self> {
        let device = Arc::new(device);
        let pages = PageWriter::start(device.clone())?;
        let drops = DropWriter::start(device, pages.notes())?;
        Ok(Self { pages, drops })
    }

    /// What core gets. `takes_pages`: it may store bytes; `has_epochs`: the kernel can be told to look all names up again; `leaving`: the
    /// mount is being taken away.
    pub(crate) fn port(
        &self,
        takes_pages: bool,
        has_epochs: bool,
        leaving: Arc<AtomicBool>,
    ) -> Arc<dyn KernelPages> {
        let (notes, drops) = (self.pages.notes(), self.drops.drops());
        Arc::new(Port { notes, drops, takes_pages, has_epochs, leaving })
    }

    /// Ends them. Waits for the messages that are being written, which are over at the latest with the connection.
    pub(crate) fn end(self) {
        self.drops.end();
        self.pages.end();
    }
}

struct Port {
    notes: Arc<Notes>,
    drops: Arc<Drops<Device>>,
    takes_pages: bool,
    has_epochs: bool,
    /// Who takes the mount away waits for messages that wait for pages, and all others then wait behind him (`fuse_conn::killsb`). None may be sent by a
    /// thread that answers READs: these are what it all waits for.
    leaving: Arc<AtomicBool>,
}

impl Port {
    /// Sends a message that waits for nothing. `None` when the connection is over or the kernel refused.
    fn send<T>(&self, what: &str, send: impl FnOnce(&Device) -> io::Result<T>) -> Option<T> {
        let sent = send(&*self.drops.kernel()?);
        sent.inspect_err(|error| tracing::debug!(%error, "the kernel did not take {what}")).ok()
    }

    fn drop_attributes_elsewhere(&self, ino: Ino) -> BoxFuture<'static, bool> {
        let Some(kernel) = self.drops.kernel() else { return Box::pin(ready(false)) };
        let (tell, told) = oneshot::channel();
        let work = move || {
            // Nobody may be waiting any more.
            let _ = tell.send(kernel.drop_attributes(ino).unwrap_or(false));
        };
        if let Err(error) = std::thread::Builder::new().name("fuse-attributes".to_owned()).spawn(work) {
            tracing::debug!(%error, "attributes stay known to the kernel until it has unmounted");
        }
        Box::pin(async move { told.await.unwrap_or(false) })
    }
}

impl KernelPages for Port {
    fn takes_pages(&self) -> bool {
        self.takes_pages
    }

    fn store(&self, ino: Ino, offset: u64, bytes: Bytes, held: Option<Arc<dyn Any + Send + Sync>>) {
        if self.takes_pages {
            self.notes.store(ino, offset, bytes, held);
        }
    }

    fn invalidate(&self, ino: Ino) {
        self.notes.invalidate(ino);
    }

    fn drop_attributes(&self, ino: Ino) -> BoxFuture<'static, bool> {
        if self.leaving.load(Ordering::SeqCst) {
            return self.drop_attributes_elsewhere(ino);
        }
        let known = self.send("word of changed attributes", |device| device.drop_attributes(ino));
        Box::pin(ready(known.unwrap_or(false)))
    }

    fn drop_pages(&self, ino: Ino, range: Option<Range<u64>>) -> BoxFuture<'static, bool> {
        Box::pin(self.drops.clone().drop_pages(ino, range))
    }

    fn drop_names(&self, names: Vec<(Ino, Name)>) -> BoxFuture<'static, ()> {
        let Some(kernel) = self.drops.kernel().filter(|_| !names.is_empty()) else {
            return Box::pin(ready(()));
        };
        let (tell, told) = oneshot::channel();
        // A thread of its own: the kernel waits for directories in which somebody looks something up. It happens when mounts are exchanged,
        // which is seldom.
        let started = std::thread::Builder::new().name("fuse-names".to_owned()).spawn(move || {
            for (parent, name) in names {
                if let Err(error) = kernel.drop_name(parent, &name) {
                    tracing::debug!(%error, "the kernel did not take back a name");
                }
            }
            // Nobody may be waiting any more.
            let _ = tell.send(());
        });
        if let Err(error) = started {
            tracing::warn!(%error, "names that are gone stay known to the kernel until they run out");
        }
        Box::pin(async move { told.await.unwrap_or(()) })
    }

    fn drop_entries(&self) -> bool {
        if self.has_epochs {
            // It fails only when the connection is over, and then no name is of any use.
            let _ = self.send("a new epoch", Device::next_epoch);
        }
        self.has_epochs
    }

    fn keeps_entries(&self) -> bool {
        self.has_epochs
    }
}
