//! A CephFS that loses servers, connections and its trust in the client while it is read: no wrong byte, and it comes back.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wasmount_tests::bounded::{names, wait_for, within};
use wasmount_tests::ceph::{CephFuse, Cluster, Errors, Report, Seen, Setup, Tagged, Verifier, Via, left_out};
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::prng::Prng;
use wasmount_tests::process::{Log, Process};

/// How long one fault may hold readers up beyond the time that it lasts.
const HELD_UP: Duration = Duration::from_secs(40);
/// How long a client that was thrown out may take to be back.
const AFTER_EVICTION: Duration = Duration::from_secs(60);
/// The size of the file whose data is read all the time: more than the mount may keep.
const SIZE: usize = 160 << 20;
/// Readers of data, and of files that the other client writes meanwhile. Together they are eight.
const DATA_READERS: usize = 4;
// Each look opens the file anew: what stays open has an open fault without any disturbance (cephfs_coherence.rs), which would be taken for one of these.
const WAYS: &[Via] = &[Via::Open; 4];

/// All that may be stopped.
const DAEMONS: &[&str] = &["mon.a", "osd.0", "osd.1", "osd.2", "mds.a", "mds.b"];

/// One cluster for all tests, which take turns.
struct Scene {
    cluster: Cluster,
    expected: PathBuf,
    /// Where the mounts run: a network of their own, one cable away.
    network: Option<Network>,
}

fn scene() -> Result<&'static Scene> {
    static SCENE: OnceLock<Result<Scene, String>> = OnceLock::new();
    let make = || -> Result<Scene> {
        let cluster = Cluster::of(&Setup { active_mds: 1, ..Setup::default() })?;
        Scene::fill(cluster, None)
    };
    SCENE
        .get_or_init(|| make().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

impl Scene {
    fn fill(cluster: Cluster, network: Option<Network>) -> Result<Self> {
        let expected = cluster.dir().join("load");
        std::fs::write(&expected, Prng::new(1).bytes(SIZE))?;
        let writer = cluster.ceph_fuse(&[])?;
        std::fs::copy(&expected, writer.path("load"))?;
        for directory in ["tagged", "fresh"] {
            std::fs::create_dir(writer.path(directory))?;
        }
        drop(writer);
        Ok(Self { cluster, expected, network })
    }

    /// Sees to what an earlier test may have left: daemons that are gone, and sessions of clients that died, for which an MDS that is started
    /// waits longer than a test does (`mds_reconnect_timeout`).
    fn begin_anew(&self) -> Result<()> {
        for daemon in DAEMONS {
            self.cluster.daemon(daemon, "start")?;
        }
        whole(&self.cluster)?;
        let clients = self.cluster.run("ceph", &["tell", "mds.0", "client", "ls"])?;
        let clients: Value = serde_json::from_str(&clients)?;
        for id in clients.as_array().into_iter().flatten().filter_map(|client| client.get("id")?.as_u64()) {
            self.cluster.run("ceph", &["tell", "mds.0", "client", "evict", &format!("id={id}")])?;
        }
        Ok(())
    }
}

/// A mount and everybody who reads from it.
struct Watched {
    tagged: Tagged,
    verifier: Verifier,
    mount: Mount,
    writer: CephFuse,
    _scratch: tempfile::TempDir,
}

impl Watched {
    fn start(scene: &Scene, errors: Errors) -> Result<Self> {
        Self::start_with(scene, errors, &[])
    }

    fn start_with(scene: &Scene, errors: Errors, options: &[(&str, &str)]) -> Result<Self> {
        scene.begin_anew()?;
        let scratch = tempfile::tempdir()?;
        let launch = scene.cluster.launch_files("/", scratch.path())?;
        // Next to nothing is kept, so that data has to come from the OSDs.
        let launch = launch
            .arg("--cache-size")
            .arg("1MiB")
            .arg("--memory")
            .arg("96MiB")
            .option("request-timeout", "60s");
        let launch = options.iter().fold(launch, |launch, (name, value)| launch.option(name, value));
        let launch = match &scene.network {
            Some(network) => network.launch(launch, &scene.cluster),
            None => launch,
        };
        let mount = launch.start()?;
        names(mount.target())?.with_context(|| format!("the log:\n{}", mount.log().text()))?;
        let verifier = Verifier::start(&mount.path("load"), &scene.expected, DATA_READERS)?;
        let writer = scene.cluster.ceph_fuse(&[])?;
        let tagged = Tagged::start(&writer.path("tagged"), &mount.path("tagged"), 4, WAYS, errors)?;
        let watched = Self { tagged, verifier, mount, writer, _scratch: scratch };
        watched.gets_on(HELD_UP)?;
        Ok(watched)
    }

    /// Data is read, files are opened, looked at and written again, and a directory that nobody has seen yet can be listed.
    fn gets_on(&self, bound: Duration) -> Result<()> {
        let log = || format!("the log:\n{}", self.mount.log().text());
        self.verifier.wait_progress(bound).with_context(log)?;
        self.tagged.wait_progress(bound).with_context(log)?;
        let (name, start) = (format!("fresh/{}", self.verifier.so_far().by_second.len()), Instant::now());
        let directory = self.writer.path(&name);
        within("make a directory", bound, move || std::fs::create_dir_all(directory))??;
        let path = self.mount.path(&name);
        wait_for("a new directory is seen", bound, || {
            let path = path.clone();
            within("list a new directory", bound, move || std::fs::read_dir(path).is_ok()).ok()?.then_some(())
        })
        .with_context(log)?;
        eprintln!("a new directory was seen after {:?}", start.elapsed());
        Ok(())
    }

    fn finish(self) -> Result<(Seen, Report)> {
        let log = self.mount.log().clone();
        let report = self.verifier.stop();
        let seen = self.tagged.stop().with_context(|| format!("the log:\n{}", log.text()))?;
        eprintln!(
            "{} looks, slowest {:?}; {} versions, slowest {:?}; slowest read {:?}",
            seen.looks, seen.slowest_look, seen.versions, seen.slowest_write, report.slowest
        );
        Ok((seen, report))
    }
}

/// Reads from before `disturb` until after it: every byte right, no error, and nobody held up longer than `lasts` and what
/// it takes to come back.
fn undisturbed(lasts: Duration, disturb: impl FnOnce(&Cluster, &Watched) -> Result<()>) -> Result<()> {
    let scene = scene()?;
    let _turn = scene.cluster.exclusively();
    undisturbed_at(scene, lasts, disturb)
}

fn undisturbed_at(
    scene: &Scene,
    lasts: Duration,
    disturb: impl FnOnce(&Cluster, &Watched) -> Result<()>,
) -> Result<()> {
    let watched = Watched::start(scene, Errors::Fail)?;
    disturb(&scene.cluster, &watched)?;
    whole(&scene.cluster)?;
    watched.gets_on(HELD_UP)?;
    let log = watched.mount.log().clone();
    let (seen, report) = watched.finish()?;
    report.check().with_context(|| format!("the log:\n{}", log.text()))?;
    let slowest = seen.slowest_look.max(report.slowest);
    ensure!(slowest < lasts + HELD_UP, "a read took {slowest:?}");
    scene.cluster.has_no_complaint()
}

/// Waits until every OSD is up, and an MDS is active and another stands by.
fn whole(cluster: &Cluster) -> Result<()> {
    wait_for("the cluster is whole", HELD_UP, || {
        let json = |words: &[&str]| -> Option<Value> {
            serde_json::from_str(&cluster.run("ceph", words).ok()?).ok()
        };
        let up = json(&["osd", "stat", "-f", "json"])?.get("num_up_osds")?.as_u64()?;
        let map = json(&["fs", "dump", "-f", "json"])?;
        let standbys = map.get("standbys")?.as_array()?.len();
        let infos = map.get("filesystems")?.get(0)?.get("mdsmap")?.get("info")?.as_object()?;
        let active =
            infos.values().filter(|info| info.get("state").and_then(Value::as_str) == Some("up:active"));
        (up == 3 && standbys == 1 && active.count() == 1).then_some(())
    })
}

/// The daemon that is active, `mds.a` or `mds.b`, and the number it has had since it was started (`gid`).
fn active(cluster: &Cluster) -> Result<(String, u64)> {
    let map: Value = serde_json::from_str(&cluster.run("ceph", &["fs", "dump", "-f", "json"])?)?;
    let infos = map.get("filesystems").and_then(|all| all.get(0)?.get("mdsmap")?.get("info")?.as_object());
    let infos = infos.context("a file system")?;
    let active = infos.values().find(|info| info.get("state").and_then(Value::as_str) == Some("up:active"));
    let named = active.and_then(|info| Some((info.get("name")?.as_str()?, info.get("gid")?.as_u64()?)));
    let (name, gid) = named.context("an active MDS")?;
    Ok((format!("mds.{name}"), gid))
}

#[test]
fn a_failover_to_the_mds_that_stands_by() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    undisturbed(Duration::ZERO, |cluster, watched| {
        for _ in 0..2 {
            let before = active(cluster)?;
            cluster.run("ceph", &["mds", "fail", "0"])?;
            watched.gets_on(HELD_UP)?;
            // Until it has learnt that it has failed, the old one may have answered that. It starts again by itself, and is at times
            // the one that is chosen.
            wait_for("another MDS is active", HELD_UP, || (active(cluster).ok()? != before).then_some(()))
                .with_context(|| format!("{before:?} has stayed what it was"))?;
            watched.gets_on(HELD_UP)?;
            whole(cluster)?;
        }
        Ok(())
    })
}

#[test]
fn an_mds_that_is_killed_and_started_again() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    undisturbed(Duration::from_secs(15), |cluster, watched| {
        // The one that stands by is away, so that the same one has to come back.
        let (active, _) = active(cluster)?;
        let other = if active == "mds.a" { "mds.b" } else { "mds.a" };
        cluster.daemon(other, "stop")?;
        cluster.daemon(&active, "kill")?;
        std::thread::sleep(Duration::from_secs(3));
        cluster.daemon(&active, "start")?;
        watched.gets_on(HELD_UP)?;
        cluster.daemon(other, "start")
    })
}

#[test]
fn an_mds_that_dies_and_is_replaced() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    undisturbed(Duration::from_secs(15), |cluster, watched| {
        let (active, _) = active(cluster)?;
        cluster.daemon(&active, "kill")?;
        // `mds_beacon_grace` is 10 s here.
        watched.gets_on(Duration::from_secs(15) + HELD_UP)?;
        cluster.daemon(&active, "start")
    })
}

#[test]
fn osds_and_the_monitor_that_are_restarted_one_after_another() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    undisturbed(Duration::ZERO, |cluster, watched| {
        for daemon in ["osd.0", "osd.1", "osd.2", "mon.a"] {
            cluster.daemon(daemon, "stop")?;
            cluster.daemon(daemon, "start")?;
            watched.gets_on(HELD_UP).with_context(|| daemon.to_owned())?;
            whole(cluster)?;
        }
        Ok(())
    })
}

#[test]
fn a_client_that_is_evicted_comes_back_as_a_new_one() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let scene = scene()?;
    let _turn = scene.cluster.exclusively();
    let watched = Watched::start(scene, Errors::Count)?;
    let clients = scene.cluster.run("ceph", &["tell", "mds.0", "client", "ls"])?;
    let clients: Value = serde_json::from_str(&clients)?;
    let of = |client: &Value| client.get("client_metadata")?.get("ceph_version").cloned();
    let id = clients.as_array().into_iter().flatten().find_map(|client| {
        // ceph-fuse says which Ceph it is of.
        if of(client).is_some() { None } else { client.get("id")?.as_u64() }
    });
    let id = id.with_context(|| format!("which of these is wasmount? {clients}"))?;
    scene.cluster.run("ceph", &["tell", "mds.0", "client", "evict", &format!("id={id}")])?;
    let evicted = Instant::now();
    watched.mount.log().wait_for(&["evicted"], HELD_UP)?;
    watched.gets_on(AFTER_EVICTION)?;
    eprintln!("back after {:?}", evicted.elapsed());
    let log = watched.mount.log().clone();
    let (seen, report) = watched.finish()?;
    // Nothing is promised to who only reads: what was under way is asked for again in the new client's name.
    report.check().with_context(|| format!("the log:\n{}", log.text()))?;
    honest(&report, &seen).with_context(|| format!("the log:\n{}", log.text()))
}

/// Fails if anything was wrong, or failed with an errno that does not mean a lost server or a file that is gone. Returns how much failed.
fn honest(report: &Report, seen: &Seen) -> Result<()> {
    for failure in report.failures.iter().chain(&seen.errors) {
        let honest = ["os error 5)", "os error 116)", "os error 108)", "SIGBUS"]
            .iter()
            .any(|code| failure.contains(code));
        ensure!(honest, "{failure}");
    }
    eprintln!("{} reads and {} looks failed", report.failures.len(), seen.errors.len());
    Ok(())
}

/// Files in `heavy`, and how much each weighs: together three times what a mount of [`Watched`] gives its plugins for their memories.
const HEAVY: (usize, usize) = (600, 60_000);

/// What all files in `heavy` have stored with them.
fn weight() -> Vec<u8> {
    Prng::new(2).bytes(HEAVY.1)
}

/// A directory whose entries a client is told with all their extended attributes. Made once.
fn heavy(scene: &Scene) -> Result<()> {
    let writer = scene.cluster.ceph_fuse(&[])?;
    if writer.path("heavy").exists() {
        return Ok(());
    }
    std::fs::create_dir(writer.path("heavy"))?;
    let value = weight();
    for number in 0..HEAVY.0 {
        let path = writer.path(format!("heavy/{number}"));
        std::fs::write(&path, "")?;
        rustix::fs::setxattr(&path, "user.weight", &value, rustix::fs::XattrFlags::empty())?;
    }
    Ok(())
}

/// Attributes of all that is in `heavy`.
fn weigh(directory: &Path) -> std::io::Result<usize> {
    Ok(std::fs::read_dir(directory)?
        .map(|entry| entry?.metadata())
        .collect::<std::io::Result<Vec<_>>>()?
        .len())
}

/// How often the plugin has wanted more memory than it may have.
fn deaths(log: &Log) -> usize {
    log.lines_with(&["\"level\":\"ERROR\"", "plugin died", "raise --memory"]).len()
}

#[test]
fn what_is_known_of_a_file_system_keeps_to_the_memory_there_is() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let scene = scene()?;
    let _turn = scene.cluster.exclusively();
    heavy(scene)?;
    let watched = Watched::start(scene, Errors::Fail)?;
    let (directory, value) = (watched.mount.path("heavy"), weight());
    for _ in 0..2 {
        let (directory, value, begin) = (directory.clone(), value.clone(), Instant::now());
        let all = within("look at all that is heavy", 2 * HELD_UP, move || -> Result<usize> {
            let listed = weigh(&directory)?;
            // What was let go of is there when somebody wants it.
            for number in (0..listed).step_by(7) {
                let mut found = vec![0; HEAVY.1 + 1];
                let path = directory.join(number.to_string());
                let length = rustix::fs::getxattr(&path, "user.weight", &mut found)?;
                ensure!(found.get(..length) == Some(&value[..]), "another weight of {number}");
            }
            Ok(listed)
        })
        .with_context(|| format!("the log:\n{}", watched.mount.log().text()))??;
        ensure!(all == HEAVY.0, "{all} entries are listed");
        eprintln!("looked at all of it within {:?}", begin.elapsed());
        watched.gets_on(HELD_UP)?;
    }
    let log = watched.mount.log().clone();
    ensure!(log.lines_with(&["plugin died"]).is_empty(), "the log:\n{}", log.text());
    let (_, report) = watched.finish()?;
    report.check().with_context(|| format!("the log:\n{}", log.text()))?;
    scene.cluster.has_no_complaint()
}

#[test]
fn a_plugin_that_wants_more_memory_than_it_gets_and_dies() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let scene = scene()?;
    let _turn = scene.cluster.exclusively();
    heavy(scene)?;
    // An MDS does not learn that a client has died: what that had may not be changed by others until its session is stale.
    let stale = Duration::from_secs(30);
    scene.cluster.run("ceph", &["fs", "set", "cephfs", "session_timeout", "30"])?;
    // Somebody has it know more than there is room for.
    let watched = Watched::start_with(scene, Errors::Count, &[("cache-inodes", "1048576")])?;
    let log = watched.mount.log().clone();
    for _ in 0..2 {
        let (directory, before, begin) = (watched.mount.path("heavy"), deaths(&log), Instant::now());
        let listed = within("list what is too much", HELD_UP, move || weigh(&directory))?;
        // The instance that comes next is asked for the rest, and has room for that, or not.
        match listed {
            Ok(all) => ensure!(all == HEAVY.0, "{all} entries are listed"),
            Err(error) => ensure!(error.raw_os_error() == Some(5), "{error}; the log:\n{}", log.text()),
        }
        wait_for("a death is told", HELD_UP, || (deaths(&log) > before).then_some(()))
            .with_context(|| format!("it was not too much; the log:\n{}", log.text()))?;
        eprintln!("it died {} times within {:?}", deaths(&log) - before, begin.elapsed());
        // What nobody changes is read on by the next instance at once.
        watched.verifier.wait_progress(AFTER_EVICTION)?;
        watched.gets_on(stale + HELD_UP)?;
    }
    scene.cluster.run("ceph", &["fs", "set", "cephfs", "session_timeout", "60"])?;
    let (seen, report) = watched.finish()?;
    honest(&report, &seen).with_context(|| format!("the log:\n{}", log.text()))
}

/// A network with one cable to this one: a mount in there reaches the cluster over it, and it can be pulled.
struct Network {
    holder: Process,
    ours: String,
}

impl Network {
    /// Addresses of RFC 2544's range, which nobody routes.
    fn new() -> Result<Self> {
        let number = std::process::id() % 16_000;
        let (high, low) = (number / 64, number % 64 * 4);
        let (ours, theirs) = (format!("198.18.{high}.{}", low + 1), format!("198.18.{high}.{}", low + 2));
        let holder = Process::start("unshare".as_ref(), |command| {
            command.args(["--net", "sleep", "infinity"]);
        })?;
        let network = Self { holder, ours };
        let (name, id) = (format!("wm{number}"), network.holder.id().to_string());
        let ip = |words: &[&str]| run("ip", words);
        // Until `unshare` has done its work, its network is this one, and both ends of the cable would be here.
        let network_of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        wait_for("a network", HELD_UP, || (network_of(&id)? != network_of("self")?).then_some(()))?;
        ip(&["link", "add", &name, "type", "veth", "peer", "name", "cable", "netns", &id])?;
        ip(&["addr", "add", &format!("{}/30", network.ours), "dev", &name])?;
        ip(&["link", "set", &name, "up"])?;
        network.inside(&["addr", "add", &format!("{theirs}/30"), "dev", "cable"])?;
        network.cable("up")?;
        Ok(network)
    }

    fn inside(&self, words: &[&str]) -> Result<()> {
        let namespace = format!("--net=/proc/{}/ns/net", self.holder.id());
        run("nsenter", &[&[namespace.as_str(), "ip"], words].concat())
    }

    fn cable(&self, state: &str) -> Result<()> {
        self.inside(&["link", "set", "cable", state])
    }

    fn launch(&self, launch: Launch, _: &Cluster) -> Launch {
        let namespace = format!("--net=/proc/{}/ns/net", self.holder.id());
        launch.replace_arg("--allow-net", &self.ours).under("nsenter", &[&namespace])
    }
}

fn run(program: &str, words: &[&str]) -> Result<()> {
    let output = Command::new(program).args(words).output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn a_network_that_is_gone_for_thirty_seconds() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let network = Network::new()?;
    let setup = Setup { active_mds: 1, address: network.ours.clone(), ..Setup::default() };
    let scene = Scene::fill(Cluster::of(&setup)?, Some(network))?;
    let away = Duration::from_secs(30);
    undisturbed_at(&scene, away, |_, watched| {
        let network = scene.network.as_ref().context("a network")?;
        network.cable("down")?;
        std::thread::sleep(away);
        network.cable("up")?;
        let back = Instant::now();
        watched.gets_on(HELD_UP)?;
        eprintln!("back after {:?}", back.elapsed());
        Ok(())
    })
}
