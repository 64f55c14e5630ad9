//! A Ceph cluster that loses daemons and connections while images are read: no wrong byte, no error, and the speed comes back.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wasmount_tests::bounded::wait_for;
use wasmount_tests::ceph::fio::{self, Fio};
use wasmount_tests::ceph::{Cluster, Modes, Verifier, left_out};
use wasmount_tests::mount::Mount;
use wasmount_tests::prng::Prng;

/// How long readers may be held up by one fault: an OSD that is away for 20 s, and what it takes to come back.
const HELD_UP: Duration = Duration::from_secs(50);
/// Undisturbed seconds, before and after.
const QUIET: usize = 4;
/// The size of the image: too large to be taken whole by one read-ahead, and small enough to be imported at once.
const SIZE: usize = 48 << 20;

/// The size of the image that fio reads and verifies.
const CHECKED: usize = 24 << 20;

/// One cluster for all tests, which take turns. Pool `two` keeps each object twice, pool `one` once. Each has an image `load`, whose bytes
/// are known here, and an image `checked`, whose blocks fio knows.
struct Scene {
    cluster: Cluster,
    expected: PathBuf,
}

fn scene() -> Result<&'static Scene> {
    static SCENE: OnceLock<Result<Scene, String>> = OnceLock::new();
    let make = || -> Result<Scene> {
        let cluster = Cluster::start(Modes::Default)?;
        let expected = cluster.dir().join("load");
        std::fs::write(&expected, Prng::new(1).bytes(SIZE))?;
        for pool in ["one", "two"] {
            cluster.run("ceph", &["osd", "pool", "create", pool, "8"])?;
            cluster.run("ceph", &["osd", "pool", "application", "enable", pool, "rbd"])?;
        }
        cluster.run("ceph", &["osd", "pool", "set", "one", "size", "1", "--yes-i-really-mean-it"])?;
        let checked = cluster.dir().join("checked");
        fio::write(&checked, CHECKED)?;
        for pool in ["one", "two"] {
            for (file, name) in [(&expected, "load"), (&checked, "checked")] {
                let (file, image) = (file.to_string_lossy(), format!("{pool}/{name}"));
                cluster.run("rbd", &["import", "--no-progress", &file, &image])?;
            }
        }
        Ok(Scene { cluster, expected })
    };
    SCENE
        .get_or_init(|| make().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

/// A mount of a pool, and readers of its images.
struct Watched {
    fio: Fio,
    verifier: Verifier,
    mount: Mount,
    _scratch: tempfile::TempDir,
}

impl Watched {
    fn start(scene: &Scene, pool: &str) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let mount = scene.cluster.launch(pool, scratch.path())?.option("request-timeout", "120s").start()?;
        let verifier = Verifier::start(&mount.path("load"), &scene.expected, 4)?;
        verifier.wait_progress(HELD_UP)?;
        let fio = Fio::start(&mount.path("checked"), scratch.path());
        fio.wait_progress(HELD_UP).with_context(|| format!("the log:\n{}", mount.log().text()))?;
        Ok(Self { fio, verifier, mount, _scratch: scratch })
    }
}

/// Reads the image of each pool from before `disturb` until after it, and checks what the readers saw: nobody was held up longer than `lasts`
/// and what it takes to come back.
fn undisturbed(
    pools: &[&str],
    lasts: Duration,
    disturb: impl FnOnce(&Cluster, &[Watched]) -> Result<()>,
) -> Result<()> {
    let scene = scene()?;
    let _turn = scene.cluster.exclusively();
    let watched: Vec<_> = pools.iter().map(|pool| Watched::start(scene, pool)).collect::<Result<_>>()?;
    std::thread::sleep(Duration::from_secs(QUIET as u64 + 1));
    let some = |verifier: &Verifier| Some(speed(verifier)).filter(|speed| *speed > 0);
    let before = watched.iter().map(|each| wait_for("a speed", HELD_UP, || some(&each.verifier)));
    let before = before.collect::<Result<Vec<_>>>()?;
    disturb(&scene.cluster, &watched)?;
    whole(&scene.cluster)?;
    for each in &watched {
        each.verifier.wait_progress(HELD_UP)?;
        each.fio.wait_progress(HELD_UP).with_context(|| format!("the log:\n{}", each.mount.log().text()))?;
    }
    for ((each, pool), before) in watched.iter().zip(pools).zip(before) {
        speed_is_back(pool, &each.verifier, before)?;
    }
    for (each, pool) in watched.into_iter().zip(pools) {
        let passes =
            each.fio.stop().with_context(|| format!("pool {pool}; the log:\n{}", each.mount.log().text()))?;
        eprintln!("pool {pool}: fio has read and verified the image {passes} times");
        let report = each.verifier.stop();
        report.check().with_context(|| format!("pool {pool}; the log:\n{}", each.mount.log().text()))?;
        ensure!(report.slowest < lasts + HELD_UP, "a read took {:?}", report.slowest);
    }
    Ok(())
}

/// Bytes a second, in the last few seconds.
fn speed(verifier: &Verifier) -> u64 {
    let now = verifier.second();
    verifier.so_far().median(now.saturating_sub(QUIET)..now)
}

/// Waits for half of what it was: that tells a recovered reader from one that retries, also on a machine that does other things at times.
fn speed_is_back(pool: &str, verifier: &Verifier, before: u64) -> Result<()> {
    let calm = verifier.second() + QUIET;
    let back = || Some(speed(verifier)).filter(|speed| verifier.second() > calm && speed * 2 >= before);
    let after = wait_for("the speed is back", HELD_UP, back)
        .with_context(|| format!("pool {pool}, {before} bytes a second before: {:?}", verifier.so_far()))?;
    let (mib, slowest) = (1 << 20, verifier.so_far().slowest);
    eprintln!("pool {pool}: {} MiB/s before, {} after, slowest read {slowest:?}", before / mib, after / mib);
    Ok(())
}

/// The readers of the only pool.
fn readers(watched: &[Watched]) -> Result<&Verifier> {
    Ok(&watched.first().context("a pool")?.verifier)
}

/// Waits until every OSD is up again.
fn whole(cluster: &Cluster) -> Result<()> {
    wait_for("the cluster is whole", HELD_UP, || {
        let status = cluster.run("ceph", &["osd", "stat", "-f", "json"]).ok()?;
        let status: serde_json::Value = serde_json::from_str(&status).ok()?;
        (status.get("num_up_osds")?.as_u64()? == 3).then_some(())
    })
}

#[test]
fn osds_that_are_restarted_one_after_another() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    undisturbed(&["two"], Duration::ZERO, |cluster, watched| {
        let verifier = readers(watched)?;
        for osd in ["osd.0", "osd.1", "osd.2"] {
            cluster.daemon(osd, "stop")?;
            cluster.daemon(osd, "start")?;
            whole(cluster)?;
            verifier.wait_progress(HELD_UP)?;
            // Whoever reads all of an image has met all who lead a part of it: the next may go.
            watched.first().context("a pool")?.fio.wait_progress(HELD_UP)?;
        }
        Ok(())
    })
}

#[test]
fn a_monitor_that_is_restarted() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    undisturbed(&["two"], Duration::ZERO, |cluster, watched| {
        let verifier = readers(watched)?;
        cluster.daemon("mon.a", "stop")?;
        // What is open goes on without a monitor.
        verifier.wait_progress(HELD_UP)?;
        cluster.daemon("mon.a", "start")?;
        verifier.wait_progress(HELD_UP)
    })
}

#[test]
fn an_osd_that_is_dead_for_twenty_seconds() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    undisturbed(&["one", "two"], Duration::from_secs(30), |cluster, watched| {
        let dead = Instant::now();
        cluster.daemon("osd.1", "kill")?;
        // What nobody else has must wait. What another OSD has goes on: the others notice the refused connections and the map
        // changes long before the dead one is back.
        let second = &watched.get(1).context("the second pool")?.verifier;
        second.wait_progress(HELD_UP).context("pool two is failed over")?;
        std::thread::sleep(Duration::from_secs(20).saturating_sub(dead.elapsed()));
        second.wait_progress(HELD_UP).context("pool two, while the OSD is away")?;
        cluster.daemon("osd.1", "start")
    })
}

/// Local addresses of the TCP connections of a process.
fn connections(pid: u32) -> Result<Vec<String>> {
    let output = Command::new("ss")
        .args(["-H", "-t", "-n", "-p", "state", "established"])
        .output()
        .context("run ss")?;
    ensure!(output.status.success(), "ss: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let own = text.lines().filter(|line| line.contains(&format!("pid={pid},")));
    // Columns: queues, our end, the other end, processes.
    Ok(own.filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect())
}

#[test]
fn connections_that_the_network_cuts() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    undisturbed(&["two"], Duration::ZERO, |_, watched| {
        let (verifier, pid) = (readers(watched)?, watched.first().context("a mount")?.mount.process.id());
        let mut cut = BTreeSet::new();
        for round in 0..40 {
            // To the monitor and to each OSD, wherever in a frame the stream is at that moment.
            for local in connections(pid)? {
                let output = Command::new("ss").args(["-K", "-H", "-t", "-n", "src", &local]).output()?;
                ensure!(output.status.success(), "ss -K: {}", String::from_utf8_lossy(&output.stderr));
                cut.insert(local);
            }
            std::thread::sleep(Duration::from_millis(100));
            if round % 10 == 9 {
                verifier.wait_progress(HELD_UP)?;
            }
        }
        // Some kernels have no such function, and `ss -K` says nothing then: each round must have met new connections.
        ensure!(
            cut.len() > 20,
            "only {} connections were cut; has this kernel INET_DIAG_DESTROY?",
            cut.len()
        );
        Ok(())
    })
}

#[test]
fn connections_that_the_osds_drop_in_the_middle_of_a_frame() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    undisturbed(&["two"], Duration::ZERO, |cluster, watched| {
        let verifier = readers(watched)?;
        // Ceph's own fault injection: one in so many reads and writes of a socket ends the connection instead. It is told to the
        // monitor, whose connections are left alone: the OSDs' own would be hit while they are being told to stop.
        cluster.run("ceph", &["config", "set", "osd", "ms_inject_socket_failures", "200"])?;
        for _ in 0..3 {
            std::thread::sleep(Duration::from_secs(2));
            verifier.wait_progress(HELD_UP)?;
        }
        cluster.run("ceph", &["config", "rm", "osd", "ms_inject_socket_failures"])?;
        let injected = |osd: usize| -> Result<usize> {
            let log = cluster.dir().join(format!("log/osd.{osd}.log"));
            Ok(std::fs::read_to_string(log)?.matches("injecting socket failure").count())
        };
        let cuts = injected(0)? + injected(1)? + injected(2)?;
        eprintln!("{cuts} connections were cut");
        ensure!(cuts > 0, "nothing was injected");
        Ok(())
    })
}

#[test]
fn maps_that_move_every_placement_group() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    undisturbed(&["two"], Duration::ZERO, |cluster, watched| {
        let verifier = readers(watched)?;
        for change in [
            "osd reweight 0 0.3",
            "osd primary-affinity 1 0",
            "osd pool create passing 8",
            "osd pool set two pg_num 16",
            "osd pool set two pgp_num 16",
            "osd out 1",
            "osd crush reweight osd.2 0.001",
            "osd in 1",
            "osd crush reweight osd.2 0.0078",
            "osd primary-affinity 1 1",
            "osd reweight 0 1",
            "osd pool delete passing passing --yes-i-really-really-mean-it",
        ] {
            cluster.run("ceph", &change.split(' ').collect::<Vec<_>>())?;
            verifier.wait_progress(HELD_UP).with_context(|| format!("after ceph {change}"))?;
        }
        Ok(())
    })
}
