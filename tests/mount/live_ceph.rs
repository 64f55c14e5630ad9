//! Mounts of a real Ceph cluster come and go beside a bucket, and their keys are exchanged while they are read.

use std::fs::File;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wasmount_tests::bounded::{RECOVERY, SOON, names, read, reads_back, wait_for};
use wasmount_tests::ceph::{self, Setup, left_out};
use wasmount_tests::config::SECRETS;
use wasmount_tests::kubelet::Volume;
use wasmount_tests::live::{
    Cluster, Reader, SEEN, bucket, config_of, in_force, soon_gone, soon_in_force, soon_stale,
};
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::Mount;
use wasmount_tests::paths;
use wasmount_tests::prng::Prng;

/// The users of these tests, each with the right to read its part and no other.
const FILES: &str = "live-files";
const IMAGES: &str = "live-images";

/// Times are asserted: nothing else runs meanwhile.
static ALONE: Mutex<()> = Mutex::new(());

/// A cluster with the same bytes as a file and as an image.
struct Storage {
    ceph: ceph::Cluster,
    bytes: Vec<u8>,
}

impl Storage {
    /// Each test has its own: one of them kills daemons, which a cluster is busy with for a while after that.
    fn new() -> Result<Self> {
        let ceph = ceph::Cluster::of(&Setup { active_mds: 1, ..Setup::default() })?;
        let bytes = Prng::new(16).bytes(24 << 20);
        let file = ceph.dir().join("bytes");
        std::fs::write(&file, &bytes)?;
        let fuse = ceph.ceph_fuse(&[])?;
        std::fs::create_dir(fuse.path("data"))?;
        std::fs::write(fuse.path("data/file"), &bytes)?;
        drop(fuse);
        ceph.run("ceph", &["fs", "authorize", "cephfs", &format!("client.{FILES}"), "/data", "r"])?;
        ceph.run("ceph", &["osd", "pool", "create", "rbd", "8"])?;
        ceph.run("rbd", &["pool", "init", "rbd"])?;
        ceph.run("rbd", &["import", "--no-progress", &file.to_string_lossy(), "rbd/image"])?;
        ceph.user(IMAGES, &["mon", "profile rbd", "osd", "profile rbd-read-only pool=rbd"])?;
        Ok(Self { ceph, bytes })
    }

    fn files(&self) -> Value {
        let options =
            json!({"id": FILES, "key": format!("{SECRETS}/ceph/{FILES}"), "request-timeout": "120s"});
        json!({"mountPoint": format!("ceph://{}/data", self.ceph.mon()), "name": "files", "options": options})
    }

    fn images(&self) -> Value {
        let options =
            json!({"user": IMAGES, "key": format!("{SECRETS}/ceph/{IMAGES}"), "request-timeout": "120s"});
        json!({"mountPoint": format!("rbd://{}/rbd", self.ceph.mon()), "name": "images", "options": options})
    }

    /// The Secret with both keys, as they are now.
    fn publish_keys(&self, volume: &Volume) -> Result<()> {
        let keys = [FILES, IMAGES].map(|user| self.ceph.key_of(user).map(|key| (user, key)));
        let keys = keys.into_iter().collect::<Result<Vec<_>>>()?;
        let keys: Vec<_> = keys.iter().map(|(user, key)| (*user, key.as_bytes())).collect();
        volume.publish(&keys)
    }

    /// Clients that the MDS knows below the directory of these tests.
    fn sessions(&self) -> Result<usize> {
        let sessions: Value =
            serde_json::from_str(&self.ceph.run("ceph", &["tell", "mds.0", "session", "ls"])?)?;
        let ours = |session: &&Value| session["client_metadata"]["root"] == "/data";
        Ok(sessions.as_array().context("a list of sessions")?.iter().filter(ours).count())
    }

    /// Gives a user another key, as an administrator does where `ceph auth rotate` does not exist yet.
    fn exchange_key(&self, user: &str) -> Result<[String; 2]> {
        let old = self.ceph.key_of(user)?;
        let new = self.ceph.run("ceph-authtool", &["--gen-print-key"])?.trim().to_owned();
        let keyring = self.ceph.run("ceph", &["auth", "get", &format!("client.{user}")])?;
        ensure!(keyring.contains(&old), "its keyring has its key");
        let file = self.ceph.dir().join(format!("{user}.keyring"));
        std::fs::write(&file, keyring.replace(&old, &new))?;
        self.ceph.run("ceph", &["auth", "import", "-i", &file.to_string_lossy()])?;
        ensure!(self.ceph.key_of(user)? == new, "the cluster has the new key");
        Ok([old, new])
    }
}

/// The program with all three plugins, mounted.
fn launch(storage: &Storage, cluster: &Cluster) -> Result<Mount> {
    let launch = cluster.launch()?.arg("--plugin").arg(paths::plugin("cephfs")?);
    // Compiled once for all tests here; that takes its time on a busy machine.
    let state = storage.ceph.dir().join("state");
    let launch = launch.arg("--plugin").arg(paths::plugin("rbd")?).replace_arg("--state-dir", state);
    let mut mount = launch.spawn()?;
    (0..4).find_map(|_| mount.wait_mounted().ok()).with_context(|| mount.log().text())?;
    Ok(mount)
}

/// Waits until mounts read as they should; prints how long that took.
fn all_read(mount: &Mount, paths: &[&str], bytes: &[u8]) -> Result<()> {
    let begin = Instant::now();
    for path in paths {
        reads_back(mount.path(path), bytes, SOON).with_context(|| mount.log().text())?;
    }
    eprintln!("{paths:?} read {:?} after the configuration was exchanged", begin.elapsed());
    Ok(())
}

#[test]
fn file_systems_and_images_come_and_go_beside_a_bucket() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let _turn = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (storage, minio) = (&Storage::new()?, Minio::start()?);
    minio.client()?.make_bucket("bucket-a")?;
    minio.client()?.put("bucket-a", "big", &storage.bytes)?;
    let objects = bucket(&minio, "objects", "a", Some("/objects"));
    let (files, images) = (storage.files(), storage.images());
    let cluster = Cluster::new(&config_of(std::slice::from_ref(&objects)))?;
    storage.publish_keys(&Volume::new(&cluster.files.secrets_dir().join("ceph"))?)?;
    let mount = launch(storage, &cluster)?;
    reads_back(mount.path("objects/big"), &storage.bytes, SOON)?;
    let reader = Reader::start(File::open(mount.path("objects/big"))?, storage.bytes.clone());

    for round in 0..2 {
        cluster.publish(&config_of(&[objects.clone(), files.clone()]))?;
        soon_in_force(&mount, 4 * round + 2)?;
        wait_for("its directory", SEEN, || {
            names(mount.target()).ok()?.ok().filter(|names| *names == ["files", "objects"])
        })?;
        all_read(&mount, &["files/file"], &storage.bytes)?;
        let file = File::open(mount.path("files/file"))?;
        ensure!(storage.sessions()? == 1, "one client of the file system");
        cluster.publish(&config_of(&[images.clone(), files.clone(), objects.clone()]))?;
        soon_in_force(&mount, 4 * round + 3)?;
        all_read(&mount, &["images/image", "files/file"], &storage.bytes)?;
        let image = File::open(mount.path("images/image"))?;

        // Events without news.
        for _ in 0..3 {
            cluster.publish(&config_of(&[images.clone(), files.clone(), objects.clone()]))?;
            std::thread::sleep(Duration::from_millis(150));
        }
        assert_eq!(in_force(&mount)?, (4 * round + 3, None));

        // One goes, the other does not notice.
        let others = Reader::start(image.try_clone()?, storage.bytes.clone());
        cluster.publish(&config_of(&[images.clone(), objects.clone()]))?;
        soon_gone(&mount.path("files"))?;
        soon_stale(&file)?;
        soon_in_force(&mount, 4 * round + 4)?;
        let (read, longest) = others.finish()?;
        ensure!(
            read > 0 && longest < Duration::from_secs(5),
            "{read} bytes, the longest read took {longest:?}"
        );
        cluster.publish(&config_of(std::slice::from_ref(&objects)))?;
        soon_gone(&mount.path("images"))?;
        soon_stale(&image)?;
        soon_in_force(&mount, 4 * round + 5)?;
        // While its file is still open here, the MDS has its session back.
        wait_for("no session is left", SOON, || (storage.sessions().ok()? == 0).then_some(()))
            .with_context(|| mount.log().text())?;
        drop((file, image));
    }
    let (read, longest) = reader.finish()?;
    eprintln!("the bucket's reader has read {} MiB, and has waited {longest:?} at most", read >> 20);
    // The cluster shares two processors with everything else here: what its daemons take, the reader has to wait for.
    ensure!(longest < Duration::from_secs(3), "it was held up for {longest:?}");
    assert!(mount.log().lines_with(&["plugin died"]).is_empty(), "{}", mount.log().text());
    Ok(())
}

#[test]
fn keys_that_are_exchanged_on_the_cluster_and_then_in_their_files_disturb_no_reader() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let _turn = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let storage = &Storage::new()?;
    let cluster = Cluster::new(&config_of(&[storage.files(), storage.images()]))?;
    let volume = Volume::new(&cluster.files.secrets_dir().join("ceph"))?;
    storage.publish_keys(&volume)?;
    let mount = launch(storage, &cluster)?;
    all_read(&mount, &["files/file", "images/image"], &storage.bytes)?;
    let readers = ["files/file", "images/image"]
        .map(|path| File::open(mount.path(path)).map(|file| Reader::start(file, storage.bytes.clone())));

    let secrets = [storage.exchange_key(FILES)?, storage.exchange_key(IMAGES)?];
    // Sessions go on with the tickets they have. A monitor that is new to them wants to see the key.
    storage.ceph.daemon("mon.a", "kill")?;
    storage.ceph.daemon("mon.a", "start")?;
    for user in [FILES, IMAGES] {
        mount
            .log()
            .wait_for(&[&format!("the cluster refuses user client.{user}")], RECOVERY)
            .context("the old key is refused")?;
    }
    storage.publish_keys(&volume)?;
    for user in [FILES, IMAGES] {
        mount.log().wait_for(&[&format!("the key of client.{user} was exchanged")], SEEN + SEEN)?;
    }
    // Whoever connects now needs tickets that only the new key gets.
    for osd in ["osd.0", "osd.1", "osd.2"] {
        storage.ceph.daemon(osd, "kill")?;
        storage.ceph.daemon(osd, "start")?;
    }
    for reader in readers {
        let (read, longest) = reader?.finish().with_context(|| mount.log().text())?;
        eprintln!("a reader has read {} MiB, and has waited {longest:?} at most", read >> 20);
        ensure!(longest < Duration::from_secs(110), "longer than a deadline: {longest:?}");
    }
    for path in ["files/file", "images/image"] {
        reads_back(mount.path(path), &storage.bytes, RECOVERY).with_context(|| mount.log().text())?;
    }
    let log = mount.log().text() + &String::from_utf8(read(mount.path(".wasmount/config"))??)?;
    for secret in secrets.iter().flatten() {
        ensure!(!log.contains(secret.as_str()), "a key is shown");
    }
    Ok(())
}
