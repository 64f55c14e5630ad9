//! `mount -t fuse.wasmount` and lines of `/etc/fstab`, through the real mount(8).
//!
//! mount(8) looks for helpers in `/sbin` alone, so everything happens in a mount namespace of its own, where `/usr/sbin` has one more
//! link; nothing on the machine is changed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use wasmount_tests::bounded::{SOON, names, read, wait_for, within};
use wasmount_tests::minio::Minio;
use wasmount_tests::paths;
use wasmount_tests::process::{Process, processes_that_name};

/// Exit codes of mount(8).
const USAGE: i32 = 1;
const FAILURE: i32 = 32;

/// A mount namespace whose `/usr/sbin` has the helper. Whatever is mounted in it goes with it.
struct Namespace {
    holder: Process,
    dir: TempDir,
}

impl Namespace {
    fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("wasmount-fstab-").tempdir()?;
        let sub = |name: &str| -> Result<PathBuf> {
            let path = dir.path().join(name);
            std::fs::create_dir(&path)?;
            Ok(path)
        };
        let (upper, work, _mnt) = (sub("upper")?, sub("work")?, sub("mnt")?);
        for name in ["mount.fuse.wasmount", "mount.wasmount"] {
            std::os::unix::fs::symlink(paths::wasmount()?, upper.join(name))?;
        }
        let overlay = format!("lowerdir=/usr/sbin,upperdir={},workdir={}", upper.display(), work.display());
        let script = "mount -t overlay overlay -o \"$1\" /usr/sbin && echo ready && exec sleep 600";
        let holder = Process::start(Path::new("/usr/bin/unshare"), |command| {
            command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh", &overlay]);
        })?;
        holder.log.wait_for(&["ready"], SOON).context("a mount namespace with an overlay on /usr/sbin")?;
        Ok(Self { holder, dir })
    }

    /// Runs a program in it.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new("nsenter");
        command.arg("--mount").arg("--target").arg(self.holder.id().to_string()).arg("--").arg(program);
        command.args(arguments);
        for name in
            ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "MOUNT_OPTIONS", "WASMOUNT_LOG", "WASMOUNT_PLUGIN"]
        {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        // Its output is captured: whoever keeps it open after the mount is there keeps us waiting.
        Ok(within(program, Duration::from_secs(60), move || command.output())??)
    }

    fn mnt(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    /// The same path as it is seen in the namespace.
    fn inside(&self, path: &Path) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        Path::new(&root).join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Lines of the kernel's table about our target.
    fn table(&self) -> Result<Vec<String>> {
        let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", self.holder.id()))?;
        let mnt = self.mnt();
        let ours = |line: &&str| line.split(' ').nth(4) == mnt.to_str();
        Ok(table.lines().filter(ours).map(str::to_owned).collect())
    }

    fn options(&self, minio: &Minio) -> Result<String> {
        let key = self.dir.path().join("key");
        std::fs::write(&key, "minioadmin\n")?;
        Ok(format!(
            "plugin={},endpoint={},access-key=minioadmin,secret-key-file={},state-dir={}",
            paths::plugin("s3")?.display(),
            minio.endpoint(),
            key.display(),
            self.dir.path().join("state").display(),
        ))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The process that serves it ends with its mount.
        let mnt = self.mnt();
        let _ = self.run("umount", &["--lazy", &mnt.display().to_string()]);
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn server() -> Result<Minio> {
    let minio = Minio::start()?;
    minio.client()?.make_bucket("bucket")?;
    minio.client()?.put("bucket", "dir/file", b"content")?;
    Ok(minio)
}

#[test]
fn a_line_of_fstab_is_mounted_once_and_unmounted() -> Result<()> {
    let (minio, space) = (server()?, Namespace::new()?);
    let (fstab, log) = (space.dir.path().join("fstab"), space.dir.path().join("log"));
    let mnt = space.mnt();
    let line = format!(
        "# a comment\ns3://bucket/dir {} fuse.wasmount _netdev,nofail,x-systemd.requires=network-online.target,noexec,\
         uid=1000,log-file={},{} 0 0\n",
        mnt.display(),
        log.display(),
        space.options(&minio)?,
    );
    std::fs::write(&fstab, line)?;
    let fstab = fstab.to_str().context("UTF-8")?;
    let mounted = space.run("mount", &["-a", "-T", fstab])?;
    ensure!(mounted.status.success(), "{}", text(&mounted));
    // No wait: when mount(8) has ended, it is there.
    let table = space.table()?;
    assert_eq!(table.len(), 1, "{table:?}");
    for part in ["fuse.wasmount s3://bucket/dir", "noexec", "nosuid", "nodev", "ro"] {
        assert!(table[0].contains(part), "{part} in {table:?}");
    }
    assert_eq!(read(space.inside(&mnt.join("file")))??, b"content");

    let again = space.run("mount", &["-a", "-T", fstab])?;
    ensure!(again.status.success(), "{}", text(&again));
    assert_eq!(space.table()?, table, "what is mounted stays as it is");

    let logged = std::fs::read_to_string(&log)?;
    assert!(!logged.contains("minioadmin"), "{logged}");
    let unmounted = space.run("umount", &[&mnt.display().to_string()])?;
    ensure!(unmounted.status.success(), "{}", text(&unmounted));
    wait_for("the process ends, and says so in its log", SOON, || {
        std::fs::read_to_string(&log).ok().filter(|log| log.contains("unmounted from outside"))
    })?;
    assert!(space.table()?.is_empty());
    Ok(())
}

#[test]
fn mount_by_hand_in_both_spellings() -> Result<()> {
    let (minio, space) = (server()?, Namespace::new()?);
    let (mnt, options) = (space.mnt().display().to_string(), space.options(&minio)?);
    for kind in ["fuse.wasmount", "wasmount"] {
        let mounted = space.run("mount", &["-t", kind, "s3://bucket", &mnt, "-o", &options])?;
        ensure!(mounted.status.success(), "{kind}: {}", text(&mounted));
        assert_eq!(names(space.inside(&space.mnt()))??, ["dir"], "{kind}");
        ensure!(space.run("umount", &[&mnt])?.status.success());
        assert!(space.table()?.is_empty());
    }
    Ok(())
}

#[test]
fn secrets_are_on_no_command_line_while_it_is_mounted() -> Result<()> {
    let (minio, space) = (server()?, Namespace::new()?);
    let mnt = space.mnt();
    let target = mnt.to_str().context("UTF-8")?;
    let options =
        format!("{},secret-key=minioadmin", space.options(&minio)?.replace("secret-key-file", "x-none"));
    let mounted = space.run("mount", &["-t", "fuse.wasmount", "s3://bucket", target, "-o", &options])?;
    ensure!(mounted.status.success(), "{}", text(&mounted));
    assert_eq!(names(space.inside(&mnt))??, ["dir"], "the secret has arrived");
    let lines: Vec<_> = processes_that_name(&mnt)?.into_iter().map(|(_, words)| words).collect();
    assert_eq!(lines, [["wasmount", "background", target]]);
    assert!(!space.table()?.concat().contains("minioadmin"));
    ensure!(space.run("umount", &[target])?.status.success());

    let source = "http://user:hunter2@127.0.0.1:1/";
    let refused = space.run("/usr/sbin/mount.fuse.wasmount", &[source, target, "-o", &options])?;
    let said = text(&refused);
    assert_eq!(refused.status.code(), Some(USAGE), "{said}");
    assert!(said.contains("password") && !said.contains("hunter2"), "{said}");
    Ok(())
}

#[test]
fn failures_have_the_codes_of_mount_and_a_sentence() -> Result<()> {
    let (minio, space) = (server()?, Namespace::new()?);
    let (mnt, options) = (space.mnt().display().to_string(), space.options(&minio)?);
    let cases: [(&str, String, i32, &str); 5] = [
        ("s3://bucket", format!("{options},plugin=/nowhere/s3.wasm"), FAILURE, "/nowhere/s3.wasm"),
        ("s3://bucket", format!("{options},remount"), FAILURE, "cannot change a mount"),
        ("s3://bucket", format!("{options},memory=much"), USAGE, "--memory"),
        ("s3://bucket", format!("{options},strict-options=maybe"), USAGE, "strict-options=maybe"),
        ("s3://bucket", format!("{options},allow-net=10.0.0.1/8"), FAILURE, "10.0.0.0/8"),
    ];
    for (source, options, code, words) in cases {
        let ended = space.run("/usr/sbin/mount.fuse.wasmount", &[source, &mnt, "-o", &options])?;
        let said = text(&ended);
        assert_eq!(ended.status.code(), Some(code), "{options}: {said}");
        assert!(said.contains(words) && !said.contains("minioadmin"), "{said}");
        assert!(space.table()?.is_empty(), "{options}");
    }
    // mount(8) passes the code of a failed helper on.
    let ended =
        space.run("mount", &["-t", "fuse.wasmount", "s3://b", &mnt, "-o", "plugin=/nowhere/s3.wasm"])?;
    assert_eq!(ended.status.code(), Some(FAILURE), "{}", text(&ended));
    // `-f` does everything but mount.
    let fake = space.run("mount", &["-f", "-t", "fuse.wasmount", "s3://b", &mnt, "-o", &options])?;
    ensure!(fake.status.success() && space.table()?.is_empty(), "{}", text(&fake));
    Ok(())
}
