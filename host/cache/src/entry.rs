//! The two files of an entry: found, made, locked.
//!
//! Whoever has an entry open holds a shared lock on its data file; whoever removes it needs the exclusive one and removes first
//! the meta file, then the data file. So a data file that is locked and has a name is nobody's prey, and what is written beside it stays.

use crate::format::{FIRST_READ, FileState, Header, MARK_LEN, MARK_OFFSET, Mark, pages};
use crate::read::Patience;
use crate::root::{FILE_MODE, Root, entry_path};
use rustix::fs::{AtFlags, FallocateFlags, FlockOperation, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::{Errno, ReadWriteFlags};
use std::io::IoSliceMut;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use wasmount_core::ports::{CACHE_PAGE, CacheIdentity};

use crate::format::EntryHash;

/// An open entry. Its descriptors are for reading only: what is not being written does not keep a file system from being made read-only, and
/// what the kernel gets cannot be written through.
pub(crate) struct Disk {
    /// Sparse, exactly as long as the object. Holds the shared lock for as long as anybody, the kernel included, has it open.
    pub data: Arc<OwnedFd>,
    pub meta: OwnedFd,
    pub words_at: u64,
    /// Whether this process has made the data file.
    pub made: bool,
    /// Whether anything was written around the page cache.
    pub direct: AtomicBool,
    path: String,
}

/// The descriptors for writing an entry, kept only while it is written.
pub(crate) struct Pen {
    pub data: OwnedFd,
    pub meta: OwnedFd,
    words_at: u64,
    direct: Direct,
    path: String,
    /// The entry that was open when this was made: another one may have the same name later.
    of: Weak<OwnedFd>,
}

/// The descriptor for writes around the page cache.
enum Direct {
    Untried,
    Open(OwnedFd),
    /// The file system does not do this.
    Refused,
}

/// What an entry held when it was opened.
pub(crate) struct Found {
    pub disk: Disk,
    /// The mark, if the entry was complete once.
    pub mark: Option<Mark>,
    /// The file was shorter or longer than it should be: pages from here on are gone.
    pub cut: Option<u64>,
    /// When it was last used, in seconds since 1970.
    pub used: i64,
}

fn open_file(root: &Root, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(root.top().as_ref(), path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, FILE_MODE)
}

/// The same for reading, and without patience only what can be opened without waiting for the disk.
fn open_read(root: &Root, path: &str, patience: Patience) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match patience {
        Patience::Some => open_file(root, path, flags),
        Patience::None => {
            rustix::fs::openat2(root.top().as_ref(), path, flags, Mode::empty(), ResolveFlags::CACHED)
        }
    }
}

/// The entry as it is on the disk; `None` if there is none, or none that can be used. Without patience an error may only mean that it would have
/// had to wait for the disk.
pub(crate) fn find(
    root: &Root,
    identity: &CacheIdentity,
    hash: EntryHash,
    header: &Header,
    patience: Patience,
) -> Result<Option<Found>, Errno> {
    let absent = |error| match error {
        Errno::NOENT => Ok(None),
        other => Err(other),
    };
    let path = entry_path(identity.as_str(), hash, "");
    let data = match open_read(root, &format!("{path}data"), patience) {
        Ok(opened) => opened,
        Err(error) => return absent(error),
    };
    // Being evicted at this moment, or evicted before the lock.
    if rustix::fs::flock(&data, FlockOperation::NonBlockingLockShared).is_err() {
        return Ok(None);
    }
    let stat = rustix::fs::fstat(&data)?;
    if stat.st_nlink == 0 {
        return Ok(None);
    }
    let meta = match open_read(root, &format!("{path}meta"), patience) {
        Ok(opened) => opened,
        Err(error) => return absent(error),
    };
    let used = rustix::fs::fstat(&meta)?.st_mtime;
    let mut first = [0; FIRST_READ];
    let got = match patience {
        Patience::Some => read_up_to(&meta, &mut first, 0)?,
        // A file is shorter than this, or this much is read at once, or the rest is not in memory.
        Patience::None => {
            let mut slices = [IoSliceMut::new(&mut first)];
            rustix::io::preadv2(&meta, &mut slices, 0, ReadWriteFlags::NOWAIT)?
        }
    };
    let Some(first) = first.get(..got).filter(|first| Header::decode(first).as_ref() == Some(header)) else {
        return Ok(None);
    };
    let length = stat.st_size as u64;
    let cut = (length != header.size).then_some(length.min(header.size) / CACHE_PAGE);
    let disk = Disk {
        data: Arc::new(data),
        meta,
        words_at: header.words_at(),
        made: false,
        direct: AtomicBool::new(false),
        path,
    };
    Ok(Some(Found { disk, mark: Mark::decode(first).filter(|_| cut.is_none()), cut, used }))
}

/// An entry of which only the name is known: its files, what its header says, and whether it is marked complete.
pub(crate) fn find_listed(
    root: &Root,
    identity: &str,
    hash: EntryHash,
) -> Result<Option<(Disk, Header, bool)>, Errno> {
    let meta = match open_file(root, &entry_path(identity, hash, "meta"), OFlags::RDONLY) {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    let mut first = [0; FIRST_READ];
    let got = read_up_to(&meta, &mut first, 0)?;
    let Some(header) = Header::decode(&first[..got]) else { return Ok(None) };
    let Ok(identity) = CacheIdentity::new(identity) else { return Ok(None) };
    let found = find(root, &identity, hash, &header, Patience::Some)?;
    Ok(found.map(|found| (found.disk, header, found.mark.is_some())))
}

/// Makes the entry, or opens it if another process was faster.
pub(crate) fn make(
    root: &Root,
    identity: &CacheIdentity,
    hash: EntryHash,
    header: &Header,
) -> Result<(Disk, Pen), Errno> {
    let path = entry_path(identity.as_str(), hash, "");
    let data_path = format!("{path}data");
    let flags = OFlags::RDONLY | OFlags::CREATE;
    let create = || match open_file(root, &data_path, flags | OFlags::EXCL) {
        Ok(fd) => Ok((fd, true)),
        Err(Errno::EXIST) => Ok((open_file(root, &data_path, flags)?, false)),
        Err(error) => Err(error),
    };
    let (data, made) = match create() {
        Err(Errno::NOENT) => {
            root.make_dirs(identity, hash)?;
            create()?
        }
        other => other?,
    };
    rustix::fs::flock(&data, FlockOperation::NonBlockingLockShared)?;
    let stat = rustix::fs::fstat(&data)?;
    if stat.st_nlink == 0 {
        return Err(Errno::AGAIN);
    }
    let meta = open_file(root, &format!("{path}meta"), flags)?;
    let disk = Disk {
        data: Arc::new(data),
        meta,
        words_at: header.words_at(),
        made,
        direct: AtomicBool::new(false),
        path,
    };
    let pen = disk.pen(root)?;
    if stat.st_size as u64 != header.size {
        rustix::fs::ftruncate(&pen.data, header.size)?;
    }
    let mut first = [0; FIRST_READ];
    let got = read_up_to(&disk.meta, &mut first, 0)?;
    if Header::decode(&first[..got]).as_ref() != Some(header) {
        if got > 0 {
            // Half written once, or damaged: nothing in it says anything.
            rustix::fs::ftruncate(&pen.meta, 0)?;
        }
        write_all(&pen.meta, &header.encode(), 0)?;
    }
    Ok((disk, pen))
}

impl Disk {
    /// Words of the pages from `page` on; zeros where the file ends. One call, and with `flags` of `NOWAIT` one that never waits for a disk.
    pub(crate) fn words(&self, page: u64, words: &mut [u8], flags: ReadWriteFlags) -> Result<(), Errno> {
        let mut done = 0;
        while done < words.len() {
            let mut slices = [IoSliceMut::new(&mut words[done..])];
            match rustix::io::preadv2(&self.meta, &mut slices, self.words_at + page * 4 + done as u64, flags)
            {
                Ok(0) => {
                    words[done..].fill(0);
                    break;
                }
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether each of so many pages has a word.
    pub(crate) fn has_words(&self, pages: u64) -> Result<bool, Errno> {
        let mut buffer = [0; 16 << 10];
        for at in (0..pages).step_by(buffer.len() / 4) {
            let words = &mut buffer[..(pages - at).min(4 << 10) as usize * 4];
            self.words(at, words, ReadWriteFlags::empty())?;
            if words.chunks_exact(4).any(|word| *word == [0; 4]) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Opens the entry for writing.
    pub(crate) fn pen(&self, root: &Root) -> Result<Pen, Errno> {
        Ok(Pen {
            data: self.reopen(root, "data", &self.data)?,
            meta: self.reopen(root, "meta", &self.meta)?,
            words_at: self.words_at,
            direct: Direct::Untried,
            path: self.path.clone(),
            of: Arc::downgrade(&self.data),
        })
    }

    fn reopen(&self, root: &Root, kind: &str, same: &OwnedFd) -> Result<OwnedFd, Errno> {
        match open_file(root, &format!("{}{kind}", self.path), OFlags::WRONLY) {
            Ok(fd) if same_file(&fd, same) => Ok(fd),
            // Removed by somebody, and perhaps made again.
            Ok(_) | Err(Errno::NOENT) => Err(Errno::AGAIN),
            Err(error) => Err(error),
        }
    }

    /// Says that the entry is complete. Not synced: a mark is believed only in the boot that wrote it, and within a boot what was
    /// written is what is read.
    pub(crate) fn write_mark(&self, root: &Root, mark: &Mark) -> Result<(), Errno> {
        write_all(self.reopen(root, "meta", &self.meta)?, &mark.encode(), MARK_OFFSET)
    }

    /// What the data file looks like now.
    pub(crate) fn state(&self) -> Result<FileState, Errno> {
        let stat = rustix::fs::fstat(self.data.as_fd())?;
        Ok(FileState {
            size: stat.st_size as u64,
            inode: stat.st_ino,
            modified: (stat.st_mtime, stat.st_mtime_nsec as u32),
            changed: (stat.st_ctime, stat.st_ctime_nsec as u32),
        })
    }

    /// Makes the data file look changed, after pages were taken away: whoever has found it whole before, be it another process or a mark that is
    /// written at this very moment, knows it by what it looked like then, and checks it again. Where that cannot be written, nobody can be told.
    pub(crate) fn outdate(&self) {
        let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let _ = rustix::fs::futimens(&self.data, &Timestamps { last_access: now, last_modification: now });
    }

    /// Whether the entry has been removed while it was open.
    pub(crate) fn orphan(&self) -> bool {
        rustix::fs::fstat(self.data.as_fd()).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Notes that the entry was used now.
    pub(crate) fn touch(&self) {
        let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        // Only the order of eviction depends on it.
        let _ = rustix::fs::futimens(&self.meta, &Timestamps { last_access: omit, last_modification: now });
    }
}

impl Pen {
    /// Writes the words of the pages from `page` on.
    pub(crate) fn write_words(&self, page: u64, words: &[u8]) -> Result<(), Errno> {
        write_all(&self.meta, words, self.words_at + page * 4)
    }

    /// Takes pages `from..to` away, and the mark first.
    pub(crate) fn forget(&self, from: u64, to: u64) -> Result<(), Errno> {
        write_all(&self.meta, &[0; MARK_LEN], MARK_OFFSET)?;
        let (at, len) = (self.words_at + from * 4, (to - from) * 4);
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if len > 4096 && rustix::fs::fallocate(&self.meta, hole, at, len).is_ok() {
            return Ok(());
        }
        let zeros = [0; 4096];
        let mut done = 0;
        while done < len {
            let n = (len - done).min(4096);
            write_all(&self.meta, &zeros[..n as usize], at + done)?;
            done += n;
        }
        Ok(())
    }

    /// Whether it writes this entry.
    pub(crate) fn is_of(&self, disk: &Disk) -> bool {
        std::ptr::eq(self.of.as_ptr(), Arc::as_ptr(&disk.data))
    }

    /// The data file for writes around the page cache; `None` where that is not possible.
    pub(crate) fn direct(&mut self, root: &Root) -> Option<&OwnedFd> {
        if let Direct::Untried = self.direct {
            self.direct =
                match open_file(root, &format!("{}data", self.path), OFlags::WRONLY | OFlags::DIRECT) {
                    Ok(fd) if same_file(&fd, &self.data) => Direct::Open(fd),
                    _ => Direct::Refused,
                };
        }
        match &self.direct {
            Direct::Open(fd) => Some(fd),
            _ => None,
        }
    }

    /// Writes around the page cache do not work here.
    pub(crate) fn no_direct(&mut self) {
        self.direct = Direct::Refused;
    }
}

fn same_file(a: &OwnedFd, b: &OwnedFd) -> bool {
    matches!((rustix::fs::fstat(a), rustix::fs::fstat(b)), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_up_to(fd: impl AsFd, into: &mut [u8], at: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while done < into.len() {
        match rustix::io::pread(fd.as_fd(), &mut into[done..], at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all of it.
pub(crate) fn write_all(fd: impl AsFd, mut bytes: &[u8], mut at: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd.as_fd(), bytes, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => {
                bytes = &bytes[n..];
                at += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How an attempt to remove an entry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// Gone, with this many bytes on the disk.
    Gone(u64),
    /// Somebody has it open.
    InUse,
}

/// Removes an entry that nobody has open.
pub(crate) fn remove(top: &OwnedFd, identity: &str, hash: EntryHash) -> Result<Removal, Errno> {
    let (data_path, meta_path) = (entry_path(identity, hash, "data"), entry_path(identity, hash, "meta"));
    let unlink = |path: &str| match rustix::fs::unlinkat(top, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let data = match rustix::fs::openat(top, &*data_path, flags, FILE_MODE) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => {
            // A meta file alone: whoever makes the entry again would find words of bytes that are not there.
            let meta = rustix::fs::statat(top, &*meta_path, AtFlags::SYMLINK_NOFOLLOW);
            unlink(&meta_path)?;
            return Ok(Removal::Gone(meta.map_or(0, |stat| stat.st_blocks as u64 * 512)));
        }
        Err(error) => return Err(error),
    };
    if rustix::fs::flock(&data, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(Removal::InUse);
    }
    let stat = rustix::fs::fstat(&data)?;
    if stat.st_nlink == 0 {
        return Ok(Removal::Gone(0));
    }
    let meta =
        rustix::fs::statat(top, &*meta_path, AtFlags::SYMLINK_NOFOLLOW).map_or(0, |stat| stat.st_blocks);
    unlink(&meta_path)?;
    unlink(&data_path)?;
    Ok(Removal::Gone((stat.st_blocks + meta) as u64 * 512))
}

/// Bytes that `new` pages of an entry take, its meta file not counted.
pub(crate) fn page_bytes(new: u64) -> u64 {
    new * CACHE_PAGE
}

/// Number of bytes that a new entry takes beside its pages, about.
pub(crate) fn fixed_bytes(size: u64) -> u64 {
    (pages(size) * 4 + 512).next_multiple_of(4096)
}
