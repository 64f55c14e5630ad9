//! RBD images as files, on a real Ceph cluster: every kind of image is byte for byte what Ceph says it is.

mod removed;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::SeekFrom;
use wasmount_tests::bounded::{RECOVERY, SOON, names, within};
use wasmount_tests::ceph::{Cluster, Image, Modes, first_difference, left_out};
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::prng::Prng;

/// How long one image may take to be read, on a machine that is busy.
const ONE_IMAGE: Duration = Duration::from_secs(120);

/// A mount and the directory for its state.
struct Mounted {
    mount: Mount,
    _scratch: tempfile::TempDir,
}

/// Mounts `what`, a pool with or without a namespace and image, with further options, and waits for its names.
fn mounted(cluster: &Cluster, what: &str, prepare: impl FnOnce(Launch) -> Launch) -> Result<Mounted> {
    let scratch = tempfile::tempdir()?;
    let mount = prepare(cluster.launch(what, scratch.path())?).start()?;
    names(mount.target())?.with_context(|| format!("list {what}; the log:\n{}", mount.log().text()))?;
    Ok(Mounted { mount, _scratch: scratch })
}

/// A pool of the test's own.
fn make_pool(cluster: &Cluster, name: &str) -> Result<()> {
    cluster.run("ceph", &["osd", "pool", "create", name, "8"])?;
    cluster.run("ceph", &["osd", "pool", "application", "enable", name, "rbd"]).map(drop)
}

/// The images by the directory that shows them.
fn by_directory(images: Vec<Image>) -> BTreeMap<String, Vec<Image>> {
    let mut found: BTreeMap<String, Vec<Image>> = BTreeMap::new();
    for image in images {
        found.entry(image.directory()).or_default().push(image);
    }
    found
}

fn same(cluster: &Cluster, image: &Image, path: &Path) -> Result<()> {
    let exported = cluster.export_image(&image.spec())?;
    image.check(&exported).context("what rbd export says")?;
    let path = path.to_owned();
    let difference = within(&format!("read {}", image.spec()), ONE_IMAGE, move || -> Result<_> {
        ensure!(std::fs::metadata(&path)?.len() == std::fs::metadata(&exported)?.len(), "another size");
        first_difference(&path, &exported)
    })?;
    match difference.with_context(|| image.spec())? {
        None => Ok(()),
        Some(at) => anyhow::bail!("{} differs at {at}", image.spec()),
    }
}

/// Every image and snapshot of every pool, compared to its end.
fn all_are_the_same(cluster: &Cluster, mode: Option<&str>) -> Result<()> {
    for (directory, images) in by_directory(cluster.images()?) {
        let at = mounted(cluster, &directory, |launch| match mode {
            Some(mode) => launch.option("ms_mode", mode),
            None => launch,
        })?;
        for image in &images {
            same(cluster, image, &at.mount.path(&image.file_name()))
                .with_context(|| format!("the log:\n{}", at.mount.log().text()))?;
        }
    }
    Ok(())
}

#[test]
fn every_image_and_snapshot_is_what_rbd_export_says() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    all_are_the_same(Cluster::shared()?, None)
}

#[test]
fn a_cluster_that_only_speaks_encrypted_shows_the_same() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    all_are_the_same(&Cluster::with_images(Modes::Secure)?, None)
}

#[test]
fn every_mode_of_the_protocol_reads_the_same() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared()?;
    let images: Vec<_> = cluster
        .images()?
        .into_iter()
        .filter(|image| ["rbd/plain", "rbd/coded-pool", "rbd/odd-size"].contains(&image.spec().as_str()))
        .collect();
    ensure!(images.len() == 3);
    for mode in ["crc", "secure", "prefer-crc", "prefer-secure"] {
        let at = mounted(cluster, "rbd", |launch| launch.option("ms_mode", mode))?;
        for image in &images {
            same(cluster, image, &at.mount.path(&image.name)).with_context(|| format!("ms_mode={mode}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_pool_lists_its_images_and_their_snapshots_and_nothing_else() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared()?;
    for (directory, images) in by_directory(cluster.images()?) {
        let mut expected: BTreeSet<String> = images.iter().map(Image::file_name).collect();
        if directory == "rbd" {
            // It can be seen, and says why it cannot be opened.
            expected.insert("unknown-feature".to_owned());
        }
        let at = mounted(cluster, &directory, |launch| launch)?;
        let found: BTreeSet<String> = names(at.mount.target())??.into_iter().collect();
        assert_eq!(found, expected, "in {directory}");
        for image in &images {
            let path = at.mount.path(&image.file_name());
            let metadata = within("stat", SOON, move || std::fs::metadata(path))??;
            ensure!(metadata.is_file() && metadata.len() == image.size, "{}: {metadata:?}", image.spec());
        }
    }
    Ok(())
}

#[test]
fn a_mount_point_may_name_one_image_or_one_snapshot() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared()?;
    for (what, expected) in [
        ("rbd/base", &["base", "base@gold"][..]),
        ("rbd/base@gold", &["base@gold"]),
        ("rbd/team/plain", &["plain"]),
        ("other/clone", &["clone"]),
    ] {
        let at = mounted(cluster, what, |launch| launch)?;
        assert_eq!(names(at.mount.target())??, expected, "{what}");
        for image in cluster.images()? {
            let (directory, _) = what.rsplit_once('/').context("a pool")?;
            if image.directory().trim_end_matches('/') == directory
                && expected.contains(&image.file_name().as_str())
            {
                same(cluster, &image, &at.mount.path(&image.file_name()))?;
            }
        }
    }
    Ok(())
}

/// The ranges in which SEEK_DATA and SEEK_HOLE see data.
fn data_ranges(path: &Path) -> Result<Vec<std::ops::Range<u64>>> {
    let file = File::open(path)?;
    let (size, mut at, mut found) = (file.metadata()?.len(), 0, Vec::new());
    while at < size {
        let start = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error).context("SEEK_DATA"),
        };
        ensure!(start >= at, "SEEK_DATA went back from {at} to {start}");
        at = rustix::fs::seek(&file, SeekFrom::Hole(start)).context("SEEK_HOLE")?;
        ensure!(at > start && at <= size, "SEEK_HOLE at {start} of {size} said {at}");
        found.push(start..at);
    }
    Ok(found)
}

#[test]
fn holes_are_holes_and_what_is_no_hole_was_written() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared()?;
    for (directory, images) in by_directory(cluster.images()?) {
        let at = mounted(cluster, &directory, |launch| launch)?;
        for image in images {
            let path = at.mount.path(&image.file_name());
            let data = within("seek for holes", SOON, move || data_ranges(&path))??;
            let shown: u64 = data.iter().map(|range| range.end - range.start).sum();
            let bytes = std::fs::read(cluster.export_image(&image.spec())?)?;
            // A byte that is not zero must never be said to be in a hole: `cp --sparse` would lose it.
            let mut hole = 0;
            for range in data.iter().chain(std::iter::once(&(image.size..image.size))) {
                let (from, to) = (usize::try_from(hole)?, usize::try_from(range.start)?);
                let lost = bytes
                    .get(from..to)
                    .context("a hole within the image")?
                    .iter()
                    .position(|byte| *byte != 0);
                ensure!(lost.is_none(), "{}: a hole at {from} has bytes at {lost:?}", image.spec());
                hole = range.end;
            }
            if image.name.starts_with("sparse") {
                // Three writes in three objects, of 4 MiB as by default.
                ensure!(shown <= 3 * (4 << 20), "{}: {shown} bytes of data", image.spec());
                ensure!(data.len() == 3, "{}: {data:?}", image.spec());
            }
        }
    }
    Ok(())
}

#[test]
fn reads_at_any_place_by_many_at_once_get_their_bytes() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let seed = Prng::seed_from_env(5);
    eprintln!("WASMOUNT_SEED={seed}");
    let cluster = Cluster::shared()?;
    let at = mounted(cluster, "rbd", |launch| launch)?;
    for name in ["striped", "striped-by-three", "coded-pool", "clone", "all-features", "snapped@longer"] {
        let expected = std::sync::Arc::new(std::fs::read(cluster.export_image(&format!("rbd/{name}"))?)?);
        let readers: Vec<_> = (0..4)
            .map(|reader| {
                let (path, expected, mut prng) =
                    (at.mount.path(name), expected.clone(), Prng::new(seed + reader));
                std::thread::spawn(move || -> Result<()> {
                    let file = File::open(&path)?;
                    let mut buffer = vec![0; 300_000];
                    for _ in 0..60 {
                        let offset = prng.below(expected.len());
                        let length = (1 + prng.below(buffer.len())).min(expected.len() - offset);
                        let (chunk, right) = (&mut buffer[..length], &expected[offset..offset + length]);
                        file.read_exact_at(chunk, offset as u64)?;
                        ensure!(chunk == right, "{length} at {offset} of {} differ", path.display());
                    }
                    // Beyond the end there is nothing, whatever was asked.
                    ensure!(file.read_at(&mut buffer, expected.len() as u64)? == 0);
                    Ok(())
                })
            })
            .collect();
        for reader in readers {
            within(name, ONE_IMAGE, move || reader.join())?
                .map_err(|_| anyhow::anyhow!("{name}: a reader panicked"))??;
        }
    }
    Ok(())
}

/// What is received for one read lies in memory until all of it is there. Reads of several objects each, begun without room for
/// all of them, once held what the others needed until they timed out, 25 s later.
#[test]
fn many_streams_with_little_memory_do_not_wait_for_each_other() -> Result<()> {
    const STREAMS: usize = 12;
    const EACH: usize = 8 << 20;
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared()?;
    make_pool(cluster, "streams")?;
    let source = cluster.dir().join("streams");
    let words = (0..STREAMS * EACH / 8)
        .flat_map(|word| (word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    let expected: std::sync::Arc<[u8]> = words.collect();
    std::fs::write(&source, &expected)?;
    cluster.run("rbd", &["import", "--no-progress", &source.to_string_lossy(), "streams/wide"])?;
    let at = mounted(cluster, "streams", |launch| launch.arg("--memory").arg("48MiB"))?;
    let readers: Vec<_> = (0..STREAMS)
        .map(|stream| {
            let (path, expected) = (at.mount.path("wide"), expected.clone());
            std::thread::spawn(move || -> Result<Duration> {
                let (file, mut buffer, mut longest) = (File::open(path)?, vec![0; 1 << 20], Duration::ZERO);
                for offset in (stream * EACH..(stream + 1) * EACH).step_by(buffer.len()) {
                    let begin = Instant::now();
                    file.read_exact_at(&mut buffer, offset as u64)?;
                    longest = longest.max(begin.elapsed());
                    ensure!(buffer == expected[offset..offset + buffer.len()], "1 MiB at {offset} differs");
                }
                Ok(longest)
            })
        })
        .collect();
    let longest = within("read all streams", RECOVERY, move || -> Result<Duration> {
        let mut longest = Duration::ZERO;
        for reader in readers {
            longest = longest.max(reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??);
        }
        Ok(longest)
    })??;
    ensure!(longest < Duration::from_secs(20), "1 MiB took {longest:?}: they wait for each other");
    Ok(())
}

fn output(program: &str, arguments: &[&str]) -> Result<(bool, String)> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[test]
fn an_ext4_image_is_clean_and_its_tree_can_be_read() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let at = mounted(Cluster::shared()?, "rbd", |launch| launch)?;
    let image = at.mount.path("ext4").to_string_lossy().into_owned();
    let (clean, said) = within("fsck", ONE_IMAGE, {
        let image = image.clone();
        move || output("fsck.ext4", &["-f", "-n", &image])
    })??;
    ensure!(clean, "fsck.ext4 -fn: {said}");
    let (_, hello) = output("debugfs", &["-R", "cat /hello", &image])?;
    assert_eq!(hello, "hello from inside\n");
    // The whole tree: as many files as were put there, with what `seq` has written.
    let copy = tempfile::tempdir()?;
    output("debugfs", &["-R", &format!("rdump / {}", copy.path().display()), &image])?;
    for directory in 1..=20 {
        for file in 1..=20 {
            let path = copy.path().join(format!("directory-{directory}/file-{file}"));
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let numbers: Vec<_> =
                (directory..=directory * file * 7).map(|number| format!("{number}\n")).collect();
            ensure!(text == numbers.concat(), "{}", path.display());
        }
    }
    Ok(())
}

#[test]
fn an_image_with_an_unknown_feature_is_refused_by_name() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let at = mounted(Cluster::shared()?, "rbd", |launch| launch)?;
    let path = at.mount.path("unknown-feature");
    let refused = within("open", SOON, move || std::fs::read(path))?.err().context("it was read")?;
    ensure!(refused.kind() != std::io::ErrorKind::NotFound, "{refused}");
    // Bit 40, and nobody knows a name for it.
    at.mount.log().wait_for(&["unknown-feature", "40"], SOON)?;
    Ok(())
}

#[test]
fn a_new_open_sees_what_was_written_to_the_head_and_a_snapshot_stays() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared()?;
    make_pool(cluster, "mine")?;
    let source = cluster.dir().join("changing");
    std::fs::write(&source, vec![b'a'; 6 << 20])?;
    let import = ["import", "--no-progress", &source.to_string_lossy(), "mine/changing"];
    cluster.run("rbd", &import)?;
    cluster.run("rbd", &["snap", "create", "--no-progress", "mine/changing@before"])?;
    let scratch = tempfile::tempdir()?;
    let mount = cluster.launch("mine/changing", scratch.path())?.start()?;
    let read = |name: &str| wasmount_tests::bounded::read(mount.path(name));
    let (before, head) = (read("changing@before")??, read("changing")??);
    ensure!(before == head && before.iter().all(|byte| *byte == b'a'), "the image is not what was imported");

    let bench = [
        "bench",
        "--io-type",
        "write",
        "--io-size",
        "4K",
        "--io-threads",
        "1",
        "--io-total",
        "1M",
        "--io-pattern",
        "seq",
    ];
    cluster.run("rbd", &[&bench[..], &["mine/changing"]].concat())?;
    cluster.run("rbd", &["resize", "--no-progress", "--size", "9", "mine/changing"])?;
    let exported = std::fs::read(cluster.export_image("mine/changing")?)?;
    ensure!(exported.len() == 9 << 20 && exported[..4096] != before[..4096], "nothing was changed");
    wasmount_tests::bounded::reads_back(mount.path("changing"), &exported, SOON)?;
    ensure!(read("changing@before")?? == before, "a snapshot has changed");
    Ok(())
}

#[test]
fn a_cluster_can_be_named_in_every_way_that_people_do() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared()?;
    let plain =
        cluster.images()?.into_iter().find(|image| image.spec() == "rbd/plain").context("rbd/plain")?;
    let key = cluster.user(
        "reader",
        &["mon", "profile rbd", "osd", "profile rbd-read-only pool=rbd, profile rbd-read-only pool=data"],
    )?;
    let keyring = std::fs::read_to_string(cluster.keyring())?;
    let (mon, mon_host) = (cluster.mon(), cluster.mon_host());
    let csi = format!(r#"[{{"clusterID":"{}","monitors":["{mon}"]}}]"#, cluster.fsid());
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("a user who may only read", &[("monitors", mon), ("user", "reader"), ("key", &key)]),
        ("mon_host of ceph.conf", &[("mon_host", mon_host), ("id", "reader"), ("key", &key)]),
        (
            "with its fsid",
            &[("mon_host", mon_host), ("fsid", cluster.fsid()), ("id", "reader"), ("key", &key)],
        ),
        ("a keyring's text", &[("monitors", mon), ("user", "admin"), ("keyring", &keyring)]),
        (
            "ceph-csi's list",
            &[("csi-config", &csi), ("clusterID", cluster.fsid()), ("user", "reader"), ("key", &key)],
        ),
    ];
    for (case, options) in cases {
        let scratch = tempfile::tempdir()?;
        let mut launch =
            Launch::mount_with("rbd", "rbd:///rbd", &scratch.path().join("mnt"), scratch.path())?;
        for (name, value) in *options {
            launch = launch.long_option(name, value);
        }
        let mount = launch.start()?;
        same(cluster, &plain, &mount.path("plain"))
            .with_context(|| format!("{case}; the log:\n{}", mount.log().text()))?;
    }
    Ok(())
}
