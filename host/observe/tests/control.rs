//! The control directory, asked as a kernel asks.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{Paths, SPACED, ctx, read};
use wasmount_core::FileSystem;
use wasmount_core::control::{ControlFs, is_control};
use wasmount_core::fs::ReadRequest;
use wasmount_core::ports::{Operation, Operations, ServedFrom};
use wasmount_observe::metrics::MetricId;
use wasmount_observe::{Metrics, Observer, control_files};
use wasmount_types::{Blame, ErrorKind, Fh, Ino, Name};

struct Mount {
    observer: Arc<Observer>,
    metrics: Arc<Metrics>,
    paths: Arc<Paths>,
    fs: ControlFs,
}

fn mount() -> Mount {
    let paths = Arc::new(Paths::default());
    let observer = Observer::new();
    observer.name_nodes_by(paths.clone());
    let metrics = Metrics::new(observer.clone());
    let files = control_files(&observer, &metrics, || "memory = 512 MiB\n".into());
    let fs = ControlFs::new(paths.clone(), 0, files);
    Mount { observer, metrics, paths, fs }
}

impl Mount {
    async fn open(&self, file: &str) -> Fh {
        let name = |text: &str| Name::new(text.as_bytes()).unwrap();
        let directory = self.fs.lookup(ctx(), Ino::ROOT, &name(".wasmount")).await.unwrap();
        let file = self.fs.lookup(ctx(), directory.attr.ino, &name(file)).await.unwrap();
        self.fs.open(ctx(), file.attr.ino).await.unwrap().fh
    }

    async fn text(&self, file: &str) -> String {
        let fh = self.open(file).await;
        let mut text = Vec::new();
        loop {
            let data = self.fs.read(ctx(), fh, ReadRequest::direct(text.len() as u64, 100)).await.unwrap();
            if data.bytes.is_empty() {
                break;
            }
            text.extend_from_slice(&data.bytes);
        }
        self.fs.release(fh);
        String::from_utf8(text).unwrap()
    }

    async fn lines(&self, fh: Fh) -> String {
        let data = self.fs.read(ctx(), fh, ReadRequest::direct(0, 1 << 17)).await.unwrap();
        String::from_utf8(data.bytes.to_vec()).unwrap()
    }
}

#[tokio::test]
async fn the_access_log_shows_each_operation() {
    let mount = mount();
    let log = mount.open("accesslog").await;
    let took = Duration::from_micros(1234);
    mount.observer.finished(&read(SPACED, ServedFrom::Disk, took));
    let base =
        Operation { offset: 0, size: 0, given: 0, fh: None, ..read(Ino(400), ServedFrom::Memory, took) };
    let failed = Some((ErrorKind::NotFound, Blame::Caller));
    let lookup = Operation { op: "lookup", name: Some(b"na\xffme"), error: failed, from: None, ..base };
    mount.observer.finished(&lookup);
    mount.observer.finished(&Operation { ino: Ino::ROOT, name: Some(b"top"), ..lookup });
    mount.observer.finished(&Operation { ino: Ino(0xabc_def0), op: "getattr", ..base });
    mount.observer.finished(&Operation { op: "open", passthrough: true, ..base });
    let text = mount.lines(log).await;
    let rows: Vec<Vec<_>> = text.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(rows[0][1..].len(), rows[1].len(), "{text}");
    for row in &rows[1..] {
        assert!(row[0].ends_with('Z') && row[0].contains('T') && row[0].len() >= 20, "{row:?}");
    }
    let rest: Vec<_> = rows[1..].iter().map(|row| row[1..].join(" ")).collect();
    let want = [
        "read /dir/a\\x20name\\x0a 12 8192 4096 4096 ok 0.001234 cache 77 0",
        "lookup /dir/400/na\\xffme - - - - not-found 0.001234 caller 77 0",
        "lookup /top - - - - not-found 0.001234 caller 77 0",
        "getattr <000000000abcdef0> - - - - ok 0.001234 cache 77 0",
        "open /dir/400 - - - - ok 0.001234 kernel 77 0",
    ];
    assert_eq!(rest, want);
    mount.fs.release(log);
}

#[tokio::test]
async fn nothing_is_looked_up_while_nobody_reads() {
    let mount = mount();
    // At no cost of time nothing is slow either, so that only the access log could ask for a path.
    let observe = || mount.observer.finished(&read(SPACED, ServedFrom::Memory, Duration::ZERO));
    (0..1000).for_each(|_| observe());
    assert_eq!(mount.paths.asked.load(Ordering::SeqCst), 0);
    let log = mount.open("accesslog").await;
    (0..10).for_each(|_| observe());
    assert_eq!(mount.paths.asked.load(Ordering::SeqCst), 10);
    mount.fs.release(log);
    (0..1000).for_each(|_| observe());
    assert_eq!(mount.paths.asked.load(Ordering::SeqCst), 10);
}

#[tokio::test]
async fn the_control_directory_does_not_observe_itself() {
    let mount = mount();
    let log = mount.open("accesslog").await;
    let header = mount.lines(log).await;
    assert!(header.starts_with("# time"), "{header}");
    for ino in (2..256).map(Ino) {
        assert!(is_control(ino));
        mount.observer.finished(&read(ino, ServedFrom::Memory, Duration::from_secs(1)));
    }
    mount.observer.finished(&read(Ino(300), ServedFrom::Memory, Duration::ZERO));
    assert_eq!(mount.lines(log).await.lines().count(), 1);
    assert_eq!(mount.metrics.snapshot().number(MetricId::Operations, &["read", "ok"]), Some(1.0));
    assert!(!mount.text("slow").await.contains(".wasmount"));
}

#[tokio::test]
async fn stats_slow_and_config_are_texts_for_people() {
    let mount = mount();
    mount.metrics.collect(|samples| {
        samples.add(MetricId::Memory, &["windows"], 96_u64 << 20);
        samples.add(MetricId::FetchedBytes, &[], 8192_u64);
        for (state, holds) in [("opening", false), ("ready", true), ("failed", false)] {
            samples.add(MetricId::MountState, &["photos", state], holds);
        }
    });
    for _ in 0..99 {
        mount.observer.finished(&read(Ino(300), ServedFrom::Memory, Duration::from_micros(150)));
    }
    mount.observer.finished(&read(Ino(444), ServedFrom::Origin, Duration::from_secs(3)));
    let failed = Some((ErrorKind::Throttled, Blame::Origin));
    let failed = Operation { error: failed, ..read(Ino(444), ServedFrom::Origin, Duration::from_millis(3)) };
    mount.observer.finished(&failed);

    let stats = mount.text("stats").await;
    let rows: Vec<Vec<_>> = stats.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |first: &str| {
        rows.iter().find(|row| row.first() == Some(&first)).unwrap_or_else(|| panic!("{first}: {stats}"))
    };
    assert_eq!(row("photos"), &["photos", "ready"]);
    assert_eq!(row("memory"), &["memory", "396", "KiB", "99.0%", "99"]);
    assert_eq!(row("origin"), &["origin", "4.00", "KiB", "1.0%", "1"]);
    let reads = rows.iter().find(|row| row.len() == 7 && row[0] == "read").unwrap();
    assert_eq!(reads[..3], ["read", "101", "1"]);
    // Half of 101 lies at 50.5 of 99 in the bucket from 100 to 200 µs.
    assert_eq!(reads[3], "151us");
    // And 99 % at 99.99, nearly the end of the bucket from 2 to 5 ms.
    assert_eq!(reads[5], "4.97ms", "{stats}");
    assert!(rows.contains(&vec!["read", "throttled", "1"]), "{stats}");
    assert!(stats.contains("memory bytes windows") && stats.contains("96.0 MiB"), "{stats}");
    assert!(stats.contains("window efficiency ratio"), "{stats}");

    let slow = mount.text("slow").await;
    assert!(slow.contains("/dir/444"), "{slow}");
    assert_eq!(mount.text("config").await, "memory = 512 MiB\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_of_many_threads_all_reach_the_log() {
    const THREADS: u64 = 4;
    const EACH: u64 = 2000;
    let mount = Arc::new(mount());
    let log = mount.open("accesslog").await;
    let writer = |thread: u64| {
        let observer = mount.observer.clone();
        std::thread::spawn(move || {
            for n in 0..EACH {
                observer.finished(&read(Ino(1000 + thread * EACH + n), ServedFrom::Memory, Duration::ZERO));
            }
        })
    };
    let writers: Vec<_> = (0..THREADS).map(writer).collect();
    // All of them together are less than a reader's queue holds, so nothing may be lost however slowly this reads.
    let mut seen = std::collections::BTreeSet::new();
    while (seen.len() as u64) < THREADS * EACH {
        for line in mount.lines(log).await.lines().filter(|line| *line != "# idle") {
            assert!(!line.starts_with("# lost"), "{line}");
            if !line.starts_with('#') {
                assert!(seen.insert(line.split(' ').nth(2).unwrap().to_owned()), "{line} twice");
            }
        }
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(mount.metrics.snapshot().number(MetricId::LogLost, &[]), Some(0.0));
}
