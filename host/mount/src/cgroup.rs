//! The memory of the cgroup this process runs in, and of the machine (kernel documentation: `admin-guide/cgroup-v2.rst` and `cgroup-v1/memory.rst`).

use std::fs::read_to_string;
use std::path::Path;

/// Version 1 writes "no limit" as the largest multiple of a page; whatever is that large is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// The smallest limit of this process's cgroup and of those above it, in bytes; `None` when there is none.
pub(crate) fn memory_limit() -> Option<u64> {
    limit(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"))
}

/// Bytes that the machine could give to programs now, without swapping (`MemAvailable` in `proc(5)`).
pub(crate) fn available() -> Option<u64> {
    let text = read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn limit(groups: &Path, root: &Path) -> Option<u64> {
    let text = read_to_string(groups).ok()?;
    let limits = text.lines().filter_map(|line| {
        // HIERARCHY:CONTROLLERS:PATH; version 2 has hierarchy 0 and no controllers.
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if controllers.is_empty() {
            smallest(root, path, "memory.max")
        } else if controllers.split(',').any(|each| each == "memory") {
            smallest(&root.join("memory"), path, "memory.limit_in_bytes")
        } else {
            None
        }
    });
    limits.min()
}

/// The smallest value of `file` from `path` up to the root of the hierarchy. In a container the path may be the host's and
/// not exist here, while the container's own group is the root.
fn smallest(root: &Path, path: &str, file: &str) -> Option<u64> {
    let path = Path::new(path.trim_start_matches('/'));
    let here = path.ancestors().filter_map(|each| read_to_string(root.join(each).join(file)).ok());
    here.filter_map(|text| text.trim().parse::<u64>().ok()).filter(|bytes| *bytes < NO_LIMIT).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        let dir = tempfile::tempdir().unwrap();
        let (list, root) = (dir.path().join("cgroup"), dir.path().join("fs"));
        std::fs::write(&list, groups).unwrap();
        for (path, content) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        limit(&list, &root)
    }

    #[test]
    fn version_2() {
        assert_eq!(tree("0::/\n", &[("memory.max", "268435456\n")]), Some(256 << 20), "a container");
        let nested = [("pods/memory.max", "1000000000\n"), ("pods/a/memory.max", "max\n")];
        assert_eq!(tree("0::/pods/a\n", &nested), Some(1_000_000_000), "the parent's");
        assert_eq!(tree("0::/pods/a\n", &[("pods/a/memory.max", "max\n")]), None);
    }

    #[test]
    fn version_1() {
        let groups = "5:devices:/x\n4:cpu,memory:/kubepods/pod1\n0::/\n";
        let files = [
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/kubepods/pod1/memory.limit_in_bytes", "536870912\n"),
        ];
        assert_eq!(tree(groups, &files), Some(512 << 20));
        assert_eq!(tree(groups, &files[..1]), None, "the host's path does not exist in the container");
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn nothing_there() {
        assert_eq!(tree("", &[]), None);
        assert_eq!(tree("garbage\n4:memory\n", &[]), None);
    }
}
