//! Removes what nobody has used for long from directories that can be filled again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What may stay. A file's time of last use is its modification time: whoever uses one sets it.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Files unused for longer are removed.
    pub unused: Duration,
    /// Beyond so many bytes, those unused for longest are removed.
    pub bytes: u64,
    /// What was used within this time stays in any case: its user may not have opened it yet, or may need it again when it starts anew.
    pub grace: Duration,
}

impl Default for Keep {
    /// 30 days, 1 GiB, 2 days: those who use files for long say so once a day.
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self { unused: 30 * day, bytes: 1 << 30, grace: 2 * day }
    }
}

/// Removes files of `dir`, not those below its directories; returns how many, and their bytes. A file that another process has open stays
/// readable for it.
///
/// # Errors
/// When the directory cannot be read. A file that cannot be removed stays.
pub fn tidy(dir: &Path, keep: Keep) -> io::Result<(usize, u64)> {
    let now = SystemTime::now();
    let mut files: Vec<(Duration, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // Not following links; and a file may be renamed or removed by others at any moment.
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_file() {
            let age = meta.modified().map(|used| now.duration_since(used).unwrap_or_default());
            files.push((age.unwrap_or_default(), meta.len(), entry.path()));
        }
    }
    files.sort();
    let (mut kept, mut removed, mut bytes) = (0_u64, 0, 0);
    for (age, size, path) in files {
        let fits = kept.saturating_add(size) <= keep.bytes;
        if age <= keep.grace || (fits && age <= keep.unused) {
            kept = kept.saturating_add(size);
        } else if fs::remove_file(&path).is_ok() {
            removed += 1;
            bytes += size;
        }
    }
    Ok((removed, bytes))
}

/// These files are in use: their time of last use is now. Those that are gone stay so.
pub fn mark_used(files: &[PathBuf]) {
    for file in files {
        let marked = fs::File::open(file).and_then(|file| file.set_modified(SystemTime::now()));
        if let Err(error) = marked {
            tracing::warn!(
                file = %file.display(), %error,
                "this file of the state directory cannot be marked as in use; a later start may have to fetch or compile again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_running_process_uses_stays_however_little_room_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["in-use", "newer"].map(|name| dir.path().join(name));
        let day = Duration::from_secs(24 * 3600);
        for (path, days) in paths.iter().zip([40, 3]) {
            fs::write(path, "four").unwrap();
            fs::File::open(path).unwrap().set_modified(SystemTime::now() - day * days).unwrap();
        }
        mark_used(&[paths[0].clone(), dir.path().join("gone")]);
        let age = fs::metadata(&paths[0]).unwrap().modified().unwrap().elapsed().unwrap_or_default();
        assert!(age < day, "{age:?}");
        // Shortly before it is marked again.
        fs::File::open(&paths[0]).unwrap().set_modified(SystemTime::now() - day).unwrap();
        assert_eq!(tidy(dir.path(), Keep { bytes: 1, ..Keep::default() }).unwrap(), (1, 4));
        assert!(paths[0].exists() && fs::read_dir(dir.path()).unwrap().count() == 1);
    }

    #[test]
    fn old_files_go_and_then_the_least_used() {
        let dir = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3600);
        for (name, hours, size) in
            [("new", 0, 60), ("a", 2, 50), ("b", 3, 30), ("c", 4, 30), ("old", 100, 1), ("x.tmp", 200, 9)]
        {
            let path = dir.path().join(name);
            fs::write(&path, vec![0; size]).unwrap();
            let used = SystemTime::now() - hour * hours;
            fs::File::open(&path).unwrap().set_modified(used).unwrap();
        }
        fs::create_dir(dir.path().join("directory")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let keep = Keep { unused: hour * 50, bytes: 120, grace: hour };
        let (removed, bytes) = tidy(dir.path(), keep).unwrap();
        let mut names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["a", "directory", "link", "new"], "`b` and `c` do not fit beside `new` and `a`");
        assert_eq!((removed, bytes), (4, 70));
        assert_eq!(tidy(dir.path(), Keep { bytes: 0, ..keep }).unwrap(), (1, 50), "what is in use stays");
        tidy(&dir.path().join("none"), keep).unwrap_err();
    }
}
