//! Every key reads back as it was stored, and a walk of the tree finds exactly the keys.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};
use wasmount_tests::bounded::within;
use wasmount_tests::config::FluidFiles;
use wasmount_tests::keys::{self, Object};
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::Launch;
use wasmount_tests::prng::Prng;
use wasmount_tests::tree;

const BUCKET: &str = "two-thousand";
const WORKERS: usize = 16;
/// Generous: the slowest part is MinIO storing 2,000 objects on a busy machine.
const BOUND: std::time::Duration = std::time::Duration::from_secs(300);

/// Does `work` for each object on sixteen threads; the first error ends it.
fn in_parallel(objects: &[Object], work: impl Fn(usize, &Object) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    while let Some((index, object)) =
                        Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, objects.get(i)?)))
                    {
                        work(index, object).with_context(|| format!("key {:?}", object.key))?;
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??;
        }
        Ok(())
    })
}

fn hash_of_file(path: &Path) -> Result<(u64, Vec<u8>)> {
    let mut file = File::open(path).context("open")?;
    let (mut hasher, mut len) = (Sha256::new(), 0);
    let mut chunk = vec![0_u8; 1 << 20];
    loop {
        let read = file.read(&mut chunk).context("read")?;
        if read == 0 {
            return Ok((len, hasher.finalize().to_vec()));
        }
        hasher.update(chunk.get(..read).context("read beyond the buffer")?);
        len += read as u64;
    }
}

#[test]
fn two_thousand_keys_read_back_identical() -> Result<()> {
    let seed = Prng::seed_from_env(20_260_115);
    println!("WASMOUNT_SEED={seed}");
    let mut objects = keys::objects(seed, 1999);
    objects.push(Object { key: "large/200 MiB.o".to_owned(), len: 200 << 20, seed: seed ^ 1 });

    let minio = Minio::start()?;
    let client = minio.client()?;
    client.make_bucket(BUCKET)?;
    in_parallel(&objects, |_, object| client.put(BUCKET, &object.key, &object.content()))?;
    let mut stored = client.list(BUCKET, "")?;
    stored.sort();
    let expected: BTreeMap<String, u64> =
        objects.iter().map(|object| (object.key.clone(), object.len as u64)).collect();
    ensure!(stored.iter().eq(expected.keys()), "MinIO itself does not hold what was stored");

    let files = FluidFiles::new()?;
    let access = files.write_secret("s3", "ak", "minioadmin")?;
    let secret = files.write_secret("s3", "sk", "minioadmin")?;
    files.write_mounts(&[json!({"mountPoint": format!("s3://{BUCKET}"), "name": "keys", "options":
        {"endpoint": minio.endpoint(), "access-key": access, "secret-key": secret}})])?;
    let mount = Launch::run(&files)?.start()?;

    let root = mount.target().to_path_buf();
    let found = within("walk", BOUND, move || tree::files(&root))??;
    for (key, len) in &expected {
        assert_eq!(found.get(key), Some(len), "the walk does not find {key:?} with its length");
    }
    for key in found.keys() {
        assert!(expected.contains_key(key), "the walk finds {key:?}, which was never stored");
    }

    let root = mount.target().to_path_buf();
    within("16 parallel readers", BOUND, move || {
        in_parallel(&objects, |_, object| {
            let (len, hash) = hash_of_file(&root.join(&object.key))?;
            ensure!(len == object.len as u64, "{len} bytes instead of {}", object.len);
            ensure!(hash == Sha256::digest(object.content()).to_vec(), "other bytes than were stored");
            Ok(())
        })
    })??;
    Ok(())
}
