//! What a kernel does with a file system, in a few lines: resolving paths, listing, reading.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wasmount_core::fs::ReadData;
use wasmount_core::fs::ReadRequest;
use wasmount_core::fs::{Entry, ReadDir};
use wasmount_core::mounts::{MountConfig, MountTable, MountTableConfig, Place};
use wasmount_core::objects::ObjectFsConfig;
use wasmount_core::ports::{
    BlockCache, CacheIdentity, Clock, NoBlockCache, NoStateLog, SystemClock, TokioSpawn,
};
use wasmount_core::read::ReadConfig;
use wasmount_core::testing::{MemoryBlocks, MemoryCache, MemoryFiles, MemorySource, MemoryStore};
use wasmount_core::{FileSystem, errno::codes};
use wasmount_types::{Blame, Error, ErrorKind, FileKind, Ino, InvalidName, MountId, Name, RequestCtx};

/// A context with a minute to go.
pub fn ctx() -> RequestCtx {
    RequestCtx::internal(SystemClock.now() + Duration::from_secs(60))
}

/// One mount at the root.
pub fn mount(store: &Arc<MemoryStore>, objects: ObjectFsConfig, read: ReadConfig) -> Arc<MountTable> {
    let source = MemorySource::new(MountId::new("m"), store.clone());
    table(vec![(source, Place::Root, objects)], read)
}

/// One mount at the root, over a block cache.
pub fn cached(
    store: &Arc<MemoryStore>,
    cache: &Arc<MemoryCache>,
    objects: ObjectFsConfig,
    read: ReadConfig,
) -> Arc<MountTable> {
    let identity = CacheIdentity::new("test").unwrap();
    let source = MemorySource::cached(MountId::new("m"), store.clone(), identity);
    build(vec![(source, Place::Root, objects)], read, cache.clone())
}

/// One mount of block images at the root, over a block cache.
pub fn images(
    store: &Arc<MemoryBlocks>,
    cache: &Arc<MemoryCache>,
    objects: ObjectFsConfig,
) -> Arc<MountTable> {
    let identity = CacheIdentity::new("test").unwrap();
    let source = MemorySource::blocks(MountId::new("m"), store.clone(), Some(identity));
    build(vec![(source, Place::Root, objects)], ReadConfig::default(), cache.clone())
}

/// One mount of a file system at the root, over a block cache.
pub fn files_mount(store: &Arc<MemoryFiles>, cache: &Arc<MemoryCache>) -> Arc<MountTable> {
    files_mount_reading(store, cache, ReadConfig::default())
}

/// The same, reading as told.
pub fn files_mount_reading(
    store: &Arc<MemoryFiles>,
    cache: &Arc<MemoryCache>,
    read: ReadConfig,
) -> Arc<MountTable> {
    let identity = CacheIdentity::new("test").unwrap();
    let source = MemorySource::files(MountId::new("m"), store.clone(), Some(identity));
    build(vec![(source, Place::Root, ObjectFsConfig::default())], read, cache.clone())
}

/// Several mounts.
pub fn table(mounts: Vec<(Arc<MemorySource>, Place, ObjectFsConfig)>, read: ReadConfig) -> Arc<MountTable> {
    build(mounts, read, Arc::new(NoBlockCache))
}

fn build(
    mounts: Vec<(Arc<MemorySource>, Place, ObjectFsConfig)>,
    read: ReadConfig,
    cache: Arc<dyn BlockCache>,
) -> Arc<MountTable> {
    use wasmount_core::ports::ProviderSource;
    let mounts = mounts
        .into_iter()
        .map(|(source, place, objects)| MountConfig { id: source.mount().clone(), place, source, objects })
        .collect();
    let config = MountTableConfig { mounts, read, cache, ..MountTableConfig::default() };
    let spawn = TokioSpawn(tokio::runtime::Handle::current());
    MountTable::new(config, Arc::new(SystemClock), Arc::new(spawn), Arc::new(NoStateLog)).unwrap()
}

/// Looks a path up from the root, as the kernel does without any cache; gives the look-ups of the way back.
pub async fn stat(fs: &MountTable, path: &str) -> Result<Entry, Error> {
    let mut entry = fs.getattr(ctx(), Ino::ROOT).await?;
    for segment in path.split('/').filter(|s| !s.is_empty()) {
        let name = Name::new(segment.as_bytes()).map_err(|why| {
            let kind = if why == InvalidName::TooLong { ErrorKind::NameTooLong } else { ErrorKind::NotFound };
            Error::new(kind, Blame::Caller, why.to_string())
        })?;
        if entry.attr.kind != FileKind::Directory {
            return Err(Error::new(ErrorKind::NotDirectory, Blame::Caller, segment));
        }
        let parent = entry.attr.ino;
        let next = fs.lookup(ctx(), parent, &name).await;
        if parent != Ino::ROOT {
            fs.forget(parent, 1);
        }
        entry = next?;
    }
    Ok(entry)
}

/// Names and kinds in a directory, `page` entries at a time; panics on duplicates and on numbers that a look-up
/// would not give.
pub async fn list(
    fs: &MountTable,
    ino: Ino,
    page: usize,
    plus: bool,
) -> Result<BTreeMap<String, FileKind>, Error> {
    let fh = fs.opendir(ctx(), ino).await?.fh;
    let mut entries = BTreeMap::new();
    let mut offset = 0;
    let outcome = loop {
        match fs.readdir(ctx(), fh, ReadDir { offset, limit: page, plus }).await {
            Err(error) => break Err(error),
            Ok(page) if page.is_empty() => break Ok(entries),
            Ok(page) => {
                for entry in page {
                    assert!(entry.next_offset > offset, "offsets grow");
                    offset = entry.next_offset;
                    if let Some(known) = entry.entry {
                        assert_eq!((known.attr.ino, known.attr.kind), (entry.ino, entry.kind));
                        fs.forget(entry.ino, 1);
                    }
                    let twice = entries.insert(entry.name.to_string(), entry.kind);
                    assert_eq!(twice, None, "{} came twice", entry.name);
                }
            }
        }
    };
    fs.releasedir(fh);
    outcome
}

/// The whole file in reads of `size` bytes.
pub async fn cat(fs: &MountTable, ino: Ino, size: u32) -> Result<Vec<u8>, Error> {
    let open = fs.open(ctx(), ino).await?;
    let mut content = Vec::new();
    let outcome = loop {
        match fs.read(ctx(), open.fh, ReadRequest::pages(content.len() as u64, size)).await {
            Err(error) => break Err(error),
            Ok(ReadData { bytes, .. }) => {
                content.extend_from_slice(&bytes);
                if bytes.len() < size as usize {
                    break Ok(content);
                }
            }
        }
    };
    fs.release(open.fh);
    outcome
}

/// Name of an errno.
pub fn errno_name(code: i32) -> &'static str {
    use codes::*;
    let names = [
        (ENOENT, "ENOENT"),
        (EINTR, "EINTR"),
        (EIO, "EIO"),
        (ENXIO, "ENXIO"),
        (EAGAIN, "EAGAIN"),
        (EACCES, "EACCES"),
        (EBUSY, "EBUSY"),
        (EEXIST, "EEXIST"),
        (EXDEV, "EXDEV"),
        (ENOTDIR, "ENOTDIR"),
        (EISDIR, "EISDIR"),
        (EINVAL, "EINVAL"),
        (EFBIG, "EFBIG"),
        (ENOSPC, "ENOSPC"),
        (EROFS, "EROFS"),
        (EMLINK, "EMLINK"),
        (ENAMETOOLONG, "ENAMETOOLONG"),
        (ENOTEMPTY, "ENOTEMPTY"),
        (ENODATA, "ENODATA"),
        (ENOTSUP, "ENOTSUP"),
        (ETIMEDOUT, "ETIMEDOUT"),
        (ESTALE, "ESTALE"),
        (EDQUOT, "EDQUOT"),
    ];
    names.iter().find(|(number, _)| *number == code).map_or("?", |(_, name)| name)
}
