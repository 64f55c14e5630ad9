//! What happens to a real cluster while it is read: every byte is the one that was written, and no request fails before its
//! deadline.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::Bytes;
use common::{Cluster, DEADLINE_MS, cluster, pattern, payload, read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wasmount_ceph::osd::{Extent, Op};
use wasmount_ceph::osdmap::flags;
use wasmount_ceph::rados::{OpRequest, RadosError};
use wasmount_ceph_native::Client;

const OBJECTS: u64 = 48;
const LENGTH: usize = 256 << 10;

/// Threads that read objects over and over and look at every byte.
struct Readers {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Duration>>,
}

impl Readers {
    fn start(client: &Arc<Client>, pool: i64) -> Self {
        let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let reader = |first: u64| {
            let (client, stop, reads) = (Arc::clone(client), Arc::clone(&stop), Arc::clone(&reads));
            std::thread::spawn(move || {
                let mut longest = Duration::ZERO;
                for round in first.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let object = round * 7 % OBJECTS;
                    let (offset, length) = (round * 4096 % LENGTH as u64, 64 << 10);
                    let expected = length.min(LENGTH - offset as usize);
                    let begin = Instant::now();
                    let request = read(&client, pool, &format!("object-{object}"), offset, length as u64);
                    let got = payload(client.execute(request).unwrap());
                    assert!(
                        got == pattern(object, offset, expected),
                        "wrong bytes in object {object} at {offset}"
                    );
                    longest = longest.max(begin.elapsed());
                    reads.fetch_add(1, Ordering::Relaxed);
                }
                longest
            })
        };
        let threads = (0..4).map(|number| reader(number * 1_000)).collect();
        Self { stop, reads, threads }
    }

    fn count(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Waits until all objects were read again, which proves that nothing is stuck.
    fn go_round(&self) {
        let (from, begin) = (self.count(), Instant::now());
        while self.count() < from + 4 * OBJECTS {
            assert!(begin.elapsed() < Duration::from_millis(DEADLINE_MS), "reads do not go on");
            assert!(!self.threads.iter().any(JoinHandle::is_finished), "a reader has failed");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The number of reads, and the longest.
    fn end(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let longest = self.threads.into_iter().map(|thread| thread.join().unwrap()).max();
        (self.reads.load(Ordering::Relaxed), longest.unwrap())
    }
}

fn filled(cluster: &Cluster, client: &Client, name: &str) -> i64 {
    let pool = cluster.pool(client, name, &["8"]);
    for object in 0..OBJECTS {
        let op: Op<Bytes> = Op::WriteFull(pattern(object, 0, LENGTH));
        let deadline = client.deadline(DEADLINE_MS);
        client
            .execute(OpRequest::new(pool, format!("object-{object}"), vec![op]).deadline(deadline))
            .unwrap();
    }
    pool
}

fn pause(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

/// One test, because the cluster is one: what one fault leaves would disturb the next test.
#[test]
fn readers_do_not_notice() {
    let Some(cluster) = cluster() else { return };
    let client = Arc::new(cluster.client());
    let pool = filled(cluster, &client, "faults");
    let readers = Readers::start(&client, pool);
    let ceph = |arguments: &[&str]| cluster.run(&[&["ceph"], arguments].concat());
    let told = |what: &str| eprintln!("{what}: {} reads", readers.count());
    readers.go_round();
    told("quiet");

    let (mut cut, begin) = (0, Instant::now());
    for round in 0.. {
        if round >= 20 && cut >= 20 {
            break;
        }
        // The later a slow machine connects again, the longer are the pauses between its attempts: it may read first.
        let read = readers.count();
        while round >= 20 && readers.count() == read {
            assert!(begin.elapsed() < Duration::from_millis(DEADLINE_MS), "{cut} connections were cut");
            std::thread::sleep(Duration::from_millis(20));
        }
        cut += client.cut().unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
    readers.go_round();
    told("all connections cut, 20 times at least");

    cluster.daemon("osd.1", "kill");
    pause(5);
    cluster.daemon("osd.1", "start");
    cluster.peered("faults");
    readers.go_round();
    told("osd.1 killed for 5 s");

    cluster.daemon("osd.2", "stop");
    cluster.daemon("osd.2", "start");
    readers.go_round();
    told("osd.2 restarted");

    // OSDs that have just come cannot agree about their placement groups without a monitor.
    cluster.peered("faults");
    cluster.daemon("mon.a", "kill");
    pause(2);
    readers.go_round();
    told("without a monitor");
    cluster.daemon("mon.a", "start");
    readers.go_round();
    told("monitor restarted");

    ceph(&["osd", "out", "0"]);
    pause(3);
    ceph(&["osd", "in", "0"]);
    readers.go_round();
    told("osd.0 out and in");

    ceph(&["osd", "pool", "set", "faults", "pg_num", "16"]);
    pause(3);
    readers.go_round();
    told("placement groups split");

    ceph(&["osd", "primary-affinity", "0", "0"]);
    ceph(&["osd", "down", "1"]);
    readers.go_round();
    told("osd.0 leads nothing, osd.1 was called down");

    let paused = |wanted: bool| {
        Cluster::sees(&client, move |map| (wanted == (map.flags & flags::PAUSE_READ != 0)).then_some(()));
    };
    ceph(&["osd", "set", "pause"]);
    paused(true);
    // An OSD still answers what it had been asked before, and one that was called down takes its time.
    let nobody_reads = || {
        let before = readers.count();
        pause(2);
        readers.count() == before
    };
    assert!((0..10).any(|_| nobody_reads()), "it is read on");
    ceph(&["osd", "unset", "pause"]);
    readers.go_round();
    told("paused for 2 s");

    let (reads, longest) = readers.end();
    eprintln!("{reads} reads, the longest took {longest:?}");

    ceph(&["osd", "set", "pause"]);
    paused(true);
    let soon =
        OpRequest::new(pool, "object-0", vec![Op::Read(Extent::new(0, 8))]).deadline(client.deadline(5_000));
    let error = client.execute(soon).unwrap_err();
    assert!(matches!(&error, RadosError::TimedOut { waiting } if waiting.contains("paused")), "{error}");
    ceph(&["osd", "unset", "pause"]);
}
