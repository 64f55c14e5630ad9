//! The data set. Every byte of the larger files follows from the file's name and the position, so that each reader can
//! check what it got without a copy of it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use wasmount_tests::prng::Prng;
use wasmount_tests::s3::Client;

use crate::plan::in_parallel;

/// The bucket.
pub(crate) const BUCKET: &str = "bench";
/// The smallest object: what "first byte" reads.
pub(crate) const FIRST: &str = "first/hello.txt";
/// One large object. `many/` holds 100 more names for it: see `server.py`.
pub(crate) const LARGE: &str = "large/1g.bin";
/// Its length, in bytes.
pub(crate) const LARGE_LEN: u64 = 1 << 30;
/// How many objects `small/` holds.
pub(crate) const SMALL: usize = 2000;
/// The length of each, in bytes.
pub(crate) const SMALL_LEN: u64 = 16 << 10;
/// How many objects `epoch/` holds.
pub(crate) const EPOCH: usize = 64;
/// The length of each, in bytes.
pub(crate) const EPOCH_LEN: u64 = 16 << 20;
/// How many tiny objects `flat/` holds.
pub(crate) const FLAT: usize = 10_000;
/// How many directories `tree/` holds.
pub(crate) const TREE: usize = 20;
/// How many tiny objects each of them holds.
pub(crate) const TREE_FILES: usize = 500;

const FIRST_CONTENT: &[u8] = b"hello from s3\n";
const TINY: [u8; 128] = [b'x'; 128];
const SEEDERS: usize = 16;

/// What SplitMix64 adds to its state for each word, so that any word of a sequence can be had at once.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The name of an object of `small/`.
pub(crate) fn small(index: usize) -> String {
    format!("small/{:02}/{:03}.bin", index / 100, index % 100)
}

/// The name of an object of `epoch/`.
pub(crate) fn epoch(index: usize) -> String {
    format!("epoch/{index:02}.bin")
}

/// The name of one of the links to [`LARGE`].
pub(crate) fn many(index: usize) -> String {
    format!("many/{index:03}.bin")
}

/// The seed of an object's bytes, or `None` for the tiny ones, which are not random.
fn seed_of(key: &str) -> Option<u64> {
    match key.split_once('/')? {
        ("large" | "many", _) => Some(1),
        ("small", _) => Some(2),
        ("epoch", name) => Some(100 + name.get(..2)?.parse::<u64>().ok()?),
        _ => None,
    }
}

/// Checks the first word of what was read of `key` at `position`.
///
/// # Errors
/// When it is not what was stored.
pub(crate) fn check(key: &str, position: u64, bytes: &[u8]) -> Result<()> {
    let (Some(seed), Some(found)) = (seed_of(key), bytes.first_chunk::<8>()) else { return Ok(()) };
    if !position.is_multiple_of(8) {
        return Ok(()); // where a read ended early: the next aligned one is checked
    }
    let stored = Prng::new(seed.wrapping_add(GAMMA.wrapping_mul(position / 8))).next_u64();
    ensure!(*found == stored.to_le_bytes(), "{key}: wrong bytes at {position}");
    Ok(())
}

/// Calls `store` with every object, from several threads.
fn each(store: impl Fn(&str, &[u8]) -> Result<()> + Sync) -> Result<()> {
    store(FIRST, FIRST_CONTENT)?;
    store(LARGE, &Prng::new(1).bytes(LARGE_LEN as usize))?;
    in_parallel(2, EPOCH, |_, index| {
        let key = epoch(index);
        let seed = seed_of(&key).context("a name of epoch/")?;
        store(&key, &Prng::new(seed).bytes(EPOCH_LEN as usize))
    })?;
    let random = Prng::new(2).bytes(SMALL_LEN as usize);
    in_parallel(SEEDERS, SMALL, |_, index| store(&small(index), &random))?;
    in_parallel(SEEDERS, FLAT, |_, index| store(&format!("flat/f{index:05}.txt"), &TINY))?;
    in_parallel(SEEDERS, TREE * TREE_FILES, |_, index| {
        store(&format!("tree/{:02}/f{:03}.txt", index / TREE_FILES, index % TREE_FILES), &TINY)
    })
}

/// Stores the data set on a server.
///
/// # Errors
/// When the server refuses.
pub(crate) fn seed(client: &Client) -> Result<()> {
    client.make_bucket(BUCKET)?;
    each(|key, content| client.put(BUCKET, key, content))
}

/// Writes the data set to a directory.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write_files(directory: &Path) -> Result<()> {
    each(|key, content| {
        let path = directory.join(key);
        fs::create_dir_all(path.parent().context("every key has a directory")?)?;
        fs::write(&path, content).with_context(|| path.display().to_string())
    })
}
