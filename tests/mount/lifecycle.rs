//! Starting, stopping, and what the kernel's table says in between.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use wasmount_tests::bounded::{SOON, names, wait_for};
use wasmount_tests::config::FluidFiles;
use wasmount_tests::mount::Launch;
use wasmount_tests::mountinfo;

#[test]
fn sigterm_unmounts_and_exits_with_zero() -> Result<()> {
    let files = FluidFiles::new()?;
    assert!(!files.target().exists(), "the program makes its target path itself");
    let mut mount = Launch::run(&files)?.start()?;
    let entry = mount.entry()?;
    assert_eq!(entry.fs_type, "fuse.wasmount");
    assert!(entry.super_options.contains("allow_other"), "{entry:?}");
    assert!(mount.terminate()?.success());
    assert!(mountinfo::at(&files.target())?.is_empty());
    Ok(())
}

#[test]
fn sigterm_unmounts_even_while_the_mount_is_in_use() -> Result<()> {
    let files = FluidFiles::new()?;
    let mut mount = Launch::run(&files)?.start()?;
    let held = std::fs::File::open(mount.target())?;
    assert!(mount.terminate()?.success());
    assert!(mountinfo::at(&files.target())?.is_empty());
    drop(held);
    Ok(())
}

#[test]
fn threads_of_plugins_do_not_interrupt_others_and_those_that_answer_the_kernel_do_not_wait() -> Result<()> {
    // `SCHED_OTHER` and `SCHED_BATCH` of sched(7).
    const POLICIES: [(&str, &str); 3] = [("fuser", "0"), ("wasmount-guest", "3"), ("wasmount", "3")];
    let files = FluidFiles::new()?;
    let mount = Launch::run(&files)?.start()?;
    let process = mount.process.id().to_string();
    let mut seen = [0; POLICIES.len()];
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let stat = std::fs::read_to_string(task?.path().join("stat"))?;
        let (id, rest) = stat.split_once(" (").context("stat")?;
        let (name, rest) = rest.rsplit_once(") ").context("stat")?;
        let name = name.trim_end_matches(|last: char| last == '-' || last.is_ascii_digit());
        // The first thread only waits.
        let of = POLICIES.iter().position(|(thread, _)| *thread == name && id != process);
        let Some(of) = of else { continue };
        // Field 41 of proc_pid_stat(5); `rest` begins with the third.
        ensure!(rest.split(' ').nth(38) == Some(POLICIES[of].1), "{name}: {rest}");
        seen[of] += 1;
    }
    assert!(seen.iter().all(|threads| *threads > 0), "{seen:?}");
    Ok(())
}

#[test]
fn an_external_umount_ends_the_program_with_zero() -> Result<()> {
    let files = FluidFiles::new()?;
    let mut mount = Launch::run(&files)?.start()?;
    mount.unmount_from_outside()?;
    assert!(mount.process.wait(SOON)?.success());
    Ok(())
}

#[test]
fn a_dead_predecessor_is_detached_first() -> Result<()> {
    let files = FluidFiles::new()?;
    let mut first = Launch::run(&files)?.start()?;
    // A handle into the dead mount keeps it busy, as containers of applications do.
    let held = std::fs::File::open(first.target())?;
    first.process.kill();
    assert_eq!(mountinfo::at(&files.target())?.len(), 1, "a killed server leaves its mount");

    let second = Launch::run(&files)?.start()?;
    assert_eq!(mountinfo::at(&files.target())?.len(), 1, "nothing is stacked");
    assert_eq!(names(second.target())??, [""; 0]);
    drop(held);
    drop(second);
    assert!(mountinfo::at(&files.target())?.is_empty());
    Ok(())
}

#[test]
fn the_subtype_is_the_administrators_choice() -> Result<()> {
    let files = FluidFiles::new()?;
    let mount = Launch::run(&files)?.arg("--subtype").arg("s3fs").start()?;
    assert_eq!(mount.entry()?.fs_type, "fuse.s3fs");
    Ok(())
}

#[test]
fn interrupting_it_on_a_terminal_unmounts_as_well() -> Result<()> {
    let files = FluidFiles::new()?;
    let mut mount = Launch::run(&files)?.start()?;
    mount.process.signal(Signal::INT);
    mount.process.wait(SOON)?;
    wait_for("the mount is gone", SOON, || mountinfo::at(&files.target()).ok().filter(Vec::is_empty))?;
    Ok(())
}

#[test]
fn a_broken_config_ends_with_an_error_that_names_the_file() -> Result<()> {
    let files = FluidFiles::new()?;
    std::fs::write(files.config_file(), "{\"mounts\": [")?;
    let mut mount = Launch::run(&files)?.spawn()?;
    assert!(!mount.process.wait(SOON)?.success());
    mount.log().wait_for(&["config.json"], SOON)?;
    assert!(mountinfo::at(&files.target())?.is_empty());
    Ok(())
}

/// Children of a process, and their states (`proc_pid_stat(5)`).
fn children(parent: u32) -> Vec<(i32, char)> {
    let stat = |pid: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may have anything in it.
        let (_, rest) = text.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let (state, of) = (fields.next()?.chars().next()?, fields.next()?.parse::<u32>().ok()?);
        (of == parent).then_some((pid.parse().ok()?, state))
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| stat(&entry.file_name().to_string_lossy())).collect()
}

#[test]
fn as_the_first_process_of_a_container_it_takes_note_of_orphans() -> Result<()> {
    let files = FluidFiles::new()?;
    let mut mount = Launch::run(&files)?.under("unshare", &["--pid", "--fork", "--kill-child"]).start()?;
    // `unshare` waits for it.
    let own = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", mount.process.id()))?;
    let first: u32 = own.trim().parse()?;
    // Somebody runs a command in the container, which leaves two behind: one has ended at once, the other ends later.
    let command = "(true &) ; (sleep 600 &) ; exit 0";
    let ran = std::process::Command::new("nsenter")
        .args(["--pid", "--target", &first.to_string(), "sh", "-c", command])
        .status()?;
    assert!(ran.success());
    let orphan = wait_for("it has got the one that still runs", SOON, || {
        children(first).into_iter().find_map(|(pid, state)| (state == 'S').then_some(pid))
    })?;
    let orphan = rustix::process::Pid::from_raw(orphan).ok_or_else(|| anyhow::anyhow!("a process id"))?;
    rustix::process::kill_process(orphan, Signal::KILL)?;
    wait_for("nobody is left, dead or alive", SOON, || children(first).is_empty().then_some(()))?;
    // Without a handler of its own the first process of a container would not even notice.
    let pid = i32::try_from(first).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.ok_or_else(|| anyhow::anyhow!("a process id"))?, Signal::TERM)?;
    assert!(mount.process.wait(SOON)?.success());
    assert!(mountinfo::at(&files.target())?.is_empty());
    Ok(())
}

#[test]
fn in_a_user_namespace_of_its_own_it_says_who_can_use_the_mount() -> Result<()> {
    // Its root has every capability, and none over the machine's mounts.
    let files = FluidFiles::new()?;
    let mut mount = Launch::run(&files)?.under("unshare", &["--user", "--map-root-user"]).spawn()?;
    assert_eq!(mount.process.wait(SOON)?.code(), Some(1));
    mount.log().wait_for(
        &["user namespace of its own", "a mount namespace that belongs to it", "cannot mount at"],
        SOON,
    )?;
    drop(mount);

    let confined = ["--user", "--map-root-user", "--mount"];
    let mut mount = Launch::run(&files)?.under("unshare", &confined).spawn()?;
    mount.log().wait_for(&["user namespace of its own", "all others get EACCES"], SOON)?;
    let pid = mount.process.id().to_string();
    let inside = std::process::Command::new("nsenter")
        .args(["--user", "--mount", "--preserve-credentials", "--target", &pid, "ls", "-A"])
        .arg(files.target().join(".wasmount"))
        .output()?;
    let shown = String::from_utf8_lossy(&inside.stdout);
    ensure!(inside.status.success() && shown.contains("config"), "{inside:?}");
    let outside = format!("/proc/{pid}/root{}", files.target().display());
    let refused = names(outside)?.err().map(|error| error.kind());
    assert_eq!(refused, Some(std::io::ErrorKind::PermissionDenied), "not even root");
    assert!(mountinfo::at(&files.target())?.is_empty(), "nothing has come to the machine's own namespace");
    assert!(mount.terminate()?.success());
    Ok(())
}
