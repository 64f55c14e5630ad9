#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::*;
use wasmount_core::ports::Operation;
use wasmount_types::{Blame, ErrorKind, RequestCtx};

fn operation(ino: u64, latency: Duration) -> Operation<'static> {
    Operation {
        op: "read",
        ino: Ino(ino),
        name: None,
        fh: None,
        offset: 0,
        size: 0,
        given: 0,
        ctx: RequestCtx::internal(Instant::now()),
        latency,
        error: None,
        from: None,
        passthrough: false,
    }
}

/// Adds an operation on a node called after its number; says whether the path was asked for.
fn add(slow: &SlowPaths, ino: u64, latency: Duration, now: Instant) -> bool {
    let Some(time) = SlowPaths::weigh(latency) else { return false };
    let mut asked = false;
    slow.add(&operation(ino, latency), Blamed::Origin, time, now, || {
        asked = true;
        format!("/{ino}").into()
    });
    asked
}

fn totals(slow: &SlowPaths, now: Instant) -> Vec<(String, Duration)> {
    slow.merge(now).totals.into_iter().map(|t| (t.path.to_string(), t.time)).collect()
}

#[test]
fn slow_operations_are_counted_exactly() {
    let begin = Instant::now();
    let slow = SlowPaths::new(begin);
    assert!(add(&slow, 300, Duration::from_millis(5), begin));
    assert!(!add(&slow, 300, Duration::from_millis(7), begin), "its path is known");
    assert!(add(&slow, 400, Duration::from_millis(3), begin));
    let want =
        [("/300".to_owned(), Duration::from_millis(12)), ("/400".to_owned(), Duration::from_millis(3))];
    assert_eq!(totals(&slow, begin), want);
}

#[test]
fn fast_operations_are_right_on_average() {
    let begin = Instant::now();
    let slow = SlowPaths::new(begin);
    let (fast, faster) = (Duration::from_micros(100), Duration::from_micros(30));
    let mut asked = 0;
    for _ in 0..100_000 {
        asked += u32::from(add(&slow, 300, fast, begin));
        asked += u32::from(add(&slow, 400, faster, begin));
        assert!(!add(&slow, 500, Duration::ZERO, begin));
    }
    assert_eq!(asked, 2);
    let totals = totals(&slow, begin);
    for ((_, got), exact) in totals.iter().zip([fast * 100_000, faster * 100_000]) {
        let ratio = got.as_secs_f64() / exact.as_secs_f64();
        assert!((0.9..1.1).contains(&ratio), "{ratio}: {totals:?}");
    }
    assert_eq!(totals.len(), 2);
}

#[test]
fn a_heavy_path_is_found_among_very_many() {
    let begin = Instant::now();
    let slow = SlowPaths::new(begin);
    // One path takes 5 % of the time; 20,000 others share the rest; one of those was very slow once.
    let total = Duration::from_millis(2) * 20_000;
    for n in 0..20_000 {
        add(&slow, 1000 + n, Duration::from_millis(2), begin);
        if n % 100 == 0 {
            add(&slow, 300, total / 20 / 200, begin);
        }
        if n == 50 {
            add(&slow, 400, Duration::from_millis(40), begin);
        }
    }
    let Merged { totals, worst } = slow.merge(begin);
    let top = totals.iter().max_by_key(|t| t.time - t.inherited).unwrap();
    assert_eq!(&*top.path, "/300");
    assert!(top.time >= total / 20 && top.time - top.inherited <= total / 20, "{top:?}");
    assert_eq!(totals.len(), 128, "memory is bounded");
    assert_eq!((&*worst[0].0, worst[0].1.latency), ("/400", Duration::from_millis(40)));
    assert_eq!(worst.len(), 32);
}

#[test]
fn what_is_old_is_forgotten() {
    let begin = Instant::now();
    let slow = SlowPaths::new(begin);
    let minute = |n: u32| begin + Duration::from_secs(60) * n + Duration::from_secs(1);
    add(&slow, 300, Duration::from_millis(5), minute(0));
    add(&slow, 300, Duration::from_millis(6), minute(2));
    add(&slow, 400, Duration::from_millis(7), minute(2));
    // A thread that was held up.
    add(&slow, 500, Duration::from_millis(9), minute(1));
    assert_eq!(totals(&slow, minute(4))[0], ("/300".into(), Duration::from_millis(11)));
    assert_eq!(totals(&slow, minute(5))[0], ("/400".into(), Duration::from_millis(7)));
    assert_eq!(totals(&slow, minute(5)).len(), 2);
    assert!(totals(&slow, minute(7)).is_empty());
    for n in 10..100 {
        add(&slow, 300, Duration::from_millis(5), minute(n));
    }
    assert_eq!(slow.lock().len(), SLICES);
}

#[test]
fn the_text_says_what_and_whose_fault() {
    let begin = Instant::now();
    let slow = SlowPaths::new(begin);
    add(&slow, 300, Duration::from_millis(12), begin);
    let mut failed = operation(400, Duration::from_secs(30));
    failed.op = "open";
    failed.error = Some((ErrorKind::TimedOut, Blame::Origin));
    slow.add(&failed, Blamed::Origin, failed.latency, begin, || "/dir/file".into());
    let text = slow.render(begin + Duration::from_secs(7));
    let rows: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .collect();
    assert_eq!(rows[0], ["30.0s", "1", "/dir/file"]);
    assert_eq!(rows[1], ["12.0ms", "1", "/300"]);
    assert_eq!(rows[2], ["30.0s", "7.00s", "open", "timed-out", "origin", "/dir/file"]);
    assert_eq!(rows[3], ["12.0ms", "7.00s", "read", "ok", "origin", "/300"]);
}
