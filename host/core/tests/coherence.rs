//! Another client changes a tree while processes look at it through a kernel that keeps what it may: nobody ever sees what was true only
//! before he asked. `WASMOUNT_SEED` sets the seed, `WASMOUNT_CASES` how many histories are tried.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;
mod kernel;

use bytes::Bytes;
use harness::files_mount_reading;
use kernel::{Kernel, OpenFile, PAGE};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use wasmount_core::ports::{Invalidation, NodeNumber};
use wasmount_core::read::ReadConfig;
use wasmount_core::testing::{
    CacheFaults, FilesOptions, MemoryCache, MemoryFiles, MemoryNode, MemoryTree, Random,
};
use wasmount_types::{Attr, Error, ErrorKind, FileKind, Name};

const DIRECTORIES: [&str; 2] = ["a", "b"];
const NAMES: [&str; 5] = ["one", "two", "three", "four", "five"];
/// How long a page may be old that is read through a file that was open before others began to write it.
const LAG: Duration = Duration::from_millis(100);

/// States of the tree, and since when they hold.
struct History(Mutex<Vec<(Instant, Arc<MemoryTree>)>>);

impl History {
    fn now(&self) -> usize {
        self.0.lock().unwrap().len() - 1
    }

    fn add(&self, tree: &MemoryTree) {
        self.0.lock().unwrap().push((Instant::now(), Arc::new(tree.clone())));
    }

    /// The states since one of them.
    fn since(&self, first: usize) -> Vec<Arc<MemoryTree>> {
        self.0.lock().unwrap()[first..].iter().map(|(_, tree)| tree.clone()).collect()
    }

    /// The state that held at a time.
    fn at(&self, time: Instant) -> usize {
        self.0.lock().unwrap().partition_point(|(since, _)| *since <= time).saturating_sub(1)
    }
}

struct World {
    store: Arc<MemoryFiles>,
    /// The store gives rights for a moment where others write, so nobody need be shown anything without one.
    momentary: bool,
    kernel: Arc<Kernel>,
    history: History,
    seed: u64,
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

fn content(random: &mut Random) -> Bytes {
    let pages = random.below(5);
    let length = pages * PAGE + if random.percent(50) { random.below(PAGE) } else { 0 };
    Bytes::from(random.bytes(length as usize))
}

fn directory(tree: &MemoryTree, index: usize) -> u64 {
    tree[&1].children[&name(DIRECTORIES[index])]
}

/// A file by chance, with its directory.
fn pick(tree: &MemoryTree, random: &mut Random) -> Option<(u64, Name, u64)> {
    let dir = directory(tree, random.below(2) as usize);
    let children = &tree[&dir].children;
    let index = random.below(children.len() as u64) as usize;
    children.iter().nth(index).map(|(name, node)| (dir, name.clone(), *node))
}

fn attributes(node: u64) -> Invalidation {
    Invalidation::Attributes(NodeNumber(node))
}

impl World {
    /// The other client writes a file anew.
    async fn write(&self, file: u64, content: Bytes) {
        let write = |tree: &mut MemoryTree| {
            let node = tree.get_mut(&file).unwrap();
            (node.content, node.data_version) = (content, node.data_version + 1);
            node.change += 1;
            self.history.add(tree);
        };
        self.store.change(vec![Invalidation::Data(NodeNumber(file), None), attributes(file)], write).await;
    }

    /// One change by the other client.
    async fn change(&self, random: &mut Random) {
        let tree = self.store.tree();
        let names = |random: &mut Random, dir, name: &Name| {
            if random.percent(50) {
                Invalidation::Entry(NodeNumber(dir), name.clone())
            } else {
                Invalidation::Directory(NodeNumber(dir))
            }
        };
        let touch = |tree: &mut MemoryTree, node: u64| tree.get_mut(&node).unwrap().change += 1;
        match random.below(10) {
            0..=2 => {
                let Some((.., file)) = pick(&tree, random) else { return };
                self.write(file, content(random)).await;
            }
            3 => {
                let Some((.., file)) = pick(&tree, random) else { return };
                let mode = random.below(0o1000) as u16;
                let chmod = |tree: &mut MemoryTree| {
                    tree.get_mut(&file).unwrap().mode = mode;
                    touch(tree, file);
                    self.history.add(tree);
                };
                self.store.change(vec![attributes(file)], chmod).await;
            }
            4 | 5 => {
                let (dir, name) =
                    (directory(&tree, random.below(2) as usize), name(NAMES[random.below(5) as usize]));
                let (number, content) = (self.store.fresh(), content(random));
                let items = vec![names(random, dir, &name), attributes(dir)];
                let create = |tree: &mut MemoryTree| {
                    if tree[&dir].children.contains_key(&name) {
                        return;
                    }
                    tree.insert(number, MemoryNode { content, ..MemoryNode::new(FileKind::Regular, 0o644) });
                    tree.get_mut(&dir).unwrap().children.insert(name, number);
                    touch(tree, dir);
                    self.history.add(tree);
                };
                self.store.change(items, create).await;
            }
            6 => {
                let Some((dir, name, file)) = pick(&tree, random) else { return };
                let items = vec![names(random, dir, &name), attributes(dir), attributes(file)];
                let unlink = |tree: &mut MemoryTree| {
                    tree.get_mut(&dir).unwrap().children.remove(&name);
                    touch(tree, dir);
                    touch(tree, file);
                    self.history.add(tree);
                };
                self.store.change(items, unlink).await;
            }
            7 | 8 => {
                let Some((dir, from, file)) = pick(&tree, random) else { return };
                let (target, to) =
                    (directory(&tree, random.below(2) as usize), name(NAMES[random.below(5) as usize]));
                let mut items = vec![names(random, dir, &from), names(random, target, &to)];
                items.extend([dir, target, file].map(attributes));
                let rename = |tree: &mut MemoryTree| {
                    if tree.get_mut(&dir).unwrap().children.remove(&from).is_some() {
                        tree.get_mut(&target).unwrap().children.insert(to, file);
                    }
                    touch(tree, dir);
                    touch(tree, target);
                    touch(tree, file);
                    self.history.add(tree);
                };
                self.store.change(items, rename).await;
            }
            _ => {
                let Some((.., file)) = pick(&tree, random) else { return };
                if random.percent(20) {
                    return self.store.restart().await;
                }
                self.store.contend(file, true).await;
                for _ in 0..random.below(4) {
                    tokio::time::sleep(Duration::from_millis(random.below(20))).await;
                    self.write(file, content(random)).await;
                }
                self.store.contend(file, false).await;
            }
        }
    }

    /// One look by a process; `open`: the files it has open.
    async fn look(self: &Arc<Self>, random: &mut Random, open: &mut Vec<OpenFile>) {
        let (dir, file) = (random.below(2) as usize, name(NAMES[random.below(5) as usize]));
        let path = [&name(DIRECTORIES[dir]), &file];
        let first = self.history.now();
        match random.below(10) {
            0..=3 => match self.kernel.walk(&path).await {
                Ok(pin) => match self.kernel.getattr(&pin).await {
                    Ok(attr) => self.check_stat(first, dir, &file, &attr),
                    Err(error) => self.check_error(&error),
                },
                Err(error) => self.check_absent(first, dir, &file, &error),
            },
            4 => {
                let Ok(pin) = self.kernel.walk(&path[..1]).await else { panic!("a directory is gone") };
                match self.kernel.list(&pin, 1 + random.below(4) as usize).await {
                    Ok(names) => self.check_list(first, dir, &names),
                    Err(error) => self.check_error(&error),
                }
            }
            5 if open.len() < 3 => match self.kernel.walk(&path).await {
                Ok(pin) => match self.kernel.open(pin).await {
                    Ok(file) => open.push(file),
                    Err(error) => self.check_error(&error),
                },
                Err(error) => self.check_absent(first, dir, &file, &error),
            },
            6 if !open.is_empty() => {
                let file = open.swap_remove(random.below(open.len() as u64) as usize);
                self.kernel.close(file).await;
            }
            _ => {
                let Some(file) = open.get(random.below(open.len() as u64) as usize) else { return };
                self.read(random, file, first).await;
            }
        }
    }

    async fn read(&self, random: &mut Random, file: &OpenFile, first: usize) {
        let number = self.number(file);
        // Where the store refuses the right to a file that others write, pages are a little late.
        let strict = self.momentary || self.store.holds_data(number);
        let first = if strict { first } else { self.history.at(Instant::now() - LAG) };
        let from = random.below(5);
        let pages = from..from + 1 + random.below(4);
        let mapped = random.percent(30);
        let strict_page = mapped || !file.is_direct();
        let read = match self.kernel.read(file, pages.clone(), mapped).await {
            Ok(read) => read,
            Err(error) => return self.check_error(&error),
        };
        let states = self.history.since(first);
        for (page, bytes) in pages.zip(read) {
            let piece = |tree: &Arc<MemoryTree>| {
                let content = &tree.get(&number)?.content;
                let from = ((page * PAGE) as usize).min(content.len());
                Some(content.slice(from..(from + PAGE as usize).min(content.len())))
            };
            let was = |tree: &Arc<MemoryTree>| piece(tree).as_ref() == Some(&bytes);
            // What passes the kernel by while it is written to may be of several states.
            let torn = !strict_page
                && states.iter().any(|tree| piece(tree).is_some_and(|piece| piece.len() == bytes.len()))
                && (0..bytes.len()).all(|at| {
                    states.iter().any(|tree| piece(tree).is_some_and(|piece| piece.get(at) == bytes.get(at)))
                });
            assert!(
                torn || states.iter().any(was),
                "seed {}: page {page} of node {number} is not what it was, strict {strict}, {} states",
                self.seed,
                states.len()
            );
        }
    }

    /// The store's number of an open file.
    fn number(&self, file: &OpenFile) -> u64 {
        self.kernel.owner(file.ino())
    }

    fn check_stat(&self, first: usize, dir: usize, file: &Name, attr: &Attr) {
        let number = u64::from(attr.uid);
        let states = self.history.since(first);
        let named = |tree: &Arc<MemoryTree>| tree[&directory(tree, dir)].children.get(file) == Some(&number);
        let had = |tree: &Arc<MemoryTree>| {
            tree.get(&number).is_some_and(|node| {
                (node.mode, node.content.len() as u64, node.change as i64)
                    == (attr.perm, attr.size, attr.ctime.seconds)
            })
        };
        assert!(states.iter().any(named), "seed {}: {file} did not lead to {number}", self.seed);
        assert!(states.iter().any(had), "seed {}: {number} did not have {attr:?}", self.seed);
    }

    fn check_absent(&self, first: usize, dir: usize, file: &Name, error: &Error) {
        if error.kind == ErrorKind::NotFound {
            let absent = |tree: &Arc<MemoryTree>| !tree[&directory(tree, dir)].children.contains_key(file);
            assert!(self.history.since(first).iter().any(absent), "seed {}: {file} was there", self.seed);
        } else {
            self.check_error(error);
        }
    }

    fn check_error(&self, error: &Error) {
        panic!("seed {}: {:?}: {error}", self.seed, error.kind);
    }

    fn check_list(&self, first: usize, dir: usize, names: &[Name]) {
        let states = self.history.since(first);
        let unique: BTreeSet<&Name> = names.iter().collect();
        for file in NAMES.map(name) {
            let at = |tree: &Arc<MemoryTree>| tree[&directory(tree, dir)].children.get(&file).copied();
            let ever = states.iter().any(|tree| at(tree).is_some());
            // A name that leads to another file by now may be found at both places.
            let same = states.windows(2).all(|pair| at(&pair[0]) == at(&pair[1])) && at(&states[0]).is_some();
            let seed = self.seed;
            assert!(ever || !unique.contains(&file), "seed {seed}: {file} is listed and was never there");
            let all =
                || states.iter().map(|tree| tree[&directory(tree, dir)].children.clone()).collect::<Vec<_>>();
            assert!(
                !same || unique.contains(&file),
                "seed {seed}: {file} was there and is not listed in {names:?}: {:?}",
                all()
            );
            let times = names.iter().filter(|listed| **listed == file).count();
            assert!(!same || times == 1, "seed {seed}: {file} is listed {times} times");
        }
    }
}

/// One history; how many looks and changes it had.
async fn history(seed: u64) -> usize {
    let mut random = Random::new(seed);
    let options = FilesOptions {
        directory_attributes: random.percent(80),
        data_versions: random.percent(70),
        delay_us: [0, 1, 3000, 8000][random.below(4) as usize],
        max_read: [4096, 10_000, 1 << 20][random.below(3) as usize],
        momentary: random.percent(60),
        ..FilesOptions::default()
    };
    let momentary = options.momentary;
    let store = MemoryFiles::new(options, seed);
    let cache = MemoryCache::new(CacheFaults { seed, opens: 10, offers: 10, reads: 10 });
    // With so few files nobody goes through a directory for long.
    let siblings_after = if random.percent(60) { 1 } else { 4 };
    let fs = files_mount_reading(&store, &cache, ReadConfig { siblings_after, ..ReadConfig::default() });
    let kernel = Kernel::new(random.percent(70), seed);
    kernel.mount(&fs);
    let history = History(Mutex::default());
    let (dirs, mut tree) = ([store.fresh(), store.fresh()], store.tree());
    for (index, number) in dirs.into_iter().enumerate() {
        tree.insert(number, MemoryNode::new(FileKind::Directory, 0o755));
        tree.get_mut(&1).unwrap().children.insert(name(DIRECTORIES[index]), number);
        for file in NAMES.iter().take(random.below(5) as usize) {
            let (file_number, content) = (store.fresh(), content(&mut random));
            tree.insert(file_number, MemoryNode { content, ..MemoryNode::new(FileKind::Regular, 0o644) });
            tree.get_mut(&number).unwrap().children.insert(name(file), file_number);
        }
    }
    let begin = |now: &mut MemoryTree| {
        *now = tree;
        history.add(now);
    };
    store.change(Vec::new(), begin).await;
    let world = Arc::new(World { store, momentary, kernel, history, seed });
    let mut tasks = Vec::new();
    for process in 0..2 + random.below(3) {
        let world = world.clone();
        let mut random = Random::new(seed ^ (process + 1) << 40);
        tasks.push(tokio::spawn(async move {
            let mut open = Vec::new();
            for _ in 0..40 {
                world.look(&mut random, &mut open).await;
                if random.percent(30) {
                    tokio::time::sleep(Duration::from_millis(random.below(30))).await;
                }
                if random.percent(10) {
                    world.kernel.evict().await;
                }
            }
            for file in open {
                world.kernel.close(file).await;
            }
            40
        }));
    }
    for client in 0..1 + random.below(2) {
        let world = world.clone();
        let mut random = Random::new(seed ^ (client + 1) << 50);
        tasks.push(tokio::spawn(async move {
            for _ in 0..20 {
                world.change(&mut random).await;
                tokio::time::sleep(Duration::from_millis(random.below(40))).await;
            }
            20
        }));
    }
    let mut steps = 0;
    for task in tasks {
        let ended = tokio::time::timeout(Duration::from_secs(50), task).await;
        assert!(ended.is_ok(), "seed {seed}: somebody hangs");
        steps += ended.unwrap().unwrap();
    }
    // Nothing is left behind.
    while world.kernel.inodes() > 1 {
        world.kernel.evict().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((world.store.references(), world.store.handles()), (0, 0), "seed {seed}: something is left");
    steps
}

#[test]
fn nobody_sees_the_old() {
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(default)
    };
    let (seed, cases) = (number("WASMOUNT_SEED", 1), number("WASMOUNT_CASES", 500));
    println!("WASMOUNT_SEED={seed} WASMOUNT_CASES={cases}");
    let begun = std::time::Instant::now();
    let mut steps = 0;
    for case in 0..cases {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        steps += runtime.unwrap().block_on(history(seed.wrapping_add(case)));
    }
    println!("{cases} histories, {steps} steps in {:?}", begun.elapsed());
}
