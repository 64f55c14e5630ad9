//! Metrics as Prometheus gets them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{exposition, read};
use wasmount_core::ports::{Operation, Operations, ServedFrom};
use wasmount_observe::metrics::{self, Health, MetricId, Source, TABLE, Value};
use wasmount_observe::{Metrics, Observer};
use wasmount_types::{Blame, ErrorKind, Ino};

const THREADS: u64 = 8;
const ROUNDS: u64 = 20_000;

/// Four operations; gives back the nanoseconds they took.
fn observe(observer: &Observer, n: u64) -> u64 {
    let micros = Duration::from_micros;
    let failed = Operation {
        error: Some((ErrorKind::TimedOut, Blame::Origin)),
        given: 0,
        from: None,
        ..read(Ino(300), ServedFrom::Origin, micros(700))
    };
    let opened = Operation {
        op: "open",
        from: Some(ServedFrom::Disk),
        passthrough: true,
        ..read(Ino(300), ServedFrom::Disk, micros(n % 50))
    };
    let operations = [
        read(Ino(300), ServedFrom::Memory, micros(n % 400)),
        read(Ino(301), ServedFrom::Origin, micros(90)),
        failed,
        opened,
    ];
    operations.iter().for_each(|operation| observer.finished(operation));
    operations.iter().map(|operation| operation.latency.as_nanos() as u64).sum()
}

#[test]
fn many_threads_count_exactly() {
    let observer = Observer::new();
    let metrics = Metrics::new(observer.clone());
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let observer = observer.clone();
            std::thread::spawn(move || (0..ROUNDS).map(|n| observe(&observer, n)).sum::<u64>())
        })
        .collect();
    // Whoever looks meanwhile sees numbers that fit together.
    while threads.iter().any(|thread| !thread.is_finished()) {
        exposition::parse(&metrics.snapshot().prometheus());
        std::thread::sleep(Duration::from_millis(1));
    }
    let nanos: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();

    let each = THREADS * ROUNDS;
    let snapshot = metrics.snapshot();
    let number = |id, labels: &[&str]| snapshot.number(id, labels).unwrap();
    assert_eq!(number(MetricId::Operations, &["read", "ok"]), (2 * each) as f64);
    assert_eq!(number(MetricId::Operations, &["read", "timed-out"]), each as f64);
    assert_eq!(number(MetricId::Operations, &["open", "ok"]), each as f64);
    assert_eq!(number(MetricId::ReadBytes, &["memory"]), (each * 4096) as f64);
    assert_eq!(number(MetricId::ReadBytes, &["origin"]), (each * 4096) as f64, "a failed read gave nothing");
    assert_eq!(number(MetricId::ReadBytes, &["disk"]), 0.0);
    assert_eq!(number(MetricId::PassthroughOpens, &[]), each as f64);
    assert_eq!(number(MetricId::ReadHitRatio, &[]), 0.5);
    let sum = |op| match snapshot.value(MetricId::OperationDuration, &[op]) {
        Some(Value::Histogram(histogram)) => histogram.sum(),
        other => panic!("{other:?}"),
    };
    assert_eq!(sum("read") + sum("open"), Duration::from_nanos(nanos));
    let blamed: f64 = [("read", "cache"), ("read", "origin"), ("open", "kernel")]
        .iter()
        .map(|(op, blame)| number(MetricId::OperationBlame, &[op, blame]))
        .sum();
    assert!((blamed - nanos as f64 / 1e9).abs() < 1e-6, "{blamed}");
}

#[test]
fn the_text_is_what_prometheus_reads() {
    const NAME: &str = "quote \" backslash \\ newline \n end";
    let observer = Observer::new();
    let metrics = Metrics::new(observer.clone());
    let _took: u64 = (0..1000).map(|n| observe(&observer, n)).sum();
    observer.finished(&read(Ino(300), ServedFrom::Disk, Duration::from_secs(100)));
    metrics.collect(|samples| {
        for (id, metric) in TABLE.iter().filter(|(_, metric)| metric.source == Source::Collected) {
            let labels: Vec<_> =
                metric.labels.iter().map(|label| label.values.first().copied().unwrap_or(NAME)).collect();
            samples.add(*id, &labels, 123_456_789_012_345_u64);
        }
    });
    let snapshot = metrics.snapshot();
    assert!(snapshot.faults().is_empty(), "{:?}", snapshot.faults());
    let families = exposition::parse(&snapshot.prometheus());
    let missing: Vec<_> = TABLE.iter().map(|(_, m)| m.name).filter(|n| !families.contains_key(*n)).collect();
    assert!(missing.is_empty(), "every row of the table can have a value: {missing:?}");
    for (_, metric) in TABLE {
        assert_eq!(families[metric.name].help, metric.help);
    }

    let state = &families["wasmount_mount_state"];
    assert_eq!(state.value(&[("mount", NAME), ("state", "opening")]), Some(123_456_789_012_345.0));
    let latency = &families["wasmount_operation_duration_seconds"];
    let below = |le| {
        let bucket = |(name, labels, _): &&(String, std::collections::BTreeMap<String, String>, f64)| {
            name.ends_with("_bucket") && labels["op"] == "read" && labels["le"] == le
        };
        latency.samples.iter().find(bucket).unwrap().2
    };
    // 0 to 50 µs: 51 of each 400 of the first kind. 700 µs and 100 s are in the buckets they belong to.
    assert_eq!(below("0.00005"), 51.0 * 2.0 + 51.0);
    assert_eq!(below("0.0005"), 2000.0);
    assert_eq!(below("0.001"), 3000.0);
    assert_eq!(below("60"), 3000.0);
    assert_eq!(below("+Inf"), 3001.0);
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Sends `text` and reads until the server closes.
fn talk(address: SocketAddr, text: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

fn get(address: SocketAddr, path: &str) -> Answer {
    talk(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http() {
    let observer = Observer::new();
    let metrics = Metrics::new(observer.clone());
    let well = Arc::new(AtomicBool::new(true));
    let health: Health = {
        let well = well.clone();
        Arc::new(move || match well.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err("mount `m` is not available: nobody answers".into()),
        })
    };
    let runtime = tokio::runtime::Handle::current();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listening = metrics::serve(any, metrics.clone(), health.clone(), &runtime).unwrap();
    let address = listening.address();
    observe(&observer, 1);

    let again = metrics::serve(address, metrics.clone(), health, &runtime).unwrap_err().to_string();
    assert!(again.contains("--metrics-addr") && again.contains("another process"), "{again}");

    tokio::task::spawn_blocking(move || {
        // Clients that say nothing do not keep others from being served.
        let idle: Vec<_> = (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();
        let answer = get(address, "/metrics?x=y");
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
        let families = exposition::parse(&answer.body);
        let operations = &families["wasmount_operations_total"];
        assert_eq!(operations.value(&[("op", "read"), ("result", "ok")]), Some(2.0));

        assert_eq!(get(address, "/healthz").status, 200);
        well.store(false, Ordering::SeqCst);
        let ill = get(address, "/healthz");
        assert_eq!((ill.status, ill.body.as_str()), (503, "mount `m` is not available: nobody answers\n"));
        assert_eq!(get(address, "/").status, 404);
        assert_eq!(get(address, "/metrics/../healthz").status, 404);

        let head = talk(address, "HEAD /metrics HTTP/1.0\r\n\r\n");
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        let post = talk(address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(post.status, 405);
        assert!(post.head.contains("allow: get, head"), "{}", post.head);
        let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(7000));
        assert_eq!(talk(address, &long).status, 404);
        drop(idle);
    })
    .await
    .unwrap();

    drop(listening);
    let mut tries = 0;
    while TcpStream::connect(address).is_ok() {
        tries += 1;
        assert!(tries < 500, "it still listens");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
