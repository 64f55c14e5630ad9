//! A mount from beginning to end.

use crate::adapter::Adapter;
use crate::device::Device;
use crate::init::{Handshake, Init, MAX_READ};
use crate::kernel::KernelSide;
use crate::options::MountOptions;
use crate::passthrough::{Backings, Passthrough};
use crate::patience::Patience;
use crate::piped::Reads;
use crate::serve::Server;
use crate::stale::{self, StaleError};
use crate::{attach, bdi, mountinfo};
use fuser::{Config, Session, SessionACL};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use wasmount_core::FileSystem;

/// So long an unmount by force may take to get from the connection to the mount.
const FORCED: Duration = Duration::from_secs(1);

/// Why there is no mount.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// Something at the target is in the way.
    #[error(transparent)]
    Stale(#[from] StaleError),
    /// The target cannot be a mount point.
    #[error("cannot use {} as a mount point: {cause}", target.display())]
    Target {
        /// The mount point.
        target: PathBuf,
        /// What is wrong with it.
        cause: io::Error,
    },
    /// The kernel refused.
    #[error(
        "cannot mount at {}: {cause}; mounting needs /dev/fuse and CAP_SYS_ADMIN (a privileged container, or \
         --device /dev/fuse --cap-add SYS_ADMIN)",
        target.display()
    )]
    Mount {
        /// The mount point.
        target: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The mount could not be taken away.
    #[error("cannot unmount {}: {cause}", target.display())]
    Unmount {
        /// The mount point.
        target: PathBuf,
        /// What the kernel said.
        cause: io::Error,
    },
    /// Reading requests failed.
    #[error("the FUSE session at {} broke off: {cause}", target.display())]
    Session {
        /// The mount point.
        target: PathBuf,
        /// What happened.
        cause: String,
    },
}

/// A live mount. Dropping it neither unmounts nor ends it. Clones are the same mount.
#[derive(Clone)]
pub struct Mounted {
    target: PathBuf,
    device: String,
    backings: Arc<Backings>,
    unanswered: Option<Duration>,
    /// It is being taken away: see [`Port`](crate::kernel).
    leaving: Arc<AtomicBool>,
    ended: watch::Receiver<Option<Result<(), String>>>,
}

impl Mounted {
    /// The mount point, absolute and without symbolic links.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Whether the kernel reads cached files by itself. May change to off with the first file that could have been.
    pub fn passthrough(&self) -> Passthrough {
        self.backings.passthrough()
    }

    /// How long the kernel waits for an answer before it ends the mount; `None`: for ever.
    pub fn unanswered(&self) -> Option<Duration> {
        self.unanswered
    }

    /// Takes the mount away from its place. Who uses it keeps it alive: [`Self::ended`] says when that is over.
    ///
    /// A mount that somebody else has taken away already is fine, and one that somebody has put in its place is
    /// left alone.
    ///
    /// # Errors
    /// When the kernel refuses, or another mount lies on top.
    pub fn unmount(&self) -> Result<(), MountError> {
        let fail = |cause| MountError::Unmount { target: self.target.clone(), cause };
        // Once the session is over the kernel gives its device number to the next mount, which may be our successor's.
        if matches!(*self.ended.borrow(), Some(Ok(()))) {
            return Ok(());
        }
        let here = mountinfo::at(&self.target).map_err(fail)?;
        let ours = |entry: &mountinfo::MountEntry| entry.device == self.device;
        if !here.iter().any(ours) {
            return Ok(());
        }
        if let Some(top) = here.last().filter(|entry| !ours(entry)) {
            return Err(fail(io::Error::other(format!("a {} mount lies on top of it", top.fs_type))));
        }
        self.leaving.store(true, Ordering::SeqCst);
        match attach::detach(&self.target) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
            Err(errno) => Err(fail(errno.into())),
        }
    }

    /// [`unmount`](Self::unmount) on a thread of its own. With the last reference to a mount the kernel waits in there until no message to it is
    /// under way, and one of these may wait for a page, so for the answer to a READ.
    ///
    /// # Errors
    /// As [`unmount`](Self::unmount).
    ///
    /// # Cancellation safety
    /// It goes on when this is dropped.
    pub async fn unmounted(&self) -> Result<(), MountError> {
        let (tell, told) = oneshot::channel();
        let mounted = self.clone();
        let thread = std::thread::Builder::new().name("fuse-unmount".to_owned());
        // Nobody may be waiting any more.
        let started = thread.spawn(move || drop(tell.send(mounted.unmount())));
        started.map_err(|cause| MountError::Unmount { target: self.target.clone(), cause })?;
        told.await.unwrap_or(Ok(()))
    }

    /// Waits until the kernel has ended the session: unmounted, by us or by anybody, and used no more.
    ///
    /// # Errors
    /// When it ended in another way.
    ///
    /// # Cancellation safety
    /// May be dropped and called again.
    pub async fn ended(&self) -> Result<(), MountError> {
        let mut ended = self.ended.clone();
        let outcome = match ended.wait_for(Option::is_some).await {
            Ok(value) => value.clone().unwrap_or(Ok(())),
            Err(_) => Err("its thread is gone".to_owned()),
        };
        outcome.map_err(|cause| MountError::Session { target: self.target.clone(), cause })
    }
}

/// Cleans the target, creates it, mounts `fs` on it read-only and serves it from threads of its own; requests that
/// have to wait run on `runtime`.
///
/// # Errors
/// Each names the mount point and what to do.
pub fn mount(
    fs: Arc<dyn FileSystem>,
    runtime: tokio::runtime::Handle,
    options: &MountOptions,
) -> Result<Mounted, MountError> {
    let source = word(&options.source);
    let target = prepare(&options.target, &source)?;
    let fail = |cause| MountError::Mount { target: target.clone(), cause };
    let connection = attach::attach(&target, &source, &word(&options.subtype)).map_err(fail)?;
    begin(fs, runtime, options, connection, &target).map_err(|cause| {
        // Without anybody to serve it, it would only be in the way.
        let _ = attach::detach(&target);
        fail(cause)
    })
}

/// Shakes hands with the kernel and starts the threads.
fn begin(
    fs: Arc<dyn FileSystem>,
    runtime: tokio::runtime::Handle,
    options: &MountOptions,
    connection: OwnedFd,
    target: &Path,
) -> io::Result<Mounted> {
    let patience = Patience::new(options.unanswered, options.request_timeout);
    if patience.deadline < options.request_timeout {
        tracing::warn!(
            seconds = patience.deadline.as_secs_f64(),
            wanted = options.request_timeout.as_secs_f64(),
            "requests get less time than was asked for, because the sysctls fs.fuse.*_request_timeout end mounts that are slower"
        );
    }
    let backings = Arc::new(Backings::new());
    let server = Server::new(fs.clone(), options.operations.clone(), runtime, patience.deadline);
    let device = |connection: &OwnedFd| connection.try_clone().map(Device::new);
    let (ours, for_init, for_reads) = (device(&connection)?, device(&connection)?, device(&connection)?);
    let handshake = Arc::new(Handshake::new(Init::new(options, patience.ask), for_init));
    let reads = Arc::new(Reads::new(for_reads, MAX_READ as usize));
    let adapter = Adapter::new(server, backings.clone(), handshake.clone(), reads);
    let session = Session::from_fd(adapter, connection, SessionACL::All, session_config(options))?;
    let agreed =
        handshake.agreed().ok_or_else(|| io::Error::other("the kernel was not asked for anything"))?;
    backings.negotiated(agreed.passthrough);
    let unanswered = patience.of_kernel(agreed.asked_patience);

    // The kernel waits with its first request until the threads run; until then nothing here may touch the mount.
    let Some(entry) = mountinfo::at(target)?.into_iter().next_back() else {
        return Err(io::Error::other("the mount is not in /proc/self/mountinfo"));
    };
    let device = entry.device;
    if let Err(error) = bdi::set_read_ahead(&device, options.read_ahead_kib) {
        tracing::info!(%error, "reads stay at 128 KiB each, because /sys is not writable here");
    }
    let kernel = KernelSide::start(ours)?;
    let leaving = Arc::new(AtomicBool::new(false));
    let takes_pages = options.store_pages && unanswered.is_some();
    fs.mounted(kernel.port(takes_pages, options.keep_names && agreed.has_epochs, leaving.clone()));
    let (tell, ended) = watch::channel(None);
    let (own, place, start) = (device.clone(), target.to_owned(), options.thread_start);
    std::thread::Builder::new().name("fuse-session".to_owned()).spawn(move || {
        start();
        let outcome = how_it_ended(session.run(), &own, &place, unanswered);
        kernel.end();
        // Nobody may be listening any more.
        let _ = tell.send(Some(outcome));
    })?;
    Ok(Mounted { target: target.to_owned(), device, backings, unanswered, leaving, ended })
}

/// How a session ended: by an unmount, or else why.
///
/// Its end does not say. A request that the kernel hands over while it is unmounted fails as one of an aborted connection does, and
/// a connection that the kernel has ended for want of answers looks like one that was unmounted. But only an unmount
/// takes the mount away, and does so before the connection ends, unless it is by force. What is mounted under its
/// device number and answers is another mount, to which the kernel has given the number since. It is asked at our target only: a mount
/// is busy while somebody looks at it, and elsewhere somebody may be about to unmount it.
fn how_it_ended(
    run: io::Result<()>,
    device: &str,
    target: &Path,
    unanswered: Option<Duration>,
) -> Result<(), String> {
    let mounted = || {
        let ours =
            |entry: &mountinfo::MountEntry| entry.device == device && stale::is_dead(&entry.mount_point);
        mountinfo::at(target).is_ok_and(|mounts| mounts.iter().any(ours))
    };
    let error = match run {
        Ok(()) => {
            let patience = Instant::now() + FORCED;
            while mounted() && Instant::now() < patience {
                std::thread::sleep(FORCED / 20);
            }
            let limit = unanswered.map(|limit| {
                let limit = limit.as_secs();
                format!(
                    ", or because a request had no answer for {limit} s, as after a long stop of this process"
                )
            });
            format!("the kernel ended the connection: by force{}", limit.unwrap_or_default())
        }
        Err(error) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::CONNABORTED) => {
            error.to_string()
        }
        Err(error) => return Err(error.to_string()),
    };
    if mounted() { Err(error) } else { Ok(()) }
}

/// Makes an empty mount point of the target and returns its real path.
fn prepare(target: &Path, own_source: &str) -> Result<PathBuf, MountError> {
    let fail = |cause| MountError::Target { target: target.to_owned(), cause };
    let Some(name) = target.file_name() else {
        return Err(fail(io::Error::other("the path must end in the name of a directory")));
    };
    // Not the target itself: on a dead mount even looking at it fails.
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(fail)?;
    let path = parent.canonicalize().map_err(fail)?.join(name);
    detach(&path, own_source)?;
    std::fs::create_dir_all(&path).map_err(fail)?;
    let real = path.canonicalize().map_err(fail)?;
    if real != path {
        detach(&real, own_source)?;
    }
    Ok(real)
}

fn detach(path: &Path, own_source: &str) -> Result<(), MountError> {
    for entry in stale::detach_all(path, own_source)? {
        tracing::warn!(
            target_path = %path.display(),
            fs_type = entry.fs_type,
            source = entry.source,
            "detached the mount that an earlier process left here"
        );
    }
    Ok(())
}

/// A text that may stand in a list of mount options and in a line of `/proc/mounts`.
fn word(text: &str) -> String {
    let clean = |c: char| if c.is_whitespace() || c.is_control() || c == ',' { '_' } else { c };
    text.chars().map(clean).collect()
}

fn session_config(options: &MountOptions) -> Config {
    let mut config = Config::default();
    config.n_threads = Some(options.threads.max(1));
    // A cloned descriptor could not be handed to a successor process.
    config.clone_fd = false;
    config
}
