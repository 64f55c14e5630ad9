//! The functions of a file system, on top of the client of one CephFS.

use crate::attributes::{self, shown};
use crate::events;
use crate::failure::Scene;
use crate::fs::{Fs, Mount as Machine};
use crate::location::Root;
use crate::nodes::Nodes;
use crate::options::{self, Config};
use crate::read::ReadError;
use crate::xattr::{self, About};
use crate::{read, seek, statfs};
use std::rc::Rc;
use wasmount_ceph::cephfs::{
    Attributes, Entry, FileId, FsError, Kind, ListedEntry, ListingId, ReadPlan, Vino,
};
use wasmount_ceph::mds::{Caps, FilePath, SessionConfig, ino};
use wasmount_ceph::rados::Machine as _;
use wasmount_ceph_guest::Client;
use wasmount_ceph_guest::objects::body;
use wasmount_ceph_guest::options::key::UserKey;
use wasmount_sdk::files::{
    self, AttributesAnswer, CachePolicy, Context, DirectoryEntry, DirectoryPage, Forgotten, Handle, Node,
    OpenFlags, Opened, Place, Resolution, SeekTarget, Statistics,
};
use wasmount_sdk::task::until_given_up;
use wasmount_sdk::{
    Body, Coherence, Description, Error, ErrorKind, FileCapabilities, FileOperations, FileStore, Info, Mount,
    Result, SavedState, log, system,
};

/// Longest wait for the cluster when a mount is opened. The host waits 30 s, or less if it is told so, and would not know the reason.
const CONNECT_MS: u64 = 15_000;
/// Largest read: some objects of the usual 4 MiB.
const MAX_READ: u32 = 16 << 20;
/// Longest name (`NAME_MAX`).
const MAX_NAME: u32 = 255;

/// A mounted file system.
#[derive(Debug)]
pub struct CephFs {
    fs: Fs,
    nodes: Rc<Nodes>,
    scene: Scene,
    root: Root,
    /// The directories above the root that the user may see, the nearest first: their quotas limit the mount too.
    above: Vec<Vino>,
}

impl FileStore for CephFs {
    fn describe() -> Description {
        options::description()
    }

    async fn open(mut mount: Mount) -> Result<(Self, Info)> {
        let config = Config::new(&mount)?;
        let user = UserKey::new(&config.access, &mut mount)?;
        let client = connect(&config, user.now()?).await?;
        user.follow(&client);
        match Self::new(client.clone(), config, mount.resume.as_ref()).await {
            Ok(opened) => Ok(opened),
            Err(error) => {
                client.close();
                Err(error)
            }
        }
    }

    async fn resolve(&self, _: Context, at: Place) -> Result<Resolution> {
        until_given_up(async {
            let parent = self.vino(at.parent).await?;
            match self.fs.lookup(parent, &at.name).await {
                Ok(Ok(entry)) => Ok(Resolution::Found(self.entry(&entry))),
                Ok(Err(right)) => Ok(Resolution::Absent(attributes::entry_ms(right))),
                Err(error) => {
                    Err(self.failed(format_args!("look-up of {} in {parent}", lossy(&at.name)), &error))
                }
            }
        })
        .await
    }

    async fn forget(&self, nodes: Vec<Forgotten>) {
        let known = |forgotten: Forgotten| {
            let vino = self.nodes.vino(forgotten.node)?;
            self.nodes.forget(forgotten.node, forgotten.count);
            Some((vino, forgotten.count))
        };
        self.fs.forget(nodes.into_iter().filter_map(known));
    }

    async fn get_attributes(&self, _: Context, node: Node, _: Option<Handle>) -> Result<AttributesAnswer> {
        until_given_up(async {
            let (found, rights) = self.getattr(node, Caps::ANY_SHARED).await?;
            let attributes = shown(&self.nodes, &found, rights.pages);
            Ok(AttributesAnswer { attributes, attributes_ms: attributes::attributes_ms(rights) })
        })
        .await
    }

    async fn read_link(&self, _: Context, node: Node) -> Result<Vec<u8>> {
        until_given_up(async {
            // Never changes, and comes with whatever else is told of it.
            let (found, _) = self.getattr(node, Caps::NONE).await?;
            let target = found.symlink.as_deref().map(<[u8]>::to_vec);
            target
                .ok_or_else(|| self.failed(format_args!("read-link of {}", found.vino), &FsError::NotSymlink))
        })
        .await
    }

    async fn open_file(&self, _: Context, node: Node, how: OpenFlags) -> Result<Opened> {
        if how.intersects(OpenFlags::WRITE | OpenFlags::APPEND | OpenFlags::TRUNCATE) {
            return Err(Error::new(ErrorKind::ReadOnly, "this plugin only reads files"));
        }
        until_given_up(async {
            let vino = self.vino(node).await?;
            let opened = self.fs.open(vino, how.contains(OpenFlags::KEEP)).await;
            let opened = opened.map_err(|error| self.failed(format_args!("open of {vino}"), &error))?;
            let cache = match (opened.immutable, opened.pages) {
                (true, _) => CachePolicy::KEEP | CachePolicy::IMMUTABLE,
                (false, true) => CachePolicy::KEEP,
                (false, false) => CachePolicy::BYPASS,
            };
            Ok(Opened { handle: opened.file.0, cache })
        })
        .await
    }

    async fn read(&self, handle: Handle, offset: u64, length: u32) -> Result<Body> {
        until_given_up(async {
            let end = offset.saturating_add(length.into());
            let read = self.under_right("read", FileId(handle), end, async |plan| match &plan.inline {
                Some(inline) => Ok(read::inline(inline, offset, end.min(plan.size))),
                None => read::read(self.fs.client(), plan, offset, length.into()).await.map(body),
            });
            read.await?
        })
        .await
    }

    async fn seek_data(&self, handle: Handle, offset: u64, target: SeekTarget) -> Result<u64> {
        until_given_up(async {
            let look = async |plan: &ReadPlan| seek::next(self.fs.client(), plan, offset, target).await;
            let found = self.under_right("seek", FileId(handle), offset.saturating_add(1), look).await?;
            found.ok_or_else(|| Error::out_of_range("there is no more data"))
        })
        .await
    }

    async fn release(&self, handle: Handle) {
        self.fs.close_file(FileId(handle));
    }

    async fn open_directory(&self, _: Context, node: Node) -> Result<Opened> {
        until_given_up(async {
            let vino = self.vino(node).await?;
            let opened = self.fs.open_directory(vino);
            let (listing, keep) =
                opened.map_err(|error| self.failed(format_args!("open of directory {vino}"), &error))?;
            Ok(Opened {
                handle: listing.0,
                cache: if keep { CachePolicy::KEEP } else { CachePolicy::BYPASS },
            })
        })
        .await
    }

    async fn read_directory(
        &self,
        _: Context,
        handle: Handle,
        cookie: u64,
        limit: u32,
        with_attributes: bool,
    ) -> Result<DirectoryPage> {
        until_given_up(async {
            let page = self.fs.readdir(ListingId(handle), cookie, limit, with_attributes).await;
            let (entries, end) = page.map_err(|error| self.failed(format_args!("listing"), &error))?;
            Ok(DirectoryPage { entries: entries.iter().map(|entry| self.listed(entry)).collect(), end })
        })
        .await
    }

    async fn release_directory(&self, handle: Handle) {
        self.fs.close_directory(ListingId(handle));
    }

    async fn get_xattr(&self, _: Context, node: Node, name: Vec<u8>) -> Result<Vec<u8>> {
        until_given_up(async {
            if xattr::is_stored(&name) {
                return xattr::stored(&self.getattr(node, Caps::XATTR_SHARED).await?.0, &name);
            }
            let untold = if xattr::is_recursive(&name) { Caps::RSTAT } else { Caps::NONE };
            let (found, _) = self.getattr(node, Caps::ANY_SHARED | untold).await?;
            let client = self.fs.client();
            let number = client.look(|mount| mount.cluster().global_id());
            let about = client.with_map(|map| About::new(map, &found, number))?;
            xattr::answered(&found, &name, &about)
        })
        .await
    }

    async fn list_xattrs(&self, _: Context, node: Node) -> Result<Vec<Vec<u8>>> {
        until_given_up(async { Ok(xattr::names(&self.getattr(node, Caps::XATTR_SHARED).await?.0)) }).await
    }

    async fn get_statistics(&self, _: Node) -> Result<Statistics> {
        until_given_up(async {
            let limited = statfs::limited(&self.fs, self.nodes.root(), &self.above).await;
            let limited = limited.map_err(|error| self.failed(format_args!("free space"), &error))?;
            if let Some(statistics) = limited.as_deref().and_then(statfs::of_quota) {
                return Ok(statistics);
            }
            let usage = self.fs.usage().await;
            let usage = usage.map_err(|error| self.failed(format_args!("free space"), &error))?;
            Ok(statfs::of_cluster(&usage))
        })
        .await
    }

    async fn check(&self) -> Result<()> {
        until_given_up(async {
            let entry = self.fs.find_path(path(&self.root)).await;
            let entry = entry.map_err(|error| self.failed(format_args!("{}", self.root.as_str()), &error))?;
            self.fs.forget(std::iter::once((entry.attributes.vino, 1)));
            Ok(())
        })
        .await
    }

    async fn export_state(&self) -> Result<Option<SavedState>> {
        let state = self.nodes.save(|vino| self.fs.snapshot_path(vino));
        self.fs.unmount().await;
        Ok(state)
    }

    async fn close(&self) -> Result<()> {
        self.fs.unmount().await;
        Ok(())
    }
}

/// Makes the client, and waits until the file system can be used.
async fn connect(config: &Config, key: Option<wasmount_ceph::auth::Key>) -> Result<Client<Machine>> {
    let cluster = config.access.cluster(key);
    let connect_ms = cluster.connect_ms;
    let nothing_known = format!(
        "the cluster does not show {0} the file system: have the monitors a quorum, and may {0} ask them (mon 'allow r')?",
        cluster.entity
    );
    let mut session = SessionConfig::new(config.root.as_str(), &*config.access.user);
    session.fs_name.clone_from(&config.fs);
    session.hostname.clone_from(&cluster.hostname);
    let fs = config.cache(system::memory());
    let make = |ciphers, entropy, now| Machine::new(cluster, session, fs, ciphers, entropy, now);
    Client::begin(make, connect_ms, CONNECT_MS, &nothing_known).await
}

/// How an MDS finds the root of the mount.
fn path(root: &Root) -> FilePath {
    FilePath::new(ino::ROOT, root.as_str().trim_start_matches('/'))
}

/// A name for people.
fn lossy(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}

impl CephFs {
    /// Finds the root, which proves that the user may see it.
    async fn new(
        client: Client<Machine>,
        config: Config,
        state: Option<&SavedState>,
    ) -> Result<(Self, Info)> {
        let fs = Fs::new(client.clone());
        let fsid = client.with_map(|map| map.fsid.to_string())?;
        let fs_name = client.look(|mount| mount.sessions().map().map(|map| map.name.clone()));
        let root = config.root.as_str();
        let scene = Scene {
            user: config.access.user.clone(),
            fs: fs_name.or_else(|| config.fs.clone()),
            root: root.to_owned(),
        };
        // Not forgotten: the host may ask for it at any time.
        let entry = fs.find_root(path(&config.root)).await.map_err(|error| scene.no_root(&error))?;
        if entry.attributes.kind != Kind::Directory {
            return Err(scene.no_root(&FsError::NotDirectory));
        }
        let above = statfs::above(&fs, config.root.as_str()).await;
        let nodes = Rc::new(Nodes::new(entry.attributes.vino, state));
        let news = client.news().ok_or_else(|| Error::other("the client was used before"))?;
        client.run(events::pass_on(fs.clone(), nodes.clone(), news));
        let named = scene.fs.as_deref().unwrap_or("the default file system");
        let title = format!("{root} of {named} in Ceph cluster {fsid}");
        let operations = FileOperations::DIRECTORY_ATTRIBUTES
            | FileOperations::SYMLINKS
            | FileOperations::EXTENDED_ATTRIBUTES
            | FileOperations::SEEK_DATA;
        let capabilities = FileCapabilities {
            operations,
            coherence: Coherence::Pushed,
            max_read: MAX_READ,
            max_name: MAX_NAME,
            ..FileCapabilities::read_only()
        };
        log::debug(&format!("{title}: open"));
        // The root by its number: another directory may get the same path.
        let identity = format!("cephfs {fsid} {named} {root} {:x}", entry.attributes.vino.ino);
        let info = Info::new(identity, title, capabilities);
        let info = config.access.warnings.iter().fold(info, |info, sentence| info.warning(sentence));
        Ok((Self { fs, nodes, scene, root: config.root, above }, info))
    }

    /// The inode of a number. One of a snapshot that only an earlier instance has seen is looked for first.
    async fn vino(&self, node: Node) -> Result<Vino> {
        let unknown = || Error::stale(format!("there is no node {node}"));
        let vino = self.nodes.vino(node).ok_or_else(unknown)?;
        if let Some(path) = self.nodes.take_path(vino) {
            let found = self.fs.find_path(path).await;
            let found = found.map_err(|error| self.failed(format_args!("look-up of {vino}"), &error))?;
            if found.attributes.vino != vino {
                return Err(unknown());
            }
        }
        Ok(vino)
    }

    /// Reads something under the right to read an open file up to `end`.
    ///
    /// If the cluster has locked this client out meanwhile, the client goes on as a new one, whose right is another: then it is read once more,
    /// from what the file is now. A reader is promised nothing that could be lost with the old one.
    async fn under_right<T>(
        &self,
        what: &str,
        file: FileId,
        end: u64,
        read: impl AsyncFn(&ReadPlan) -> std::result::Result<T, ReadError>,
    ) -> Result<T> {
        let mut again = true;
        loop {
            let reading = self.fs.read_right(file, end).await;
            let reading = reading.map_err(|error| self.failed(format_args!("{what}"), &error))?;
            match read(&reading.plan).await {
                Err(error) if error.locked_out() && again => again = false,
                result => {
                    let of = reading.plan.vino;
                    return result.map_err(|error| self.scene.read(&format!("{what} of {of}"), &error));
                }
            }
        }
    }

    async fn getattr(
        &self,
        node: Node,
        mask: Caps,
    ) -> Result<(Box<Attributes>, wasmount_ceph::cephfs::Rights)> {
        let vino = self.vino(node).await?;
        let found = self.fs.getattr(vino, mask).await;
        found.map_err(|error| self.failed(format_args!("attributes of {vino}"), &error))
    }

    /// A name that was found, in the words of the contract. Its reference is the host's now.
    fn entry(&self, entry: &Entry) -> files::Entry {
        files::Entry {
            node: self.nodes.refer(entry.attributes.vino),
            generation: 0,
            attributes: shown(&self.nodes, &entry.attributes, entry.rights.pages),
            validity: attributes::validity(entry.rights),
        }
    }

    fn listed(&self, entry: &ListedEntry) -> DirectoryEntry {
        DirectoryEntry {
            name: entry.name.to_vec(),
            inode: self.nodes.shown(entry.vino),
            kind: entry.kind.map(attributes::kind),
            cookie: entry.cookie,
            entry: entry.entry.as_ref().map(|entry| self.entry(entry)),
        }
    }

    fn failed(&self, what: std::fmt::Arguments<'_>, error: &FsError) -> Error {
        self.scene.error(&what.to_string(), error)
    }
}
