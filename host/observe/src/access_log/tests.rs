#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::*;

fn ctx(patience: Duration) -> RequestCtx {
    RequestCtx::internal(Instant::now() + patience)
}

async fn lines(reader: &Reader, size: u32) -> String {
    let bytes = reader.next(ctx(Duration::from_secs(60)), size).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn each_reader_sees_what_happens_while_it_reads() {
    let log = Arc::new(AccessLog::default());
    assert!(!log.is_read());
    let first = log.subscribe().unwrap();
    log.publish("one\n".into());
    let second = log.subscribe().unwrap();
    log.publish("two\n".into());
    assert_eq!(lines(&first, 4096).await, format!("{HEADER}one\ntwo\n"));
    assert_eq!(lines(&second, 4096).await, format!("{HEADER}two\n"));
    drop(first);
    assert!(log.is_read());
    drop(second);
    assert!(!log.is_read());
    assert_eq!(log.lost(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_answered_when_nothing_happens() {
    let log = Arc::new(AccessLog::default());
    let reader = log.subscribe().unwrap();
    assert_eq!(lines(&reader, 4096).await, HEADER);
    let begin = tokio::time::Instant::now();
    assert_eq!(lines(&reader, 4096).await, "# idle\n");
    assert_eq!(begin.elapsed().as_millis() / 100, 10);
    let begin = tokio::time::Instant::now();
    let short = reader.next(ctx(Duration::from_millis(300)), 3).await.unwrap();
    assert_eq!(short, "# i");
    assert!(begin.elapsed() <= Duration::from_millis(201), "before its deadline");
    assert_eq!(lines(&reader, 4096).await, "dle\n");
}

#[tokio::test]
async fn a_line_wakes_a_reader_that_waits() {
    let log = Arc::new(AccessLog::default());
    let reader = log.subscribe().unwrap();
    assert_eq!(lines(&reader, 4096).await, HEADER);
    let writer = log.clone();
    let task = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        writer.publish("late\n".into());
    });
    // On a machine that is busy for a second there may be idle lines first.
    let mut seen = String::new();
    while !seen.contains("late") {
        seen += &lines(&reader, 4096).await;
    }
    assert!(seen.ends_with("late\n"), "{seen}");
    task.await.unwrap();
}

#[tokio::test]
async fn readers_are_limited() {
    let log = Arc::new(AccessLog::default());
    let readers: Vec<_> = (0..MAX_READERS).map(|_| log.subscribe().unwrap()).collect();
    assert_eq!(log.subscribe().err().unwrap().kind, ErrorKind::Busy);
    assert_eq!(log.readers(), MAX_READERS);
    drop(readers);
    assert!(log.subscribe().is_ok());
}

/// Sums of the numbers that were seen and of those reported lost.
fn add_up(text: &str, seen: &mut Vec<u64>, lost: &mut u64) {
    for line in text.lines() {
        match line.strip_prefix("# lost ").and_then(|rest| rest.strip_suffix(" lines")) {
            Some(count) => *lost += count.parse::<u64>().unwrap(),
            None if line.starts_with('#') => {}
            None => seen.push(line.parse().unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_fast_loses_nothing_and_whoever_does_not_is_told() {
    const THREADS: u64 = 4;
    const EACH: u64 = 20_000;
    let log = Arc::new(AccessLog::default());
    let slow = log.subscribe().unwrap();
    let writers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let log = log.clone();
            std::thread::spawn(move || {
                for n in 0..EACH {
                    log.publish(format!("{}\n", thread * EACH + n));
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    log.publish(format!("{}\n", THREADS * EACH));

    let (mut seen, mut lost) = (Vec::new(), 0);
    while seen.len() as u64 + lost <= THREADS * EACH {
        add_up(&lines(&slow, 65536).await, &mut seen, &mut lost);
    }
    assert!(lost > 0 && lost == log.lost(), "{lost} of {}", log.lost());
    assert_eq!(seen.len() as u64 + lost, THREADS * EACH + 1);

    // The same again, never more at once than a queue holds.
    let fast = log.subscribe().unwrap();
    let (mut seen, mut lost) = (Vec::new(), 0);
    for round in 0..10_u64 {
        let log = log.clone();
        let writer = std::thread::spawn(move || {
            for n in 0..2000 {
                log.publish(format!("{}\n", round * 2000 + n));
            }
        });
        while (seen.len() as u64) < (round + 1) * 2000 {
            add_up(&lines(&fast, 4096).await, &mut seen, &mut lost);
        }
        writer.join().unwrap();
    }
    assert_eq!(lost, 0);
    assert_eq!(seen, (0..20_000).collect::<Vec<_>>());
}
