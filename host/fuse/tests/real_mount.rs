//! The adapter through a real mount. Needs root and `/dev/fuse`.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod memory;

use memory::fixture::{Fixture, mounts_at, target};
use memory::{BIG, BIG_SIZE, MANY, Memory, big_byte, content};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use wasmount_fuse::{MountError, MountOptions, mount};
use wasmount_pipe::Pipes;

#[test]
fn kernel_sees_type_options_and_read_ahead() {
    let fixture = Fixture::new();
    let here = mounts_at(&target(&fixture.dir));
    assert_eq!(here.len(), 1);
    assert_eq!(here[0].fs_type, "fuse.wasmount");
    assert_eq!(here[0].source, "memory_test");
    let line = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = line.lines().find(|line| line.starts_with("memory_test ")).unwrap().to_owned();
    for option in ["ro,", "nosuid", "nodev", "default_permissions", "allow_other"] {
        assert!(line.contains(option), "{option} in {line}");
    }
    let bdi = format!("/sys/class/bdi/{}/read_ahead_kb", here[0].device);
    assert_eq!(fs::read_to_string(bdi).unwrap().trim(), "1024");
}

#[test]
fn attributes_and_statfs() {
    let fixture = Fixture::new();
    let meta = fs::metadata(fixture.path("big")).unwrap();
    assert_eq!((meta.len(), meta.uid(), meta.gid(), meta.mode()), (BIG_SIZE, 12, 34, 0o100_644));
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_600_000_000, 5));
    assert!(fs::metadata(fixture.path("many")).unwrap().is_dir());
    let df = rustix::fs::statvfs(target(&fixture.dir)).unwrap();
    assert_eq!(
        (df.f_blocks, df.f_bfree, df.f_bavail, df.f_frsize, df.f_namemax),
        (1001, 400, 300, 4096, 255)
    );
    assert_eq!((df.f_files, df.f_ffree), (77, 7));
    let df = rustix::fs::statvfs(fixture.path("many")).unwrap();
    assert_eq!(df.f_blocks, 1003, "asked for this node");
    let gone = fs::metadata(fixture.path("nothing")).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    let long = fs::metadata(fixture.path(&"x".repeat(300))).unwrap_err();
    assert_eq!(long.raw_os_error(), Some(36), "ENAMETOOLONG");
}

#[test]
fn holes_are_found_by_lseek() {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;
    const MIB: u64 = 1 << 20;
    let fixture = Fixture::new();
    let file = File::open(fixture.path("big")).unwrap();
    assert_eq!(seek(&file, SeekFrom::Data(5)), Ok(5));
    assert_eq!(seek(&file, SeekFrom::Hole(5)), Ok(MIB));
    assert_eq!(seek(&file, SeekFrom::Data(MIB + 7)), Ok(2 * MIB));
    assert_eq!(seek(&file, SeekFrom::Hole(BIG_SIZE)), Err(Errno::NXIO));
    assert_eq!(seek(&file, SeekFrom::Data(BIG_SIZE)), Err(Errno::NXIO));
    assert_eq!(seek(&file, SeekFrom::End(0)), Ok(BIG_SIZE), "the kernel knows this by itself");
}

/// Reads all of `big` in reads of this size, which arrive as they are, and compares.
fn read_big(fixture: &Fixture, size: usize) {
    fixture.fs.direct.store(true, Ordering::Relaxed);
    let mut file = File::open(fixture.path("big")).unwrap();
    let (mut at, mut piece) = (0, vec![0; size]);
    loop {
        let length = file.read(&mut piece).unwrap();
        if length == 0 {
            break;
        }
        let right = piece[..length].iter().zip(at..).all(|(byte, at)| *byte == big_byte(at));
        assert!(right, "{length} bytes at {at}");
        at += length as u64;
    }
    assert_eq!(at, BIG_SIZE);
}

#[test]
fn reads_are_answered_out_of_pipes() {
    let fixture = Fixture::new();
    let fresh = || *fixture.fs.pipes.lock().unwrap() = Some(Pipes::new(8, 1 << 20));
    fresh();
    // Not within the deadline of a READ.
    assert_eq!(content(BIG).len() as u64, BIG_SIZE);
    let reads = || fixture.fs.reads.swap(0, Ordering::SeqCst);
    read_big(&fixture, 512 << 10);
    assert_eq!((reads(), fixture.fs.piped.swap(0, Ordering::SeqCst)), (81, 80), "the last one finds the end");
    // As many pieces as a pipe of this size has room for: with a header, one too many. That is not tried each time.
    // (What is read into memory that begins inside a page comes as two READs.)
    read_big(&fixture, 1 << 20);
    assert!(reads() > 40 && (1..10).contains(&fixture.fs.piped.load(Ordering::SeqCst)));
    fresh();
    // What the kernel does not take as an answer is an error, once: from then on nothing is sent out of pipes.
    fixture.fs.too_long.store(1, Ordering::SeqCst);
    let mut file = File::open(fixture.path("big")).unwrap();
    assert!(file.read(&mut vec![0; 512 << 10]).is_err());
    fixture.fs.too_long.store(1, Ordering::SeqCst);
    read_big(&fixture, 512 << 10);
    assert_eq!(fixture.fs.too_long.load(Ordering::SeqCst), 1, "nobody asked for pipes");
}

#[test]
fn ten_thousand_entries_once_each_and_every_lookup_is_accounted_for() {
    let fixture = Fixture::new();
    let listed: Vec<String> = fs::read_dir(fixture.path("many"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let number: u64 = name.strip_prefix("file-").unwrap().parse().unwrap();
            assert_eq!(entry.metadata().unwrap().len(), 1000 + number);
            name
        })
        .collect();
    assert_eq!(listed.len() as u64, MANY);
    assert_eq!(listed.iter().collect::<HashSet<_>>().len() as u64, MANY);
    let messages = fixture.fs.readdirs.load(Ordering::Relaxed);
    assert!(messages < 150, "{messages} READDIRPLUS messages for 10,000 entries");

    // What the kernel gives back must be exactly what was counted, or nodes leak or vanish early.
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        let lookups = fixture.fs.lookups.lock().unwrap();
        assert!(lookups.values().all(|count| *count >= 0), "a node was forgotten more often than looked up");
        if lookups.iter().filter(|(ino, _)| **ino >= 1000).all(|(_, count)| *count == 0) {
            break;
        }
        drop(lookups);
        assert!(Instant::now() < patience, "some look-ups were never given back");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_page_of_vanished_entries_is_not_the_end_of_the_directory() {
    let fixture = Fixture::new();
    let names: Vec<_> = fs::read_dir(fixture.path("vanishing"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        names,
        ["file-0", "file-1", "file-2"],
        "of {} entries before them none is left",
        memory::VANISHED
    );
}

#[test]
fn plain_readdir_has_dots_first() {
    let fixture = Fixture::new();
    let out = std::process::Command::new("ls").arg("-fa").arg(target(&fixture.dir)).output().unwrap();
    let names = String::from_utf8(out.stdout).unwrap();
    assert_eq!(
        names.lines().collect::<Vec<_>>(),
        [".", "..", "many", "big", "hang", "panic", "slow-open", "vanishing"]
    );
}

#[test]
fn parallel_readers_see_the_right_bytes() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for reader in 0..8_u64 {
            let path = fixture.path("big");
            scope.spawn(move || {
                let file = File::open(path).unwrap();
                let mut buffer = vec![0; 300_000];
                for step in 0..20 {
                    let offset = (reader * 7_654_321 + step * 1_234_567) % BIG_SIZE;
                    let n = file.read_at(&mut buffer, offset).unwrap();
                    assert_eq!(n as u64, (BIG_SIZE - offset).min(300_000));
                    for (i, byte) in buffer[..n].iter().enumerate() {
                        assert_eq!(*byte, big_byte(offset + i as u64));
                    }
                }
                assert_eq!(file.read_at(&mut buffer, BIG_SIZE).unwrap(), 0);
            });
        }
    });
    let before = fixture.fs.reads.load(Ordering::Relaxed);
    let mut all = Vec::new();
    File::open(fixture.path("big")).unwrap().read_to_end(&mut all).unwrap();
    assert_eq!(all.len() as u64, BIG_SIZE);
    assert!(all.iter().enumerate().all(|(i, byte)| *byte == big_byte(i as u64)));
    let reads = fixture.fs.reads.load(Ordering::Relaxed) - before;
    assert!(reads <= 80, "{reads} READs for 40 MiB: read-ahead was not raised");
}

#[test]
fn whatever_changes_something_is_erofs() {
    let fixture = Fixture::new();
    let erofs = Some(30);
    let code = |result: std::io::Result<()>| result.unwrap_err().raw_os_error();
    assert_eq!(code(fs::write(fixture.path("new"), "x")), erofs);
    assert_eq!(code(fs::write(fixture.path("big"), "x")), erofs);
    assert_eq!(code(fs::create_dir(fixture.path("dir"))), erofs);
    assert_eq!(code(fs::remove_file(fixture.path("big"))), erofs);
    assert_eq!(code(fs::remove_dir(fixture.path("many"))), erofs);
    assert_eq!(code(fs::rename(fixture.path("big"), fixture.path("bigger"))), erofs);
    assert_eq!(code(fs::hard_link(fixture.path("big"), fixture.path("link"))), erofs);
    assert_eq!(code(std::os::unix::fs::symlink("big", fixture.path("link"))), erofs);
    assert_eq!(code(fs::set_permissions(fixture.path("big"), fs::Permissions::from_mode(0o600))), erofs);
    assert_eq!(File::options().append(true).open(fixture.path("big")).unwrap_err().raw_os_error(), erofs);
}

#[test]
fn extended_attributes() {
    let fixture = Fixture::new();
    let path = fixture.path("big");
    let mut buffer = [0; 64];
    let n = rustix::fs::getxattr(&path, "user.wasmount.error", &mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"no such bucket");
    assert_eq!(rustix::fs::getxattr_query(&path, "user.wasmount.error").unwrap(), 14);
    let short = rustix::fs::getxattr(&path, "user.wasmount.error", &mut buffer[..3]).unwrap_err();
    assert_eq!(short, rustix::io::Errno::RANGE);
    let missing = rustix::fs::getxattr(&path, "user.other", &mut buffer).unwrap_err();
    assert_eq!(missing, rustix::io::Errno::NODATA);
    // Not "there is none here": that would make `ls -l` ask for each file.
    for name in ["system.posix_acl_access", "security.capability"] {
        let refused = rustix::fs::getxattr(&path, name, &mut buffer).unwrap_err();
        assert_eq!(refused, rustix::io::Errno::OPNOTSUPP, "{name}");
    }
    let n = rustix::fs::listxattr(&path, &mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"user.a\0user.wasmount.error\0");
}

#[test]
fn a_hanging_request_is_answered_by_its_deadline_and_the_mount_lives() {
    let fixture = Fixture::new();
    let started = Instant::now();
    let error = fs::read(fixture.path("hang")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(110), "ETIMEDOUT: {error}");
    // The kernel may read ahead and then once more for the reader.
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert_eq!(fs::metadata(fixture.path("big")).unwrap().len(), BIG_SIZE);
}

#[test]
fn a_panic_is_eio_and_the_mount_lives() {
    let fixture = Fixture::new();
    let error = fs::read(fixture.path("panic")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5), "EIO: {error}");
    assert_eq!(fs::metadata(fixture.path("big")).unwrap().len(), BIG_SIZE);
}

#[test]
fn an_open_that_succeeds_too_late_is_given_back() {
    let fixture = Fixture::new();
    let error = File::open(fixture.path("slow-open")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(110));
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(fixture.fs.open.load(Ordering::SeqCst), 0, "opened late, and released by the adapter");
}

#[test]
fn a_umount_from_outside_ends_the_session() {
    let fixture = Fixture::new();
    let status = std::process::Command::new("umount").arg(target(&fixture.dir)).status().unwrap();
    assert!(status.success());
    fixture.wait_for_end();
    fixture.mounted.unmount().expect("unmounting what is gone is fine");
}

#[test]
fn a_mount_that_the_kernel_has_ended_is_not_taken_for_unmounted() {
    let fixture = Fixture::new();
    // What it does itself when a request has not been answered for too long.
    let control = tempfile::tempdir().unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("none", control.path(), "fusectl", flags, None).unwrap();
    let device = &mounts_at(&target(&fixture.dir))[0].device;
    let minor = device.strip_prefix("0:").unwrap();
    let aborted = fs::write(control.path().join(minor).join("abort"), "1");
    rustix::mount::unmount(control.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    aborted.unwrap();
    let end = async { tokio::time::timeout(Duration::from_secs(5), fixture.mounted.ended()).await };
    let error = fixture.runtime.block_on(end).expect("the session ends").unwrap_err().to_string();
    assert!(
        error.contains("the kernel ended the connection") && error.contains("no answer for 300 s"),
        "{error}"
    );
    assert_eq!(mounts_at(&target(&fixture.dir)).len(), 1, "dead, and the next process takes it away");
}

#[test]
fn unmounting_leaves_open_files_to_their_users() {
    let fixture = Fixture::new();
    let mut file = File::open(fixture.path("big")).unwrap();
    fixture.mounted.unmount().unwrap();
    assert!(mounts_at(&target(&fixture.dir)).is_empty());
    let mut first = [0];
    file.read_exact(&mut first).unwrap();
    assert_eq!(first[0], big_byte(0));
    drop(file);
    fixture.wait_for_end();
}

#[test]
fn dead_mounts_at_the_target_are_detached_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = target(&dir);
    fs::create_dir_all(&path).unwrap();
    // Two processes that died, one after the other: FUSE mounts whose descriptor is closed.
    for _ in 0..2 {
        let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let data =
            format!("fd={},rootmode=40000,user_id=0,group_id=0", std::os::fd::AsRawFd::as_raw_fd(&device));
        let data = std::ffi::CString::new(data).unwrap();
        // Mounting below the target's own path, since a lookup of a dead mount fails.
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("dead", &path, "fuse", flags, Some(data.as_c_str())).unwrap();
        drop(device);
    }
    assert_eq!(mounts_at(&path).len(), 2);
    assert_eq!(fs::read_dir(&path).unwrap_err().raw_os_error(), Some(107), "ENOTCONN");
    let fixture = Fixture::at(dir);
    assert_eq!(mounts_at(&path).len(), 1);
    assert_eq!(fs::metadata(fixture.path("big")).unwrap().len(), BIG_SIZE);
}

#[test]
fn a_live_mount_of_another_program_is_never_touched_and_an_own_one_is_taken_over() {
    let fixture = Fixture::new();
    let mut options = MountOptions::new(target(&fixture.dir));
    let runtime = fixture.runtime.handle().clone();
    let Err(error @ MountError::Stale(_)) = mount(Arc::new(Memory::default()), runtime.clone(), &options)
    else {
        panic!("mounted over a live mount of another program")
    };
    let text = error.to_string();
    assert!(text.contains("alive") && text.contains("memory_test"), "{text}");
    assert_eq!(fs::metadata(fixture.path("big")).unwrap().len(), BIG_SIZE, "it still works");

    options.source = "memory test".into();
    let successor = mount(Arc::new(Memory::default()), runtime, &options).unwrap();
    fixture.wait_for_end();
    assert_eq!(mounts_at(&target(&fixture.dir)).len(), 1);
    fixture.mounted.unmount().unwrap();
    assert_eq!(
        mounts_at(&target(&fixture.dir)).len(),
        1,
        "the predecessor leaves its successor's mount alone"
    );
    assert_eq!(fs::metadata(fixture.path("big")).unwrap().len(), BIG_SIZE);
    successor.unmount().unwrap();
}

#[test]
fn a_successor_with_the_device_number_of_its_predecessor_is_not_taken_for_it() {
    const TAKEOVERS: usize = 50;
    let fixture = Fixture::new();
    let mut options = MountOptions::new(target(&fixture.dir));
    options.source = "memory test".into();
    let next = || mount(Arc::new(Memory::default()), fixture.runtime.handle().clone(), &options).unwrap();
    let mut mounted = next();
    fixture.wait_for_end();
    for _ in 0..TAKEOVERS {
        // The number that the predecessor gives back is the lowest one that is free.
        let successor = next();
        let end = async { tokio::time::timeout(Duration::from_secs(5), mounted.ended()).await };
        fixture.runtime.block_on(end).expect("the session ends").expect("as one that was unmounted");
        mounted = successor;
    }
    mounted.unmount().unwrap();
}

#[test]
fn a_mount_that_ends_does_not_make_another_one_busy() {
    const TIMES: usize = 50;
    let fixture = Fixture::new();
    let at = |place: &Path| {
        let options = MountOptions::new(place);
        mount(Arc::new(Memory::default()), fixture.runtime.handle().clone(), &options).unwrap()
    };
    for time in 0..TIMES {
        // Nobody has been there before.
        let place = |name| fixture.dir.path().join(format!("{name} {time}"));
        at(&place("first")).unmount().unwrap();
        // It may get the device number of the first one, whose end is still being looked at.
        let second = at(&place("second"));
        let unmounted = rustix::mount::unmount(place("second"), rustix::mount::UnmountFlags::empty());
        second.unmount().unwrap();
        assert_eq!(unmounted, Ok(()), "time {time}");
    }
}

#[test]
fn mounts_that_are_not_fuse_are_never_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = target(&dir);
    fs::create_dir_all(&path).unwrap();
    rustix::mount::mount("mine", &path, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    fs::write(path.join("precious"), "data").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let result = mount(Arc::new(Memory::default()), runtime.handle().clone(), &MountOptions::new(&path));
    let kept = fs::read_to_string(path.join("precious"));
    rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).unwrap();
    let Err(error @ MountError::Stale(_)) = result else { panic!("mounted over a tmpfs") };
    let text = error.to_string();
    assert!(text.contains("tmpfs") && text.contains("thin-fuse"), "{text}");
    assert_eq!(kept.unwrap(), "data");
}
