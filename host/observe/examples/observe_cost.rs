//! What observing costs: nanoseconds of processor time for each operation, by how long the operations take and who reads.
//!
//! `cargo run --release -p wasmount-observe --example observe_cost`

use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmount_core::control::Content;
use wasmount_core::ports::{Operation, Operations, ServedFrom};
use wasmount_observe::{Metrics, Observer, control_files};
use wasmount_types::{Fh, Ino, RequestCtx};

const OPERATIONS: u64 = 4_000_000;

fn main() {
    let micros = Duration::from_micros;
    println!("| threads | latency | access log | ns of CPU each |\n|---|---|---|---|");
    for (threads, latency, reads, count) in [
        (1, micros(20), false, OPERATIONS),
        (2, micros(20), false, OPERATIONS),
        (2, micros(400), false, OPERATIONS),
        (2, micros(3000), false, OPERATIONS),
        (1, micros(20), true, OPERATIONS / 10),
    ] {
        let observer = Observer::new();
        let metrics = Metrics::new(observer.clone());
        let files = control_files(&observer, &metrics, String::new);
        // Its queue fills up and stays full: the line is made all the same.
        let reader = reads.then(|| {
            files.iter().find_map(|(_, file)| match file.open() {
                Ok(Content::Stream(stream)) => Some(stream),
                _ => None,
            })
        });
        let each = measure(&observer, threads, latency, count);
        drop(reader);
        let log = if reads { "read" } else { "-" };
        println!("| {threads} | {} µs | {log} | {each:.0} |", latency.as_micros());
    }
}

fn measure(observer: &Arc<Observer>, threads: u64, latency: Duration, count: u64) -> f64 {
    let before = cpu();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || run(observer, thread, latency, count / threads));
        }
    });
    (cpu() - before).as_nanos() as f64 / count as f64
}

fn run(observer: &Observer, thread: u64, latency: Duration, count: u64) {
    let ctx = RequestCtx::internal(Instant::now());
    for n in 0..count {
        observer.finished(&Operation {
            op: "read",
            // A thousand files a thread, so that nothing stays known to `slow`.
            ino: Ino(1000 + thread * 1000 + n % 1000),
            name: None,
            fh: Some(Fh(n)),
            offset: n,
            size: 4096,
            given: 4096,
            ctx,
            latency,
            error: None,
            from: Some(ServedFrom::Memory),
            passthrough: false,
        });
    }
}

/// Processor time of this process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
