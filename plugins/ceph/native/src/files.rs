//! A mounted CephFS as a program uses it: calls that wait. What the cluster takes back is given back at once, since nothing is kept here.

use crate::aead::Aes128GcmFactory;
use crate::client::{Client, ClientError};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;
use wasmount_ceph::Now;
use wasmount_ceph::cephfs::{
    Answer, Attributes, Done, FileId, FsClient, FsConfig, FsError, FsMount, ListedEntry, ReadPlan, Vino,
};
use wasmount_ceph::mds::{Caps, FilePath, SessionConfig};
use wasmount_ceph::osd::{Extent, Op, Output};
use wasmount_ceph::rados::{Config, Machine as _, OpRequest, RadosError};
use wasmount_ceph::striper::{Layout, Piece};

/// The machine of a mounted file system.
pub type NativeMount = FsMount<Bytes, Aes128GcmFactory>;

/// Entries of a directory that are asked for at a time.
const PAGE: usize = 1000;

/// How often a read is repeated of a client that is locked out.
const EVICTED_MAX: u32 = 100;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The client has ended, or could not begin.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The metadata servers refuse it, or cannot be reached.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// An object of a file cannot be read.
    #[error("object {object}: {error}")]
    Object {
        /// Its name.
        object: String,
        /// What failed.
        error: RadosError,
    },
    /// A file is cut into objects in a way that is impossible.
    #[error("the layout of the file is impossible: {0}")]
    Layout(String),
    /// The answer is not one to the question.
    #[error("the client answered something else than was asked")]
    Answer,
}

/// A mounted file system. It is left when this is dropped.
pub struct Files {
    client: Arc<Client<NativeMount>>,
    root: Vino,
    /// Milliseconds that a call may last.
    limit_ms: u64,
}

impl Files {
    /// Mounts a directory of a file system, and waits until that can be used. Each call may then last `limit_ms`.
    ///
    /// # Errors
    /// The cluster refuses, or does not answer in time.
    pub fn mount(config: Config, session: SessionConfig, limit_ms: u64) -> Result<Self, FilesError> {
        let path = session.root.trim_start_matches('/').as_bytes().to_vec();
        let make = move |ciphers, entropy, now| {
            FsMount::new(config, session, FsConfig::default(), ciphers, entropy, now)
        };
        let (client, told) = Client::begin(make, limit_ms)?;
        let client = Arc::new(client);
        // Weak: the thread must not keep alive what ends it.
        let giving_back = Arc::downgrade(&client);
        std::thread::spawn(move || {
            while let Ok(done) = told.recv() {
                let Some(client) = giving_back.upgrade() else { return };
                if let Done::Invalidate { token, .. } = done {
                    // Fails when the client has ended, and then nothing is held any more.
                    client.tell(move |mount, now| call(mount, now, |fs| fs.invalidated(token, now))).ok();
                }
            }
        });
        let mut files = Self { client, root: Vino::ROOT, limit_ms };
        let path = FilePath { ino: Vino::ROOT.ino, path };
        let found = files.ask(move |fs, deadline, now| fs.find_path(path, deadline, now).0)?;
        let Answer::Found(entry) = found else { return Err(FilesError::Answer) };
        files.root = entry.attributes.vino;
        Ok(files)
    }

    /// The directory that is mounted.
    #[must_use]
    pub fn root(&self) -> Vino {
        self.root
    }

    /// What carries it all.
    #[must_use]
    pub fn client(&self) -> &Client<NativeMount> {
        &self.client
    }

    fn ask(
        &self,
        begin: impl FnOnce(&mut FsClient, Option<u64>, Now) -> u64 + Send + 'static,
    ) -> Result<Answer, FilesError> {
        let deadline = Some(self.client.deadline(self.limit_ms));
        let pending = self.client.call(move |mount, now| {
            let id = begin(mount.fs_mut(), deadline, now);
            mount.settle(now);
            id
        })?;
        match pending.wait() {
            Some(Done::Call { result, .. }) => Ok(result?),
            Some(_) => Err(FilesError::Answer),
            None => Err(ClientError::Ended.into()),
        }
    }

    /// Calls the client for something that is done at once.
    fn tell<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut FsClient, Now) -> T + Send + 'static,
    ) -> Result<T, FilesError> {
        Ok(self.client.tell(move |mount, now| call(mount, now, |fs| what(fs, now)))?)
    }

    /// Follows a name; `None`: there is none.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn lookup(&self, parent: Vino, name: &[u8]) -> Result<Option<Attributes>, FilesError> {
        let name = name.to_vec();
        match self.ask(move |fs, deadline, now| fs.lookup(parent, &name, deadline, now).0)? {
            Answer::Found(entry) => {
                self.forget(entry.attributes.vino)?;
                Ok(Some(*entry.attributes))
            }
            Answer::Absent(_) => Ok(None),
            _ => Err(FilesError::Answer),
        }
    }

    /// Attributes as they are now, extended ones included.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn attributes(&self, vino: Vino) -> Result<Attributes, FilesError> {
        match self.ask(move |fs, deadline, now| fs.getattr(vino, Caps::ANY_SHARED, deadline, now).0)? {
            Answer::Attributes(attributes, _) => Ok(*attributes),
            _ => Err(FilesError::Answer),
        }
    }

    /// All entries of a directory, with attributes where those come along.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn list(&self, vino: Vino) -> Result<Vec<ListedEntry>, FilesError> {
        let (listing, _) = self.tell(move |fs, _| fs.open_directory(vino))??;
        let mut entries: Vec<ListedEntry> = Vec::new();
        let result = loop {
            let after = entries.last().map_or(0, |entry| entry.cookie);
            let page =
                self.ask(move |fs, deadline, now| fs.readdir(listing, after, PAGE, true, deadline, now).0);
            match page {
                Ok(Answer::Page { entries: page, end }) => {
                    entries.extend(page);
                    if end {
                        break Ok(());
                    }
                }
                Ok(_) => break Err(FilesError::Answer),
                Err(error) => break Err(error),
            }
        };
        self.tell(move |fs, _| fs.close_directory(listing))?;
        for entry in entries.iter().filter(|entry| entry.entry.is_some()) {
            self.forget(entry.vino)?;
        }
        result.map(|()| entries)
    }

    /// A part of a file, as far as the file goes.
    ///
    /// # Errors
    /// Those of the file system, or of the objects.
    pub fn read(&self, vino: Vino, offset: u64, length: u64) -> Result<Bytes, FilesError> {
        let Answer::Opened { file, .. } =
            self.ask(move |fs, deadline, now| fs.open(vino, false, deadline, now).0)?
        else {
            return Err(FilesError::Answer);
        };
        let mut tries = 0;
        let bytes = loop {
            match self.read_open(file, offset, length) {
                // The mount goes on as another client, and asks for the right to read again.
                Err(FilesError::Object { error: RadosError::Blocklisted { .. }, .. })
                    if tries < EVICTED_MAX =>
                {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(50));
                }
                result => break result,
            }
        };
        self.tell(move |fs, now| fs.close(file, now))?;
        bytes
    }

    fn read_open(&self, file: FileId, offset: u64, length: u64) -> Result<Bytes, FilesError> {
        let end = offset.saturating_add(length);
        let right = self.ask(move |fs, deadline, now| fs.read_right(file, end, deadline, now).0)?;
        let Answer::Read(plan) = right else { return Err(FilesError::Answer) };
        let bytes = self.read_planned(&plan, offset, length.min(plan.size.saturating_sub(offset)));
        let vino = plan.vino;
        self.tell(move |fs, now| fs.read_done(vino, now))?;
        bytes
    }

    /// Bytes that lie in the file, under the right to read them.
    fn read_planned(&self, plan: &ReadPlan, offset: u64, length: u64) -> Result<Bytes, FilesError> {
        let size = usize::try_from(length).map_err(|_| FilesError::Layout("too much at once".into()))?;
        let mut bytes = BytesMut::zeroed(size);
        if let Some(inline) = &plan.inline {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(inline.len());
            let there = &inline[from..];
            let there = &there[..there.len().min(size)];
            bytes[..there.len()].copy_from_slice(there);
            return Ok(bytes.freeze());
        }
        let layout = &plan.layout;
        let layout =
            Layout::new(layout.object_size.into(), layout.stripe_unit.into(), layout.stripe_count.into())
                .map_err(FilesError::Layout)?;
        let mut reads = Vec::new();
        for piece in layout.pieces(offset, length) {
            reads.push((piece, self.client.submit(self.object(plan, &layout, &piece))?));
        }
        for (piece, read) in reads {
            let found = match read.wait() {
                Ok(reply) => reply.results.into_iter().next().map(|result| result.output),
                // A hole.
                Err(RadosError::NotFound) => continue,
                Err(error) => return Err(FilesError::Object { object: object_name(plan, &piece), error }),
            };
            if let Some(Output::Payload(Some(found))) = found {
                let at = usize::try_from(piece.file_offset - offset).unwrap_or(usize::MAX);
                let into = bytes.get_mut(at..).unwrap_or_default();
                let count = found.len().min(into.len());
                into[..count].copy_from_slice(&found[..count]);
            }
        }
        Ok(bytes.freeze())
    }

    fn object(&self, plan: &ReadPlan, layout: &Layout, piece: &Piece) -> OpRequest<Bytes> {
        let extent = Extent {
            offset: piece.offset,
            length: piece.length,
            truncate_size: match plan.truncate_size {
                u64::MAX => u64::MAX,
                size => layout.object_length(piece.object, size),
            },
            truncate_seq: plan.truncate_seq,
        };
        OpRequest::new(plan.layout.pool, object_name(plan, piece), vec![Op::Read(extent)])
            .namespace(plan.layout.namespace.clone())
            .snap(plan.vino.snap)
            .deadline(self.client.deadline(self.limit_ms))
    }

    /// Gives a reference back.
    fn forget(&self, vino: Vino) -> Result<(), FilesError> {
        self.tell(move |fs, now| fs.forget(vino, 1, now))
    }
}

fn object_name(plan: &ReadPlan, piece: &Piece) -> String {
    format!("{:x}.{:08x}", plan.vino.ino, piece.object)
}

/// Calls the client of a mount, and lets the mount do what follows.
fn call<T>(mount: &mut NativeMount, now: Now, what: impl FnOnce(&mut FsClient) -> T) -> T {
    let told = what(mount.fs_mut());
    mount.settle(now);
    told
}

impl Drop for Files {
    fn drop(&mut self) {
        // Metadata servers are told, so that nobody waits for this client; for a moment, and else they find out by themselves.
        if self.client.tell(|mount, now| mount.close(now)).is_ok() {
            for _ in 0..100 {
                if self.client.tell(|mount, _| mount.is_closed()).unwrap_or(true) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
