//! The bytes of a `.meta` file: a header that says whose pages these are, a completion mark, and one word per page.
//!
//! ```text
//! 0    magic, format, where the words begin, size, lengths, CRC of the header
//! 64   completion mark, 80 bytes, with a CRC of its own; zeros: none
//! 144  key, version, zeros up to a multiple of 64
//! ...  one little-endian u32 per page: its CRC-32C, or 0 when the page is not there (a CRC of 0 is kept as 1)
//! ```
//!
//! The header is a function of the entry's identity, key, version and size alone: two processes that make the same entry at once write the
//! same bytes. So it needs neither a temporary name nor a lock, and a half-written one is simply written again.

use sha2::{Digest, Sha256};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wasmount_core::ports::{CACHE_PAGE, CacheId};

const MAGIC: [u8; 8] = *b"wasmcach";
const FORMAT: u16 = 1;
const FIXED: usize = 144;
const MARK_AT: usize = 64;
/// Length of a completion mark.
pub(crate) const MARK_LEN: usize = 80;
/// Where the mark is in the file.
pub(crate) const MARK_OFFSET: u64 = MARK_AT as u64;
/// Key and version together may not be longer; what is longer is not cached. S3 allows keys of 1,024 bytes.
const TEXT_MAX: usize = 3072;
/// One read of this many bytes brings any header, and for most small files all the words.
pub(crate) const FIRST_READ: usize = 4096;

/// Number of pages of a file.
pub(crate) fn pages(size: u64) -> u64 {
    size.div_ceil(CACHE_PAGE)
}

/// The word that stands for a page's bytes.
pub(crate) fn word(crc: u32) -> u32 {
    crc.max(1)
}

/// Name of an entry: a hash of whose it is, its key, version and size.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EntryHash(pub [u8; 20]);

impl EntryHash {
    pub(crate) fn of(id: &CacheId, version: &str) -> Self {
        let mut sha = Sha256::new();
        for text in [id.identity.as_str(), id.key.as_str(), version] {
            sha.update((text.len() as u64).to_le_bytes());
            sha.update(text.as_bytes());
        }
        sha.update(id.file.size.to_le_bytes());
        let mut short = [0; 20];
        short.copy_from_slice(&sha.finalize()[..20]);
        Self(short)
    }

    /// The first 64 bits, for the index.
    pub(crate) fn prefix(self) -> u64 {
        u64::from_be_bytes([
            self.0[0], self.0[1], self.0[2], self.0[3], self.0[4], self.0[5], self.0[6], self.0[7],
        ])
    }

    /// From a file name without its extension.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let bytes = name.as_bytes();
        if bytes.len() != 40 {
            return None;
        }
        let digit = |b: u8| (b as char).to_digit(16);
        let mut hash = [0; 20];
        for (out, pair) in hash.iter_mut().zip(bytes.chunks_exact(2)) {
            *out = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Some(Self(hash))
    }
}

impl fmt::Debug for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub key: String,
    pub version: String,
    pub size: u64,
}

impl Header {
    /// `None`: key and version are too long for an entry, or there is nothing to keep.
    pub(crate) fn of(id: &CacheId, version: &str) -> Option<Self> {
        let fits = id.key.as_str().len() + version.len() <= TEXT_MAX;
        // Page numbers and offsets in the words stay far from overflowing.
        (fits && (1..=1 << 50).contains(&id.file.size)).then(|| Self {
            key: id.key.as_str().to_owned(),
            version: version.to_owned(),
            size: id.file.size,
        })
    }

    /// Where the words begin.
    pub(crate) fn words_at(&self) -> u64 {
        (FIXED + self.key.len() + self.version.len()).next_multiple_of(64) as u64
    }

    /// The header with an empty mark: everything before the words.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; self.words_at() as usize];
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        out[12..16].copy_from_slice(&(self.words_at() as u32).to_le_bytes());
        out[16..24].copy_from_slice(&self.size.to_le_bytes());
        out[24..28].copy_from_slice(&(self.key.len() as u32).to_le_bytes());
        out[28..32].copy_from_slice(&(self.version.len() as u32).to_le_bytes());
        let end_of_key = FIXED + self.key.len();
        out[FIXED..end_of_key].copy_from_slice(self.key.as_bytes());
        out[end_of_key..end_of_key + self.version.len()].copy_from_slice(self.version.as_bytes());
        let crc = header_crc(&out);
        out[32..36].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header in the first bytes of a file; `None` if it is half written, damaged or of another format.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..8)? != MAGIC || bytes.get(8..10)? != FORMAT.to_le_bytes() {
            return None;
        }
        let key_len = u32_at(bytes, 24)? as usize;
        let version_len = u32_at(bytes, 28)? as usize;
        if key_len.checked_add(version_len)? > TEXT_MAX {
            return None;
        }
        let text = |from: usize, len: usize| String::from_utf8(bytes.get(from..from + len)?.to_vec()).ok();
        let header = Self {
            key: text(FIXED, key_len)?,
            version: text(FIXED + key_len, version_len)?,
            size: u64_at(bytes, 16)?,
        };
        let whole = bytes.get(..header.words_at() as usize)?;
        let right =
            u32_at(bytes, 32)? == header_crc(whole) && u64::from(u32_at(bytes, 12)?) == header.words_at();
        (right && (1..=1 << 50).contains(&header.size)).then_some(header)
    }
}

/// Over everything but the CRC itself and the mark, which is written later.
fn header_crc(header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..32]), &header[FIXED..])
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Says that every page is there, was on the disk, and what the data file looked like then: whoever changes it later
/// changes its ctime too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The boot in which the bytes were written or checked; in another one they are checked again before they are trusted.
    pub boot: [u8; 16],
    pub state: FileState,
}

/// What changes when a file's bytes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileState {
    pub size: u64,
    pub inode: u64,
    /// Seconds and nanoseconds.
    pub modified: (i64, u32),
    /// Seconds and nanoseconds.
    pub changed: (i64, u32),
}

impl FileState {
    /// How long to wait until a later change is sure to show: a kernel may give changes within one tick of its clock, 10 ms at most, the
    /// same time.
    pub(crate) fn unsettled(&self, now: SystemTime) -> Option<Duration> {
        const TICKS: Duration = Duration::from_millis(20);
        let now = now.duration_since(UNIX_EPOCH).ok()?;
        let changed = Duration::new(self.changed.0.try_into().ok()?, self.changed.1);
        let rest = (changed + TICKS).checked_sub(now)?;
        (!rest.is_zero()).then(|| rest.min(TICKS))
    }
}

impl Mark {
    pub(crate) fn encode(&self) -> [u8; MARK_LEN] {
        let mut out = [0; MARK_LEN];
        out[..4].copy_from_slice(b"done");
        out[8..24].copy_from_slice(&self.boot);
        out[24..32].copy_from_slice(&self.state.size.to_le_bytes());
        out[32..40].copy_from_slice(&self.state.inode.to_le_bytes());
        out[40..48].copy_from_slice(&self.state.modified.0.to_le_bytes());
        out[48..52].copy_from_slice(&self.state.modified.1.to_le_bytes());
        out[52..60].copy_from_slice(&self.state.changed.0.to_le_bytes());
        out[60..64].copy_from_slice(&self.state.changed.1.to_le_bytes());
        let crc = crc32c::crc32c(&out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The mark in the first bytes of a `.meta` file.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mark = bytes.get(MARK_AT..MARK_AT + MARK_LEN)?;
        if &mark[..4] != b"done" || u32_at(mark, 4)? != crc32c::crc32c(&mark[8..]) {
            return None;
        }
        Some(Self {
            boot: mark[8..24].try_into().ok()?,
            state: FileState {
                size: u64_at(mark, 24)?,
                inode: u64_at(mark, 32)?,
                modified: (u64_at(mark, 40)? as i64, u32_at(mark, 48)?),
                changed: (u64_at(mark, 52)? as i64, u32_at(mark, 60)?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
    use super::*;

    fn header() -> Header {
        Header { key: "a/b".into(), version: "\"e1\"".into(), size: 12_345 }
    }

    #[test]
    fn a_header_is_read_as_written_and_no_flipped_or_missing_byte_passes() {
        let bytes = header().encode();
        assert_eq!(Header::decode(&bytes), Some(header()));
        for cut in 0..bytes.len() {
            assert_eq!(Header::decode(&bytes[..cut]), None, "cut at {cut}");
        }
        for at in (0..bytes.len()).filter(|at| !(10..12).contains(at) && !(36..FIXED).contains(at)) {
            let mut bad = bytes.clone();
            bad[at] ^= 0x20;
            assert_eq!(Header::decode(&bad), None, "byte {at}");
        }
    }

    #[test]
    fn the_mark_is_beside_the_headers_checksum() {
        let state = FileState { size: 1, inode: 2, modified: (-3, 4), changed: (5, 999_999_999) };
        let mark = Mark { boot: [7; 16], state };
        let mut bytes = header().encode();
        assert_eq!(Mark::decode(&bytes), None);
        bytes[MARK_AT..MARK_AT + MARK_LEN].copy_from_slice(&mark.encode());
        assert_eq!(Mark::decode(&bytes), Some(mark));
        assert_eq!(Header::decode(&bytes), Some(header()));
        for at in MARK_AT..MARK_AT + MARK_LEN {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(Mark::decode(&bad), None, "byte {at}");
        }
    }

    /// The format on disk, as released: another result means that FORMAT has to change.
    #[test]
    fn format_one_stays_as_it_is() {
        assert_eq!(crc32c::crc32c(&header().encode()), GOLDEN_HEADER);
    }

    const GOLDEN_HEADER: u32 = 2_243_608_475;

    #[test]
    fn hashes_are_names_and_back() {
        let hash = EntryHash(std::array::from_fn(|i| (i * 13) as u8));
        assert_eq!(EntryHash::parse(&hash.to_string()), Some(hash));
        assert_eq!(EntryHash::parse("xyz"), None);
    }
}
