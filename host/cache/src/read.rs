//! Reading pages and checking them against their words.

use crate::entry::{Disk, read_up_to};
use crate::format::word;
use bytes::BytesMut;
use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::fd::AsFd;
use wasmount_core::ports::CACHE_PAGE;

const PAGE: usize = CACHE_PAGE as usize;
/// Bytes that are read, checked and handed over at a time: little enough to stay in a core's cache from one step to the next.
pub(crate) const CHUNK: u64 = 256 << 10;

/// Why bytes could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fail {
    /// Not without waiting for the disk.
    Wait,
    /// This page is not there: another process has dropped it.
    Gone(u64),
    /// These pages are not what was written.
    Bad(Vec<u64>),
    /// The system refused these pages.
    Io(Errno, Range<u64>),
}

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    None,
    Some,
}

impl Patience {
    /// For calls that know them.
    pub(crate) fn flags(self) -> ReadWriteFlags {
        match self {
            Self::None => ReadWriteFlags::NOWAIT,
            Self::Some => ReadWriteFlags::empty(),
        }
    }
}

/// Appends what is missing of `from..to` to `out`, which holds the bytes from `from` on. What is in `out` afterwards has been checked,
/// also on failure.
pub(crate) fn fill(
    disk: &Disk,
    size: u64,
    from: u64,
    to: u64,
    out: &mut BytesMut,
    patience: Patience,
) -> Result<(), Fail> {
    loop {
        let at = from + out.len() as u64;
        if at >= to {
            return Ok(());
        }
        let end = to.min(at / CACHE_PAGE * CACHE_PAGE + CHUNK);
        let before = out.len();
        let result = chunk(disk, size, at, end, out, patience);
        if result.is_err() {
            out.truncate(before);
        }
        result?;
    }
}

fn chunk(
    disk: &Disk,
    size: u64,
    at: u64,
    end: u64,
    out: &mut BytesMut,
    patience: Patience,
) -> Result<(), Fail> {
    let (first, last) = (at / CACHE_PAGE, end.div_ceil(CACHE_PAGE));
    let mut words = [0; (CHUNK / CACHE_PAGE) as usize * 4];
    let words = &mut words[..(last - first) as usize * 4];
    disk.words(first, words, patience.flags()).map_err(|error| match patience {
        Patience::None => Fail::Wait,
        Patience::Some => Fail::Io(error, first..last),
    })?;
    if let Some(gone) = (first..last).zip(words.chunks_exact(4)).find(|(_, word)| *word == [0; 4]) {
        return Err(Fail::Gone(gone.0));
    }

    let before = out.len();
    out.resize(before + (end - at) as usize, 0);
    let mut pages = Pages::new(at, end, size, &mut out[before..]);
    match patience {
        Patience::None => pages.read_at_once(disk)?,
        Patience::Some => pages.read(disk)?,
    }
    let mut bad = pages.check(words);
    if !bad.is_empty() {
        if patience == Patience::None {
            return Err(Fail::Wait);
        }
        // Perhaps only the page cache is wrong: a page that was being read while it was written around the cache.
        let len = std::num::NonZeroU64::new((last - first) * CACHE_PAGE);
        let _ = rustix::fs::fadvise(disk.data.as_fd(), first * CACHE_PAGE, len, Advice::DontNeed);
        pages.read(disk)?;
        bad = pages.check(words);
    }
    if !bad.is_empty() {
        return Err(Fail::Bad(bad));
    }
    pages.deliver();
    Ok(())
}

/// The whole pages of a range: those that the range covers in the caller's buffer, those that it cuts beside it.
struct Pages<'a> {
    first: u64,
    head: Option<Edge>,
    middle: &'a mut [u8],
    tail: Option<Edge>,
    /// Of the caller's buffer: what goes in front of and behind the middle.
    front: &'a mut [u8],
    back: &'a mut [u8],
}

struct Edge {
    bytes: [u8; PAGE],
    /// Of the page: shorter at the end of the file.
    len: usize,
    /// Of the page, what the caller wants.
    skip: usize,
}

impl<'a> Pages<'a> {
    fn new(at: u64, end: u64, size: u64, out: &'a mut [u8]) -> Self {
        let first = at / CACHE_PAGE;
        let edge = |page: u64, skip: u64| Edge {
            bytes: [0; PAGE],
            len: (size - page * CACHE_PAGE).min(CACHE_PAGE) as usize,
            skip: skip as usize,
        };
        let skip = at % CACHE_PAGE;
        let whole_end = size.min((first + 1) * CACHE_PAGE);
        // The first page is cut in front, or it is the only one and cut behind.
        let head = (skip != 0 || end < whole_end).then(|| edge(first, skip));
        let front_len = if head.is_some() { (end.min(whole_end) - at) as usize } else { 0 };
        let last = (end - 1) / CACHE_PAGE;
        let cut_behind = end < size.min((last + 1) * CACHE_PAGE);
        let tail = (cut_behind && (head.is_none() || last > first)).then(|| edge(last, 0));
        let back_len = if tail.is_some() { (end - last * CACHE_PAGE) as usize } else { 0 };
        let (front, rest) = out.split_at_mut(front_len);
        let (middle, back) = rest.split_at_mut(rest.len() - back_len);
        Self { first, head, middle, tail, front, back }
    }

    fn middle_first(&self) -> u64 {
        self.first + u64::from(self.head.is_some())
    }

    fn tail_page(&self) -> u64 {
        self.middle_first() + self.middle.len().div_ceil(PAGE) as u64
    }

    /// One call, which brings everything or is not tried again.
    fn read_at_once(&mut self, disk: &Disk) -> Result<(), Fail> {
        let at = self.first * CACHE_PAGE;
        let mut want = 0;
        let mut slices: [IoSliceMut<'_>; 3] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        let mut n = 0;
        if let Some(head) = &mut self.head {
            slices[n] = IoSliceMut::new(&mut head.bytes[..head.len]);
            n += 1;
        }
        if !self.middle.is_empty() {
            slices[n] = IoSliceMut::new(self.middle);
            n += 1;
        }
        if let Some(tail) = &mut self.tail {
            slices[n] = IoSliceMut::new(&mut tail.bytes[..tail.len]);
            n += 1;
        }
        for slice in &slices[..n] {
            want += slice.len();
        }
        match rustix::io::preadv2(disk.data.as_fd(), &mut slices[..n], at, ReadWriteFlags::NOWAIT) {
            Ok(got) if got == want => Ok(()),
            // The rest is not in memory, the file is too short, or what is wrong is found by the read that may wait.
            _ => Err(Fail::Wait),
        }
    }

    fn read(&mut self, disk: &Disk) -> Result<(), Fail> {
        let (middle_first, tail_page) = (self.middle_first(), self.tail_page());
        let head = self.head.as_mut().map(|edge| (self.first, &mut edge.bytes[..edge.len]));
        let tail = self.tail.as_mut().map(|edge| (tail_page, &mut edge.bytes[..edge.len]));
        let parts = head.into_iter().chain([(middle_first, &mut *self.middle)]).chain(tail);
        for (page, bytes) in parts {
            let pages = page..page + bytes.len().div_ceil(PAGE) as u64;
            let got = read_up_to(disk.data.as_fd(), bytes, page * CACHE_PAGE)
                .map_err(|error| Fail::Io(error, pages.clone()))?;
            // The file has become shorter.
            if got < bytes.len() {
                return Err(Fail::Bad((page + (got / PAGE) as u64..pages.end).collect()));
            }
        }
        Ok(())
    }

    /// The pages whose bytes do not belong to their words.
    fn check(&self, words: &[u8]) -> Vec<u64> {
        let head = self.head.iter().map(|edge| &edge.bytes[..edge.len]);
        let tail = self.tail.iter().map(|edge| &edge.bytes[..edge.len]);
        let pages = head.chain(self.middle.chunks(PAGE)).chain(tail);
        let pairs = pages.zip(words.chunks_exact(4)).enumerate();
        pairs
            .filter(|(_, (page, expected))| word(crc32c::crc32c(page)).to_le_bytes() != **expected)
            .map(|(n, _)| self.first + n as u64)
            .collect()
    }

    /// Gives the caller its part of the pages at the edges.
    fn deliver(self) {
        for (edge, to) in [(self.head, self.front), (self.tail, self.back)] {
            if let Some(edge) = edge {
                to.copy_from_slice(&edge.bytes[edge.skip..edge.skip + to.len()]);
            }
        }
    }
}
