//! How much the directory holds: one small file that all its processes add to, corrected by scans.

use crate::config::MinFree;
use crate::root::{FILE_MODE, Root};
use rustix::fs::{FlockOperation, OFlags};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

const NAME: &str = "usage";
const LEN: usize = 40;

/// What a cache may use and uses.
pub(crate) struct Space {
    max_bytes: u64,
    min_free: MinFree,
    /// As the file said, plus what this process has added since.
    bytes: AtomicI64,
    entries: AtomicI64,
    /// Not yet in the file.
    new_bytes: AtomicI64,
    new_entries: AtomicI64,
    /// How far the file system's free space is above the limit, less what was written since it was asked.
    spare: AtomicI64,
    /// What eviction keeps ready of the file system beyond the limit.
    free_margin: AtomicI64,
    /// Seconds since 1970.
    scanned: AtomicU64,
    known: AtomicBool,
}

/// A second, or this many bytes: how far the processes of a node may be apart in their sums.
const BATCH: i64 = 64 << 20;

impl Space {
    pub(crate) fn new(max_bytes: u64, min_free: MinFree) -> Self {
        Self {
            max_bytes,
            min_free,
            bytes: AtomicI64::new(0),
            entries: AtomicI64::new(0),
            new_bytes: AtomicI64::new(0),
            new_entries: AtomicI64::new(0),
            spare: AtomicI64::new(i64::MAX),
            free_margin: AtomicI64::new(0),
            scanned: AtomicU64::new(0),
            known: AtomicBool::new(false),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed).max(0) as u64
    }

    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed).max(0) as u64
    }

    /// Bytes and entries that were written or, negative, removed.
    pub(crate) fn add(&self, bytes: i64, entries: i64) {
        for (sum, more) in [
            (&self.bytes, bytes),
            (&self.new_bytes, bytes),
            (&self.entries, entries),
            (&self.new_entries, entries),
        ] {
            sum.fetch_add(more, Ordering::Relaxed);
        }
        self.spare.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether so much has been added that others should know.
    pub(crate) fn batch_full(&self) -> bool {
        self.new_bytes.load(Ordering::Relaxed).abs() >= BATCH.min(self.max_bytes as i64 / 64)
    }

    /// Whether `more` bytes may be written.
    pub(crate) fn allows(&self, more: u64) -> bool {
        self.bytes() + more <= self.max_bytes && self.spare.load(Ordering::Relaxed) >= more as i64
    }

    /// Whether writing is worth while: the limits are not as close as what is written at once.
    pub(crate) fn has_room(&self) -> bool {
        let margin = margin(self.max_bytes).min(self.free_margin.load(Ordering::Relaxed));
        self.allows(margin as u64 / 2)
    }

    /// How many bytes have to go, 0 if none: eviction begins below the limit, so that writing need not wait for it, and goes on to a lower mark,
    /// so that one scan of the directory serves for many evictions.
    pub(crate) fn excess(&self) -> u64 {
        let margin = margin(self.max_bytes);
        let by_size = self.bytes() as i64 - (self.max_bytes as i64 - margin);
        let free_margin = self.free_margin.load(Ordering::Relaxed);
        let by_free = free_margin - self.spare.load(Ordering::Relaxed);
        let by = |over: i64, margin: i64| if over > 0 { over + margin } else { 0 };
        by(by_size, margin).max(by(by_free, free_margin)) as u64
    }

    /// Takes in what the file and the file system say, and adds to the file what this process has done. Leaves it for the
    /// next time if another process has the file locked.
    pub(crate) fn sync(&self, root: &Root) -> rustix::io::Result<()> {
        let top = root.top();
        let fs = rustix::fs::fstatvfs(top.as_ref())?;
        let (total, free) = (fs.f_blocks * fs.f_frsize, fs.f_bavail * fs.f_frsize);
        self.free_margin.store(margin(total), Ordering::Relaxed);
        self.spare.store(free as i64 - self.min_free.bytes(total) as i64, Ordering::Relaxed);
        self.update(&top, |file, new| match file {
            Some((bytes, entries, scanned)) => (bytes + new.0, entries + new.1, scanned),
            None => (self.bytes.load(Ordering::Relaxed), self.entries.load(Ordering::Relaxed), 0),
        })
    }

    /// The sums before a scan, for [`correct`](Self::correct).
    pub(crate) fn begin_scan(&self, root: &Root) -> (i64, i64) {
        let _ = self.sync(root);
        (self.bytes.load(Ordering::Relaxed), self.entries.load(Ordering::Relaxed))
    }

    /// Replaces the sums by what a scan has found. What was written meanwhile counts on top, whether the scan has seen it or not: rather too
    /// much than too little.
    pub(crate) fn correct(
        &self,
        root: &Root,
        before: (i64, i64),
        bytes: u64,
        entries: u64,
    ) -> rustix::io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
        self.update(&root.top(), |file, new| {
            let (old_bytes, old_entries, _) = file.unwrap_or((before.0, before.1, 0));
            let meanwhile = ((old_bytes + new.0 - before.0).max(0), (old_entries + new.1 - before.1).max(0));
            (bytes as i64 + meanwhile.0, entries as i64 + meanwhile.1, now)
        })
    }

    /// Whether the sums are nothing to go by: the file is new, or no scan has confirmed it for a day.
    pub(crate) fn needs_scan(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
        !self.known.load(Ordering::Relaxed)
            || now.saturating_sub(self.scanned.load(Ordering::Relaxed)) > 86_400
    }

    fn update(
        &self,
        top: &OwnedFd,
        change: impl Fn(Option<(i64, i64, u64)>, (i64, i64)) -> (i64, i64, u64),
    ) -> rustix::io::Result<()> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = match rustix::fs::openat(top, NAME, flags, FILE_MODE) {
            // A read-only directory: what is in the file is still worth knowing.
            Err(error) => return self.look(top).map_err(|_| error),
            Ok(fd) => fd,
        };
        if rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(());
        }
        let new = (self.new_bytes.swap(0, Ordering::Relaxed), self.new_entries.swap(0, Ordering::Relaxed));
        let mut bytes = [0; LEN];
        let file = match rustix::io::pread(&fd, &mut bytes, 0) {
            Ok(LEN) => decode(&bytes),
            _ => None,
        };
        let sums = change(file, new);
        // An idle cache does not write to its disk every second.
        let result = if file == Some(sums) { Ok(0) } else { rustix::io::pwrite(&fd, &encode(sums), 0) };
        if result.is_err() {
            self.new_bytes.fetch_add(new.0, Ordering::Relaxed);
            self.new_entries.fetch_add(new.1, Ordering::Relaxed);
        }
        self.take(sums);
        result.map(drop)
    }

    fn look(&self, top: &OwnedFd) -> rustix::io::Result<()> {
        let fd = rustix::fs::openat(top, NAME, OFlags::RDONLY | OFlags::CLOEXEC, FILE_MODE)?;
        let mut bytes = [0; LEN];
        if rustix::io::pread(&fd, &mut bytes, 0)? == LEN
            && let Some(sums) = decode(&bytes)
        {
            self.take(sums);
        }
        Err(rustix::io::Errno::ROFS)
    }

    fn take(&self, (bytes, entries, scanned): (i64, i64, u64)) {
        // What the writer added since its sum was taken must not get lost.
        self.bytes.store(bytes + self.new_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        self.entries.store(entries + self.new_entries.load(Ordering::Relaxed), Ordering::Relaxed);
        self.scanned.store(scanned, Ordering::Relaxed);
        self.known.store(true, Ordering::Relaxed);
    }
}

/// A 32nd, but at least what the writer writes at once, twice.
fn margin(of: u64) -> i64 {
    (of / 32).clamp((of / 4).min(16 << 20), 1 << 30) as i64
}

fn encode((bytes, entries, scanned): (i64, i64, u64)) -> [u8; LEN] {
    let mut out = [0; LEN];
    out[..8].copy_from_slice(b"wasmused");
    out[8..16].copy_from_slice(&bytes.to_le_bytes());
    out[16..24].copy_from_slice(&entries.to_le_bytes());
    out[24..32].copy_from_slice(&scanned.to_le_bytes());
    let crc = crc32c::crc32c(&out[..32]);
    out[32..36].copy_from_slice(&crc.to_le_bytes());
    out
}

fn decode(bytes: &[u8; LEN]) -> Option<(i64, i64, u64)> {
    let crc = u32::from_le_bytes(bytes[32..36].try_into().ok()?);
    if &bytes[..8] != b"wasmused" || crc != crc32c::crc32c(&bytes[..32]) {
        return None;
    }
    let at = |at: usize| Some(u64::from_le_bytes(bytes[at..at + 8].try_into().ok()?));
    Some((at(8)? as i64, at(16)? as i64, at(24)?))
}
