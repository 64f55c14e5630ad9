//! Digests of bodies, at native speed on threads of their own.

use super::body::Pieces;
use super::crc::{CRC32, CRC64NVME, Crc, crc32c};
use super::too_large;
use super::wit::buffers::DigestAlgorithm;
use bytes::Bytes;
use futures::FutureExt as _;
use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasmount_types::{Blame, Error, ErrorKind};

/// Longest body that is digested: more than the 5 GiB that S3 takes in one request. Zeros cost a guest nothing, so without a
/// limit it could ask for the digest of 2^63 of them.
const MAX_DIGEST: u64 = 8 << 30;

/// Reads a repeatable body to its end on a thread for blocking work.
///
/// The thread ends early when the future is dropped.
pub(super) async fn digest(
    mut pieces: Pieces,
    algorithm: DigestAlgorithm,
    turns: Arc<Semaphore>,
) -> Result<Vec<u8>, Error> {
    if !pieces.repeatable() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            Blame::Plugin,
            "this body cannot be digested without consuming it",
        ));
    }
    if pieces.len().is_none_or(|length| length > MAX_DIGEST) {
        return Err(too_large(format_args!("a digest of more than {MAX_DIGEST} bytes")));
    }
    let turn = turns.acquire_owned().await;
    // Dropped with this future.
    let wanted = Arc::new(());
    let still = Arc::downgrade(&wanted);
    let work = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        // Never waits: it is all in memory.
        let mut next = move || -> Option<Bytes> {
            if still.strong_count() == 0 {
                return None;
            }
            let held = pieces.next(1 << 20).now_or_never()??;
            Some(held.ok()?.bytes)
        };
        match algorithm {
            DigestAlgorithm::Crc32 => {
                (checksum(&CRC32, 0xffff_ffff, &mut next) as u32).to_be_bytes().to_vec()
            }
            DigestAlgorithm::Crc32c => {
                let mut register = u32::MAX;
                while let Some(bytes) = next() {
                    register = crc32c(register, &bytes);
                }
                (!register).to_be_bytes().to_vec()
            }
            DigestAlgorithm::Crc64nvme => checksum(&CRC64NVME, u64::MAX, &mut next).to_be_bytes().to_vec(),
            DigestAlgorithm::Md5 => hash::<Md5>(&mut next),
            DigestAlgorithm::Sha1 => hash::<Sha1>(&mut next),
            DigestAlgorithm::Sha256 => hash::<Sha256>(&mut next),
        }
    });
    work.await
        .map_err(|e| Error::new(ErrorKind::Interrupted, Blame::Host, format!("digest was stopped: {e}")))
}

/// A CRC that starts from `ones`, and is inverted with them.
fn checksum(crc: &Crc, ones: u64, next: &mut dyn FnMut() -> Option<Bytes>) -> u64 {
    let mut register = ones;
    while let Some(bytes) = next() {
        register = crc.register(register, &bytes);
    }
    register ^ ones
}

fn hash<D: sha2::Digest>(next: &mut dyn FnMut() -> Option<Bytes>) -> Vec<u8> {
    let mut hasher = D::new();
    while let Some(bytes) = next() {
        hasher.update(&bytes);
    }
    hasher.finalize().to_vec()
}
