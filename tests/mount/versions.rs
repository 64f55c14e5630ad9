//! An object that is replaced while it is being read: the old bytes or an error, never a mixture.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use wasmount_tests::bounded::{SOON, reads_back, within};
use wasmount_tests::cache::wait_cached;
use wasmount_tests::config::FluidFiles;
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::prng::Prng;

const BUCKET: &str = "versions";
/// Larger than what is read ahead at first, so that later reads go to the server.
const SIZE: usize = 48 << 20;
const ESTALE: i32 = 116;

fn start(minio: &Minio) -> Result<(FluidFiles, Mount)> {
    start_with(minio, "ttl")
}

fn start_with(minio: &Minio, consistency: &str) -> Result<(FluidFiles, Mount)> {
    let files = FluidFiles::new()?;
    let access = files.write_secret("s3", "ak", "minioadmin")?;
    let secret = files.write_secret("s3", "sk", "minioadmin")?;
    files.write_mounts(&[json!({"mountPoint": format!("s3://{BUCKET}"), "name": "v", "options": {
        "endpoint": minio.endpoint(), "access-key": access, "secret-key": secret, "attr-ttl": "1s",
        "consistency": consistency}})])?;
    let mount = Launch::run(&files)?.start()?;
    Ok((files, mount))
}

/// Reads at seeded random places through an open file; every byte must be `expected`, or the read must fail with
/// ESTALE. Returns how many reads were answered.
fn only_ever(file: &File, expected: u8, prng: &mut Prng, reads: usize) -> Result<usize> {
    let mut answered = 0;
    for _ in 0..reads {
        let mut chunk = vec![0_u8; 1 + prng.below(400_000)];
        let at = prng.below(SIZE) as u64;
        match file.read_at(&mut chunk, at) {
            Ok(len) => {
                let got = chunk.get(..len).context("read beyond the buffer")?;
                anyhow::ensure!(got.iter().all(|byte| *byte == expected), "a mixture of versions at {at}");
                anyhow::ensure!(len > 0, "the file ends at {at}, long before its pinned size");
                answered += 1;
            }
            Err(error) => anyhow::ensure!(error.raw_os_error() == Some(ESTALE), "at {at}: {error}"),
        }
    }
    Ok(answered)
}

#[test]
fn an_open_file_never_mixes_versions_and_a_new_open_sees_the_new_one() -> Result<()> {
    let seed = Prng::seed_from_env(7);
    println!("WASMOUNT_SEED={seed}");
    let mut prng = Prng::new(seed);
    let minio = Minio::start()?;
    let client = minio.client()?;
    client.make_bucket(BUCKET)?;
    client.put(BUCKET, "object", &vec![b'A'; SIZE])?;
    let (_files, mount) = start(&minio)?;
    let path = mount.path("object");

    for (old, new) in [(b'A', b'B'), (b'B', b'C')] {
        let file = File::open(&path)?;
        let mut reader = prng.clone();
        let (file, answered) = within("reads of the old version", SOON, move || {
            let answered = only_ever(&file, old, &mut reader, 4);
            (file, answered)
        })?;
        assert_eq!(answered?, 4, "nothing has changed yet");
        client.put(BUCKET, "object", &vec![new; SIZE])?;
        let mut reader = prng.clone();
        let file = within("reads after the change", SOON, move || {
            only_ever(&file, old, &mut reader, 40).map(|_| file)
        })??;
        // A new open sees the new version within the time to live of an attribute, and a handle from before still
        // does not.
        reads_back(&path, &vec![new; SIZE], SOON)?;
        let mut reader = prng.clone();
        within("the old handle once more", SOON, move || only_ever(&file, old, &mut reader, 20))??;
        prng.next_u64();
    }
    Ok(())
}

#[test]
fn a_reader_that_streams_while_the_object_is_replaced_gets_one_version() -> Result<()> {
    let minio = Minio::start()?;
    let client = minio.client()?;
    client.make_bucket(BUCKET)?;
    client.put(BUCKET, "object", &vec![b'A'; SIZE])?;
    let (_files, mount) = start(&minio)?;
    let path = mount.path("object");
    let writer = std::thread::spawn(move || -> Result<()> {
        for version in b'B'..=b'F' {
            client.put(BUCKET, "object", &vec![version; SIZE])?;
        }
        Ok(())
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut whole = 0;
    while (!writer.is_finished() || whole == 0) && Instant::now() < deadline {
        let path = path.clone();
        match within("a whole read", SOON, move || std::fs::read(path))? {
            Ok(bytes) => {
                let first = *bytes.first().context("an empty read")?;
                assert!(bytes.iter().all(|byte| *byte == first), "a mixture of versions");
                assert_eq!(bytes.len(), SIZE);
                whole += 1;
            }
            Err(error) => assert_eq!(error.raw_os_error(), Some(ESTALE), "{error}"),
        }
    }
    writer.join().expect("the writer panicked")?;
    assert!(whole > 0, "not one read succeeded, not even after the last change");
    Ok(())
}

#[test]
fn a_deleted_object_disappears() -> Result<()> {
    let minio = Minio::start()?;
    let client = minio.client()?;
    client.make_bucket(BUCKET)?;
    client.put(BUCKET, "kept", b"kept")?;
    client.put(BUCKET, "gone", b"gone")?;
    let (_files, mount) = start(&minio)?;
    reads_back(mount.path("gone"), b"gone", SOON)?;
    client.delete(BUCKET, "gone")?;
    let path = mount.path("gone");
    wasmount_tests::bounded::wait_for("the name is gone", SOON, || {
        std::fs::metadata(&path)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
            .then_some(())
    })?;
    reads_back(mount.path("kept"), b"kept", SOON)
}

/// From the disk cache, and where the kernel can, by the kernel itself: an open handle keeps its version, a new one gets the
/// new one.
#[test]
fn a_cached_file_is_one_version_as_well() -> Result<()> {
    for consistency in ["ttl", "open"] {
        let minio = Minio::start()?;
        let client = minio.client()?;
        client.make_bucket(BUCKET)?;
        let content = |version: u8| vec![version; 9 << 20];
        client.put(BUCKET, "object", &content(b'A'))?;
        let (_files, mount) = start_with(&minio, consistency)?;
        let path = mount.path("object");
        for version in b'A'..=b'D' {
            reads_back(&path, &content(version), SOON)?;
            wait_cached(&path, 9 << 20)?;
            let old: Vec<_> = (0..8).map(|_| File::open(&path)).collect::<Result<_, _>>()?;
            client.put(BUCKET, "object", &content(version + 1))?;
            if consistency == "open" {
                let path = path.clone();
                let now = within("an open", SOON, move || std::fs::read(path))??;
                assert!(now == content(version + 1), "an open after the change shows the change");
            }
            for file in old {
                let mut bytes = content(0);
                let read =
                    within("an old handle", SOON, move || file.read_exact_at(&mut bytes, 0).map(|()| bytes))?;
                assert!(read? == content(version), "all of it is in the cache: the old version, wholly");
            }
        }
        reads_back(&path, &content(b'E'), SOON)?;
    }
    Ok(())
}
