//! Random changes of a tree, one after the other, each held against what another client shows as soon as it is done.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::XattrFlags;

use crate::listing::{Entry, entry};
use crate::prng::Prng;

/// The longest write, so that some files are of two objects of the layout below.
const LONGEST: usize = 300_000;
/// Directories and files are removed again when there are so many.
const DIRECTORIES: usize = 7;
const FILES: usize = 40;
const SNAPSHOTS: usize = 3;
/// Names that are gone are remembered, as those who know them must learn of it.
const GONE: usize = 30;
/// Changes that are named when one fails.
const SAID: usize = 100;
/// What is not compared: reading changes the one, and the other is each client's own advice.
const LATER: &[&str] = &["atime", "block size"];
/// In directories these are sums over what is in them, which an MDS brings up to date in its own time: even the client that
/// made the change sees them late.
const LATER_OF_DIRECTORIES: &[&str] = &["atime", "block size", "mtime", "ctime", "size", "blocks", "links"];
/// Who comes to hear of a snapshot is not waited for: the MDS answers first, and tells the other clients then.
const SNAPSHOT_IS_KNOWN: Duration = Duration::from_secs(5);

/// A third client that knows nothing from before, and what it shows of a path.
pub type Judge = Box<dyn FnMut(&Path) -> Result<Option<Entry>> + Send>;

/// What a sequence of changes is doing, for whoever waits for it in vain. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Doing(Arc<Mutex<String>>);

impl Doing {
    fn now(&self, who: &str, path: &Path) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = format!("{who} {}", path.display());
    }

    /// Who does what, and where.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A seeded sequence of changes in one directory.
pub struct Churn {
    writes: PathBuf,
    reads: PathBuf,
    prng: Prng,
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
    snapshots: Vec<PathBuf>,
    gone: Vec<PathBuf>,
    next: usize,
    /// Written to and synced, and not closed until the next change.
    open: Option<File>,
    judge: Option<Judge>,
    /// The paths that the change that is being made has used so far.
    at: RefCell<Vec<PathBuf>>,
    /// The last changes, the latest first.
    made: VecDeque<String>,
    /// What it is doing.
    pub doing: Doing,
    /// The longest time that one change took.
    pub slowest: Duration,
}

impl Churn {
    /// Changes are made in `writes`, and looked at in `reads`, where another client shows the same directory.
    pub fn new(writes: &Path, reads: &Path, seed: u64) -> Self {
        Self {
            writes: writes.to_owned(),
            reads: reads.to_owned(),
            prng: Prng::new(seed),
            directories: vec![PathBuf::new()],
            files: Vec::new(),
            snapshots: Vec::new(),
            gone: Vec::new(),
            next: 0,
            open: None,
            judge: None,
            at: RefCell::default(),
            made: VecDeque::new(),
            doing: Doing::default(),
            slowest: Duration::ZERO,
        }
    }

    /// Has somebody else decide who is right when the two differ: a writer may have kept what a path in a snapshot led to before, or, where directories move between
    /// servers, what a directory had in it.
    #[must_use]
    pub fn judged_by(mut self, judge: Judge) -> Self {
        self.judge = Some(judge);
        self
    }

    /// Makes one change, and compares what it has touched and some of what it has not.
    ///
    /// # Errors
    /// When the change fails, or the other client does not show it; the message says what was done.
    pub fn step(&mut self) -> Result<()> {
        self.open = None;
        let before = Instant::now();
        self.at.borrow_mut().clear();
        let (what, mut touched) = match self.change() {
            Ok(changed) => changed,
            Err(error) => {
                if let Some(path) = self.lost_by_the_writer(&error)? {
                    eprintln!("the writer does not find {}, which a third client does", path.display());
                    return Ok(());
                }
                let made = self.made.make_contiguous().join("\n");
                return Err(error.context(format!("after these:\n{made}")));
            }
        };
        self.made.truncate(SAID - 1);
        self.made.push_front(what.clone());
        self.slowest = self.slowest.max(before.elapsed());
        let parents: Vec<_> = touched.iter().filter_map(|path| path.parent().map(Path::to_owned)).collect();
        touched.extend(parents);
        for _ in 0..2 {
            touched.extend(self.some_path());
        }
        touched.sort();
        touched.dedup();
        touched.iter().try_for_each(|path| self.agree(path)).with_context(|| format!("after {what}"))
    }

    /// A path of the change that has failed, if the writer says that it is not there, and somebody who knows nothing from before finds it: ceph-fuse loses names now and
    /// then, after snapshots of the directory or where it moves to another server.
    fn lost_by_the_writer(&mut self, error: &anyhow::Error) -> Result<Option<PathBuf>> {
        let not_found = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        let errno = |error: &rustix::io::Errno| *error == rustix::io::Errno::NOENT;
        if !error.downcast_ref().is_some_and(not_found) && !error.downcast_ref().is_some_and(errno) {
            return Ok(None);
        }
        let used = self.at.borrow().clone();
        for path in used {
            let lost = fs::symlink_metadata(self.writes.join(&path)).is_err_and(|error| not_found(&error));
            if lost && let Some(Some(_)) = self.judged(&path)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// What the third client shows, if there is one.
    fn judged(&mut self, path: &Path) -> Result<Option<Option<Entry>>> {
        let Some(judge) = &mut self.judge else { return Ok(None) };
        self.doing.now("a third client looks at", path);
        Ok(Some(judge(path).context("the third client")?))
    }

    /// Something that this change had nothing to do with.
    fn some_path(&mut self) -> Option<PathBuf> {
        let inside = |snapshot: &PathBuf, file: &PathBuf| {
            let directory = snapshot.parent()?.parent()?;
            Some(snapshot.join(file.strip_prefix(directory).ok()?))
        };
        match self.prng.below(4) {
            0 => self.prng.pick(&self.gone).cloned(),
            1 => self.prng.pick(&self.directories).cloned(),
            2 => self.prng.pick(&self.files).cloned(),
            _ => {
                let (snapshot, file) = (self.prng.pick(&self.snapshots).cloned()?, self.file()?);
                inside(&snapshot, &file)
            }
        }
    }

    /// Both clients show the same of a path.
    fn agree(&mut self, path: &Path) -> Result<()> {
        let start = Instant::now();
        let in_snapshots = path.iter().any(|part| part == ".snap");
        loop {
            let (found, expected) = self.both(path)?;
            if found == expected {
                return Ok(());
            }
            if !in_snapshots || start.elapsed() > SNAPSHOT_IS_KNOWN {
                let third = self.judged(path)?.map(|shown| shown.map(comparable));
                if third.as_ref() == Some(&found) {
                    eprintln!("the writer is behind with {}, as a third client says", path.display());
                    return Ok(());
                }
                let third = third.map(|third| format!("\nas a third client says, who shows\n{third:?}"));
                let third = third.unwrap_or_default();
                bail!("{} is\n{found:?}\ninstead of\n{expected:?}{third}", path.display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the reader and the writer show. The reader is asked first: what the writer looks at may make a server look again.
    fn both(&self, path: &Path) -> Result<(Option<Entry>, Option<Entry>)> {
        self.doing.now("the reader looks at", path);
        let found = entry(&self.reads, path).context("the reader")?;
        self.doing.now("the writer looks at", path);
        let expected = entry(&self.writes, path).context("the writer")?;
        Ok((found.map(comparable), expected.map(comparable)))
    }

    fn file(&mut self) -> Option<PathBuf> {
        self.prng.pick(&self.files).cloned()
    }

    fn directory(&mut self) -> PathBuf {
        self.prng.pick(&self.directories).cloned().unwrap_or_default()
    }

    fn fresh(&mut self, kind: &str) -> PathBuf {
        // Now and then a name that has been there before.
        if self.prng.below(4) == 0
            && let Some(again) = self.prng.pick(&self.gone).cloned()
            && again.parent().is_some_and(|parent| self.directories.iter().any(|each| each == parent))
            && fs::symlink_metadata(self.writes.join(&again)).is_err()
        {
            return again;
        }
        self.next += 1;
        let name = format!("{kind}-{}", self.next);
        self.directory().join(name)
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.doing.now("the writer changes", path);
        self.at.borrow_mut().push(path.to_owned());
        self.writes.join(path)
    }

    fn change(&mut self) -> Result<(String, Vec<PathBuf>)> {
        let many = self.files.len() >= FILES;
        let choice = self.prng.below(20);
        let change = match (choice, self.file()) {
            (0, _) if self.directories.len() < DIRECTORIES => self.make_directory(),
            (1, _) => self.remove_directory(),
            (2, _) => self.rename_directory(),
            (3, _) if self.snapshots.len() < SNAPSHOTS => self.make_snapshot(),
            (3 | 4, _) => self.remove_snapshot(),
            (5 | 6, Some(file)) => self.remove(file),
            (7 | 8, Some(file)) => self.rename(file),
            (9, Some(file)) => self.truncate(file),
            (10, Some(file)) => self.attributes(file),
            (11, Some(file)) => self.set_xattr(file),
            (12, Some(file)) if !many => self.link(file),
            (13..=15, Some(file)) => self.write(file),
            (_, Some(file)) if many => self.remove(file),
            _ => self.create(),
        };
        change.with_context(|| format!("kind {choice}, at {:?}", self.at.borrow()))
    }

    fn create(&mut self) -> Change {
        if self.prng.below(5) == 0 {
            let path = self.fresh("link");
            symlink(format!("to-{}", self.next), self.at(&path))?;
            self.gone.push(path.clone());
            return Ok((format!("symlink {}", path.display()), vec![path]));
        }
        let path = self.fresh("file");
        let length = self.prng.below(LONGEST);
        fs::write(self.at(&path), self.prng.bytes(length))?;
        self.files.push(path.clone());
        Ok((format!("create {} with {length} bytes", path.display()), vec![path]))
    }

    fn write(&mut self, path: PathBuf) -> Change {
        let at = self.at(&path);
        let (mut offset, length) = (self.prng.below(LONGEST), 1 + self.prng.below(100_000));
        // Into it, at its end, or anew: a file that is cut and written in one go never shows its old bytes.
        let (mut file, how) = match self.prng.below(4) {
            0 => (File::options().append(true).open(&at)?, "append"),
            1 => (File::options().write(true).truncate(true).open(&at)?, "rewrite"),
            _ => (File::options().write(true).open(&at)?, "write"),
        };
        let bytes = self.prng.bytes(length);
        match how {
            "append" => {
                offset = file.metadata()?.len() as usize;
                file.write_all(&bytes)?;
            }
            _ => file.write_all_at(&bytes, offset as u64)?,
        }
        let stays_open = self.prng.below(2) == 0;
        if stays_open {
            file.sync_all()?;
            self.open = Some(file);
        }
        let end = if stays_open { "fsync" } else { "close" };
        Ok((format!("{how} {length} at {offset} of {} and {end}", path.display()), vec![path]))
    }

    fn truncate(&mut self, path: PathBuf) -> Change {
        let size = self.prng.below(2 * LONGEST);
        File::options().write(true).open(self.at(&path))?.set_len(size as u64)?;
        Ok((format!("truncate {} to {size}", path.display()), vec![path]))
    }

    fn attributes(&mut self, path: PathBuf) -> Change {
        let at = self.at(&path);
        match self.prng.below(3) {
            0 => fs::set_permissions(&at, fs::Permissions::from_mode(0o400 + self.prng.below(0o400) as u32))?,
            1 => chown(&at, Some(self.prng.below(5000) as u32), Some(self.prng.below(5000) as u32))?,
            _ => {
                // In the past: of two times Ceph keeps the later one, unless it is told of a change back.
                let time = std::time::UNIX_EPOCH + Duration::from_nanos(self.prng.next_u64() >> 4);
                File::options().write(true).open(&at)?.set_modified(time)?;
            }
        }
        Ok((format!("attributes of {}", path.display()), vec![path]))
    }

    fn set_xattr(&mut self, path: PathBuf) -> Change {
        let (at, name) = (self.at(&path), format!("user.x{}", self.prng.below(3)));
        if self.prng.below(3) == 0 {
            match rustix::fs::removexattr(&at, &*name) {
                Ok(()) | Err(rustix::io::Errno::NODATA) => {}
                Err(error) => return Err(error.into()),
            }
        } else {
            let length = self.prng.below(200);
            rustix::fs::setxattr(&at, &*name, &self.prng.bytes(length), XattrFlags::empty())?;
        }
        Ok((format!("{name} of {}", path.display()), vec![path]))
    }

    fn link(&mut self, path: PathBuf) -> Change {
        let new = self.fresh("hard");
        fs::hard_link(self.at(&path), self.at(&new))?;
        self.files.push(new.clone());
        Ok((format!("link {} to {}", path.display(), new.display()), vec![path, new]))
    }

    fn remove(&mut self, path: PathBuf) -> Change {
        fs::remove_file(self.at(&path))?;
        self.files.retain(|each| *each != path);
        self.forget(path.clone());
        Ok((format!("unlink {}", path.display()), vec![path]))
    }

    fn rename(&mut self, from: PathBuf) -> Change {
        // Half of the time over another file.
        let over = self.file().filter(|other| *other != from);
        let to = match over {
            Some(other) if self.prng.below(2) == 0 => other,
            _ => self.fresh("file"),
        };
        fs::rename(self.at(&from), self.at(&to))?;
        // Renaming one name of a file over another of its names does nothing at all.
        if fs::symlink_metadata(self.at(&from)).is_err() {
            self.files.retain(|each| *each != from && *each != to);
            self.files.push(to.clone());
            self.forget(from.clone());
        }
        Ok((format!("rename {} to {}", from.display(), to.display()), vec![from, to]))
    }

    fn make_directory(&mut self) -> Change {
        let path = self.fresh("directory");
        fs::create_dir(self.at(&path))?;
        self.directories.push(path.clone());
        Ok((format!("mkdir {}", path.display()), vec![path]))
    }

    fn remove_directory(&mut self) -> Change {
        let path = self.directory();
        if path == Path::new("") {
            // Everything happens in it.
            return self.create();
        }
        let removed = fs::remove_dir(self.at(&path));
        if removed.is_ok() {
            self.directories.retain(|each| *each != path);
            self.forget(path.clone());
        } else if fs::symlink_metadata(self.at(&path)).is_err() {
            bail!("{} is gone, and could not be removed: {removed:?}", path.display());
        }
        Ok((format!("rmdir {}: {removed:?}", path.display()), vec![path]))
    }

    fn rename_directory(&mut self) -> Change {
        let (from, to) = (self.directory(), self.fresh("directory"));
        let renamed = fs::rename(self.at(&from), self.at(&to));
        if renamed.is_ok() {
            for path in self.directories.iter_mut().chain(&mut self.files).chain(&mut self.snapshots) {
                if let Ok(below) = path.strip_prefix(&from) {
                    *path = if below == Path::new("") { to.clone() } else { to.join(below) };
                }
            }
            self.forget(from.clone());
        }
        // The root, and a directory into itself, cannot be renamed.
        Ok((format!("rename {} to {}: {renamed:?}", from.display(), to.display()), vec![from, to]))
    }

    fn make_snapshot(&mut self) -> Change {
        self.next += 1;
        let path = self.directory().join(".snap").join(format!("snapshot-{}", self.next));
        fs::create_dir(self.at(&path))?;
        self.snapshots.push(path.clone());
        Ok((format!("mksnap {}", path.display()), vec![path]))
    }

    fn remove_snapshot(&mut self) -> Change {
        let Some(path) = self.prng.pick(&self.snapshots).cloned() else { return self.create() };
        fs::remove_dir(self.at(&path))?;
        self.snapshots.retain(|each| *each != path);
        self.forget(path.clone());
        Ok((format!("rmsnap {}", path.display()), vec![path]))
    }

    fn forget(&mut self, path: PathBuf) {
        self.gone.push(path);
        if self.gone.len() > GONE {
            self.gone.remove(0);
        }
    }
}

/// What of an entry both clients must show alike at once.
fn comparable(entry: Entry) -> Entry {
    let directory = entry.field("names").is_some();
    entry.without(if directory { LATER_OF_DIRECTORIES } else { LATER })
}

/// What was done, and the paths that look different for it.
type Change = Result<(String, Vec<PathBuf>)>;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Churn;

    fn is_snapshot(error: &anyhow::Error) -> bool {
        format!("{error:#}").contains(".snap")
    }

    #[test]
    fn one_directory_agrees_with_itself_and_a_copy_that_stays_behind_does_not() {
        let (writes, behind) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut steps = 0;
        for seed in 0..8 {
            let own = writes.path().join(seed.to_string());
            fs::create_dir(&own).unwrap();
            let mut churn = Churn::new(&own, &own, seed);
            for _ in 0..400 {
                match churn.step() {
                    Ok(()) => steps += 1,
                    // No snapshots in an ordinary directory.
                    Err(error) => assert!(is_snapshot(&error), "seed {seed}: {error:#}"),
                }
            }
        }
        assert!(steps > 2400, "{steps}");
        assert!(fs::read_dir(writes.path()).unwrap().count() > 2);

        let mut churn = Churn::new(writes.path(), behind.path(), 4);
        let error = (0..20).find_map(|_| churn.step().err()).unwrap();
        assert!(format!("{error:#}").contains("instead of"), "{error:#}");
    }
}
