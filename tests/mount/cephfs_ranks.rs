//! CephFS with two active metadata servers: a tree that is spread over them is one tree, whatever moves from one to the other, and whoever dies.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wasmount_tests::bounded::{names, wait_for, within};
use wasmount_tests::ceph::{CephFuse, Cluster, Setup, Tree, left_out};
use wasmount_tests::listing::{Listing, Look, ensure_same, listing};
use wasmount_tests::mount::Mount;

/// How long it may take until an MDS that died is replaced: `mds_beacon_grace` is 10 s here.
const TAKEN_OVER: Duration = Duration::from_secs(50);

/// What is pinned to ranks, and read meanwhile. Names in one do not tell where those in another are.
const MOVING: &[&str] = &["data", "kinds", "many", "many/d03"];
/// What the readers look at, all of it and again and again.
const READ: &[&str] = &["data", "kinds", "many"];
/// A directory in many fragments, each of which moves by itself.
const FRAGMENTED: &str = "fragmented";
/// Its entries, and how many of them a fragment may have.
const ENTRIES: (usize, usize) = (4000, 400);
/// How often everything is moved.
const ROUNDS: usize = 6;
/// How long one look at one of these directories may take while it moves. A request may take 25 s and must be answered long before.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to look at all files in the largest of them, on a machine that is busy.
const ALL_OF_IT: Duration = Duration::from_secs(240);
/// How long a rank may take to hand over all it has, or to begin.
const HANDED_OVER: Duration = Duration::from_secs(180);

/// A step of handing a directory over: an option of the MDS that dies there, and its value (`Migrator.cc`).
struct Step(&'static str, &'static str);
/// It has what it gets and is about to write that down.
const IMPORTING: Step = Step("mds_kill_import_at", "6");
/// It has sent what it gives and waits to hear that it has arrived.
const EXPORTING: Step = Step("mds_kill_export_at", "8");

const LOOK: Look<'_> = Look {
    hidden_xattrs: &["ceph.file.layout", "ceph.dir.entries"],
    hidden_directory: None,
    // To pin a directory changes it.
    without: &["ctime"],
    without_of_directories: &[],
    only_listed_below: &[FRAGMENTED],
};

fn look_at(root: &Path, directory: &str) -> Result<Listing> {
    let root = root.join(directory);
    let bound = if directory == FRAGMENTED { ALL_OF_IT } else { PATIENCE };
    within(&format!("list {}", root.display()), bound, move || listing(&root, LOOK))?
}

/// What the directories have to show.
type Expected = Arc<Vec<(&'static str, Listing)>>;

/// Threads that compare all there is with what it has to be, until they are stopped.
struct Readers {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Result<Duration>>>,
}

impl Readers {
    fn start(root: &Path, expected: &Expected, count: usize) -> Self {
        let (stop, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let thread = |first: usize| {
            let (stop, looks, root, expected) =
                (stop.clone(), looks.clone(), root.to_owned(), expected.clone());
            std::thread::spawn(move || {
                let mut slowest = Duration::ZERO;
                for (directory, expected) in expected.iter().cycle().skip(first) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let begin = Instant::now();
                    let found = look_at(&root, directory)?;
                    ensure_same(expected, &found).with_context(|| directory.to_string())?;
                    slowest = slowest.max(begin.elapsed());
                    looks.fetch_add(1, Ordering::Relaxed);
                }
                Ok(slowest)
            })
        };
        let threads = (0..count).map(thread).collect();
        Self { stop, looks, threads }
    }

    /// Waits until each could have looked at everything once more.
    fn go_on(&self, what: &str) -> Result<()> {
        let goal = self.looks.load(Ordering::Relaxed) + READ.len() * self.threads.len();
        let failed = || self.threads.iter().any(JoinHandle::is_finished);
        wait_for(&format!("readers go on {what}"), 2 * PATIENCE, || {
            (failed() || self.looks.load(Ordering::Relaxed) >= goal).then_some(())
        })?;
        ensure!(!failed(), "{what} a reader has failed");
        Ok(())
    }

    /// Ends them; gives how often they have looked, and the longest look.
    fn stop(self) -> Result<(usize, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        let mut slowest = Duration::ZERO;
        for thread in self.threads {
            slowest = slowest.max(thread.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??);
        }
        Ok((self.looks.load(Ordering::Relaxed), slowest))
    }
}

fn pin(writer: &CephFuse, directory: &str, rank: usize) -> Result<()> {
    let (path, rank) = (writer.path(directory), rank.to_string());
    within(&format!("pin {directory}"), PATIENCE, move || {
        rustix::fs::setxattr(&path, "ceph.dir.pin", rank.as_bytes(), rustix::fs::XattrFlags::empty())
    })??;
    Ok(())
}

/// How many fragments of a directory a rank serves by itself.
fn fragments_at(cluster: &Cluster, directory: &str, rank: usize) -> Option<usize> {
    let trees = cluster.run("ceph", &["tell", &format!("mds.cephfs:{rank}"), "get", "subtrees"]).ok()?;
    let trees: serde_json::Value = serde_json::from_str(&trees).ok()?;
    let here = |tree: &&serde_json::Value| {
        let path = tree.get("dir").and_then(|dir| dir.get("path")).and_then(serde_json::Value::as_str);
        let first = tree.get("auth_first").and_then(serde_json::Value::as_u64);
        path == Some(&format!("/{directory}")) && first == Some(rank as u64)
    };
    Some(trees.as_array()?.iter().filter(here).count())
}

fn moved(cluster: &Cluster, directory: &str, rank: usize, fragments: usize) -> Result<()> {
    wait_for(&format!("/{directory} moves to rank {rank}"), HANDED_OVER, || {
        fragments_at(cluster, directory, rank).filter(|there| *there >= fragments).map(drop)
    })
}

/// Has the file system served by so many ranks, and waits until it is.
fn ranks(cluster: &Cluster, count: usize) -> Result<()> {
    cluster.run("ceph", &["fs", "set", "cephfs", "max_mds", &count.to_string()])?;
    wait_for(&format!("{count} ranks"), HANDED_OVER, || {
        let map = cluster.run("ceph", &["fs", "get", "cephfs", "-f", "json"]).ok()?;
        let map: serde_json::Value = serde_json::from_str(&map).ok()?;
        let map = map.get("mdsmap")?;
        let active = |info: &&serde_json::Value| {
            info.get("state").and_then(|state| state.as_str()) == Some("up:active")
        };
        let serving = map.get("info")?.as_object()?.values().filter(active).count();
        (map.get("in")?.as_array()?.len() == count && serving == count).then_some(())
    })
}

/// The MDS that serves a rank, as `mds.a`.
fn serving(cluster: &Cluster, rank: usize) -> Result<String> {
    let map: serde_json::Value =
        serde_json::from_str(&cluster.run("ceph", &["fs", "get", "cephfs", "-f", "json"])?)?;
    let infos = map.get("mdsmap").and_then(|map| map.get("info")?.as_object()).context("the MDSs")?;
    let here = infos.values().find(|info| info.get("rank").and_then(|r| r.as_u64()) == Some(rank as u64));
    let name = here.and_then(|info| info.get("name")?.as_str()).context("an MDS with that rank")?;
    Ok(format!("mds.{name}"))
}

/// Two ranks that serve a tree, a client that moves it from one to the other, and a mount.
struct Scene {
    // Unmounted before the cluster is stopped.
    mount: Mount,
    writer: CephFuse,
    cluster: Cluster,
    expected: Expected,
    fragmented: Listing,
    _scratch: tempfile::TempDir,
}

impl Scene {
    fn new() -> Result<Self> {
        let cluster = Cluster::of(&Setup { active_mds: 2, ..Setup::default() })?;
        // A tree is made by one MDS much faster than by two that hand it to each other.
        ranks(&cluster, 1)?;
        cluster.fill(Tree::Small)?;
        let writer = cluster.ceph_fuse(&[])?;
        let (entries, split) = (ENTRIES.0, ENTRIES.1.to_string());
        cluster.run("ceph", &["tell", "mds.cephfs:0", "config", "set", "mds_bal_split_size", &split])?;
        let path = writer.path(FRAGMENTED);
        within("make the fragmented directory", ALL_OF_IT, move || -> std::io::Result<()> {
            std::fs::create_dir(&path)?;
            (0..entries).try_for_each(|number| std::fs::write(path.join(number.to_string()), ""))
        })??;
        ranks(&cluster, 2)?;
        for (number, directory) in MOVING.iter().enumerate() {
            pin(&writer, directory, number % 2)?;
        }
        pin(&writer, FRAGMENTED, 1)?;
        moved(&cluster, FRAGMENTED, 1, 2)?;
        let scratch = tempfile::tempdir()?;
        // Longer than a rank may be away.
        let launch = cluster.launch_files("/", scratch.path())?.option("request-timeout", "60s");
        let mount = launch.start()?;
        names(mount.target())?.with_context(|| format!("the log:\n{}", mount.log().text()))?;
        let of_writer = |directory: &str| look_at(writer.root(), directory);
        let expected: Vec<_> =
            READ.iter().map(|directory| Ok((*directory, of_writer(directory)?))).collect::<Result<_>>()?;
        let fragmented = of_writer(FRAGMENTED)?;
        ensure!(fragmented.len() > entries, "{} entries are not all", fragmented.len());
        Ok(Self { mount, writer, cluster, expected: Arc::new(expected), fragmented, _scratch: scratch })
    }

    /// The directory of many fragments shows what it did to the other client.
    fn same(&self, what: &str) -> Result<()> {
        let begin = Instant::now();
        let found = look_at(self.mount.target(), FRAGMENTED)?;
        eprintln!("the fragmented directory {what}: looked at within {:?}", begin.elapsed());
        ensure_same(&self.fragmented, &found).with_context(|| format!("the fragmented directory {what}"))
    }

    fn readers(&self) -> Result<Readers> {
        let readers = Readers::start(self.mount.target(), &self.expected, 3);
        readers.go_on("at first")?;
        Ok(readers)
    }

    /// Moves everything to and fro.
    fn moves(&self, readers: &Readers) -> Result<()> {
        for round in 0..ROUNDS {
            for (number, directory) in MOVING.iter().enumerate() {
                pin(&self.writer, directory, (number + round) % 2)?;
            }
            std::thread::sleep(Duration::from_secs(2));
            readers.go_on(&format!("in round {round}"))?;
        }
        Ok(())
    }

    /// Has the MDS of a rank die at a certain step of handing the fragmented directory over, by Ceph's own means for such tests (`mds_kill_import_at`,
    /// `mds_kill_export_at`), and lets the one that stands by take its rank.
    fn dies_while_handing_over(
        &self,
        to: usize,
        (rank, step): (usize, Step),
        readers: &Readers,
    ) -> Result<()> {
        moved(&self.cluster, FRAGMENTED, 1 - to, 2)?;
        let victim = serving(&self.cluster, rank)?;
        let Step(option, number) = step;
        self.cluster.run("ceph", &["tell", &victim, "config", "set", option, number])?;
        pin(&self.writer, FRAGMENTED, to)?;
        wait_for(&format!("{victim} dies"), HANDED_OVER, || (!self.lives(&victim)).then_some(()))?;
        let dead = Instant::now();
        readers.go_on(&format!("after the death of {victim}, which had rank {rank}"))?;
        let successor = wait_for(&format!("rank {rank} is taken over"), TAKEN_OVER, || {
            serving(&self.cluster, rank).ok().filter(|now| *now != victim)
        })?;
        let taken_over = dead.elapsed();
        // What both ranks serve, now that one of them knows only what was written down.
        self.same(&format!("from {successor}, in place of {victim}"))?;
        readers.go_on("with its successor")?;
        eprintln!(
            "{victim} of rank {rank} died at {option} {number}; {successor} took over after {taken_over:?}, all was read again after {:?}",
            dead.elapsed()
        );
        // It stands by from now on.
        self.cluster.daemon(&victim, "start")?;
        ranks(&self.cluster, 2)?;
        moved(&self.cluster, FRAGMENTED, to, 2)?;
        readers.go_on("when everything has arrived")
    }

    /// Whether a daemon's process runs.
    fn lives(&self, daemon: &str) -> bool {
        let id = std::fs::read_to_string(self.cluster.dir().join("run").join(format!("{daemon}.pid")));
        let words = id.ok().and_then(|id| std::fs::read(format!("/proc/{}/cmdline", id.trim())).ok());
        // One that has ended and was not waited for has none.
        words.is_some_and(|words| !words.is_empty())
    }

    /// Ends a test: with the mount's log if it failed.
    fn ends(&self, ran: Result<()>) -> Result<()> {
        ran.with_context(|| format!("the log:\n{}", self.mount.log().text()))?;
        self.cluster.has_no_complaint()
    }
}

#[test]
fn readers_see_one_tree_while_it_moves_between_servers_that_come_and_go() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let scene = Scene::new()?;
    let run = || -> Result<()> {
        scene.same("at rank 1")?;
        let readers = scene.readers()?;
        scene.moves(&readers)?;
        ranks(&scene.cluster, 1)?;
        readers.go_on("with one rank")?;
        scene.same("when its rank has gone")?;
        ranks(&scene.cluster, 2)?;
        readers.go_on("with two again")?;
        moved(&scene.cluster, MOVING[0], 1, 1)?;
        readers.go_on("after moves to the new one")?;
        // Who gets it dies, and then who gives it.
        pin(&scene.writer, FRAGMENTED, 0)?;
        scene.dies_while_handing_over(1, (1, IMPORTING), &readers)?;
        scene.dies_while_handing_over(0, (1, EXPORTING), &readers)?;
        let (looks, slowest) = readers.stop()?;
        eprintln!("{looks} looks, the slowest took {slowest:?}");
        Ok(())
    };
    scene.ends(run())
}
