//! What a slow, broken or lying origin must lead to.

use super::{all, expect, expect_error, no_objects, rules};
use crate::bench::{Bench, PATIENCE, read};
use crate::origin::Fault;
use crate::report::Outcome;
use futures::future::try_join_all;
use std::time::{Duration, Instant};
use wasmount_types::{ByteRange, Error, ErrorKind, Object};

rules! {
    "faults/slow-origin": "calls interleave: 32 reads from an origin that answers after 250 ms take far less than 8 s" => slow;
    "faults/busy-once": "503 with Retry-After: 1 is waited out and retried, not before a second has passed" => busy_once;
    "faults/busy-for-ever": "an origin that says 503 for ever ends in `unavailable`, `throttled` or `timed-out` within the deadline" => busy;
    "faults/no-answer": "an origin that takes requests and never answers ends in `timed-out` or `unavailable` within the deadline" => silence;
    "faults/reset": "a connection closed instead of an answer is retried or ends in `unavailable`" => reset;
    "faults/cut-content": "content that ends early is an error of the body, never a short success" => cut;
    "faults/not-http": "an answer that is not HTTP ends in an error, and the next call works" => garbage;
    "faults/range-ignored": "an origin that answers 200 to a ranged request: the offset says where the content begins" => range_ignored;
    "faults/no-version": "an answer about another version than the pinned one is never passed on as the pinned one" => other_version;
    "faults/refused": "403 is `denied` or `unauthenticated`, and 404 `not-found`" => refused;
    "faults/works-again": "after all of this the same instance still gives right answers" => works_again;
}

fn object(bench: &Bench) -> Option<&Object> {
    bench.with_content().into_iter().find(|o| (4 << 10..=4 << 20).contains(&o.size))
}

fn head_of(object: &Object) -> Option<ByteRange> {
    Some(ByteRange::new(0, object.size.min(4096)))
}

/// One read with a deadline, and how long it took.
async fn timed(bench: &Bench, object: &Object, patience: Duration) -> (Result<Vec<u8>, Error>, Duration) {
    let begin = Instant::now();
    let result =
        read(&*bench.store, patience, object.key.as_str(), head_of(object), object.version.clone()).await;
    (result, begin.elapsed())
}

/// Whether a plain read works now.
async fn healthy(bench: &Bench, object: &Object) -> Outcome {
    bench.origin.faults().clear();
    match timed(bench, object, PATIENCE).await.0 {
        Ok(bytes) => expect(bytes.len() as u64 == object.size.min(4096), || "the next read was short".into()),
        Err(e) => Outcome::Failed(format!("the next read failed too: {e}")),
    }
}

async fn slow(bench: &Bench) -> Result<Outcome, Error> {
    let Some(object) = object(bench) else { return Ok(no_objects()) };
    bench.origin.faults().always(Fault::Delay(Duration::from_millis(250)));
    bench.origin.traffic().reset();
    let begin = Instant::now();
    let reads = (0..32).map(|_| bench.read(object.key.as_str(), head_of(object), object.version.clone()));
    try_join_all(reads).await?;
    let (time, most) = (begin.elapsed(), bench.origin.traffic().most_in_flight());
    Ok(expect(time < Duration::from_secs(4) && most > 8, || {
        format!("{time:?} with at most {most} in flight")
    }))
}

async fn busy_once(bench: &Bench) -> Result<Outcome, Error> {
    let Some(object) = object(bench) else { return Ok(no_objects()) };
    let headers = vec![("retry-after".to_string(), "1".to_string())];
    bench.origin.faults().next(1, Fault::Answer { status: 503, headers, body: "busy".into() });
    let (result, time) = timed(bench, object, PATIENCE).await;
    Ok(all([
        expect(result.is_ok(), || format!("{result:?}")),
        expect(time >= Duration::from_millis(900), || format!("asked again after {time:?}")),
    ]))
}

async fn busy(bench: &Bench) -> Result<Outcome, Error> {
    let Some(object) = object(bench) else { return Ok(no_objects()) };
    bench.origin.faults().always(Fault::status(503));
    let (result, time) = timed(bench, object, Duration::from_secs(10)).await;
    Ok(all([
        expect_error(result, &[ErrorKind::Unavailable, ErrorKind::Throttled, ErrorKind::TimedOut]),
        expect(time < Duration::from_secs(12), || format!("only after {time:?}")),
        healthy(bench, object).await,
    ]))
}

async fn silence(bench: &Bench) -> Result<Outcome, Error> {
    let Some(object) = object(bench) else { return Ok(no_objects()) };
    bench.origin.faults().always(Fault::Silence);
    let (result, time) = timed(bench, object, Duration::from_secs(2)).await;
    Ok(all([
        expect_error(result, &[ErrorKind::TimedOut, ErrorKind::Unavailable]),
        expect(time < Duration::from_secs(4), || format!("only after {time:?}")),
        healthy(bench, object).await,
    ]))
}

async fn reset(bench: &Bench) -> Result<Outcome, Error> {
    let Some(object) = object(bench) else { return Ok(no_objects()) };
    bench.origin.faults().next(1, Fault::Reset);
    let once = match timed(bench, object, PATIENCE).await.0 {
        Ok(_) => Outcome::Passed,
        Err(e) => expect_error::<()>(Err(e), &[ErrorKind::Unavailable]),
    };
    bench.origin.faults().always(Fault::Reset);
    let (always, _) = timed(bench, object, Duration::from_secs(10)).await;
    Ok(all([
        once,
        expect_error(always, &[ErrorKind::Unavailable, ErrorKind::TimedOut]),
        healthy(bench, object).await,
    ]))
}

async fn cut(bench: &Bench) -> Result<Outcome, Error> {
    let Some(object) = object(bench) else { return Ok(no_objects()) };
    bench.origin.faults().next_reads(1, Fault::CutBody(1000));
    let (result, _) = timed(bench, object, PATIENCE).await;
    let outcome = match result {
        Ok(bytes) => expect(bytes.len() as u64 == object.size.min(4096), || {
            format!("success with {} bytes", bytes.len())
        }),
        Err(e) => expect_error::<()>(Err(e), &[ErrorKind::Unavailable, ErrorKind::Corrupt]),
    };
    Ok(all([outcome, healthy(bench, object).await]))
}

async fn garbage(bench: &Bench) -> Result<Outcome, Error> {
    let Some(object) = object(bench) else { return Ok(no_objects()) };
    bench.origin.faults().always(Fault::Garbage);
    let (result, _) = timed(bench, object, Duration::from_secs(10)).await;
    Ok(all([expect(result.is_err(), || "success".into()), healthy(bench, object).await]))
}

async fn range_ignored(bench: &Bench) -> Result<Outcome, Error> {
    if bench.scripted.is_none() {
        return Ok(Outcome::Skipped(
            "a request to a given endpoint may be signed: its range cannot be taken away".into(),
        ));
    }
    let Some(object) = object(bench) else { return Ok(no_objects()) };
    let range = ByteRange::new(100, 200);
    let right = bench.read(object.key.as_str(), Some(range), object.version.clone()).await?;
    bench.origin.faults().next_reads(1, Fault::IgnoreRange);
    Ok(match bench.read(object.key.as_str(), Some(range), object.version.clone()).await {
        Ok(bytes) => expect(bytes == right, || "bytes from the wrong place".into()),
        Err(e) => expect_error::<()>(Err(e), &[ErrorKind::Unsupported, ErrorKind::Corrupt]),
    })
}

async fn other_version(bench: &Bench) -> Result<Outcome, Error> {
    if bench.scripted.is_none() {
        return Ok(Outcome::Skipped("only a scripted origin can lie about versions".into()));
    }
    let Some(object) = object(bench).filter(|o| o.version.is_some()) else { return Ok(no_objects()) };
    // The bytes of a new version under the old precondition, as a cache in between might send them.
    bench.origin.faults().next_reads(1, Fault::ReplaceHeader("etag".into(), "\"another\"".into()));
    let (result, _) = timed(bench, object, PATIENCE).await;
    Ok(expect_error(result, &[ErrorKind::Stale, ErrorKind::Corrupt]))
}

async fn refused(bench: &Bench) -> Result<Outcome, Error> {
    let Some(object) = object(bench) else { return Ok(no_objects()) };
    bench.origin.faults().always(Fault::status(403));
    let (forbidden, _) = timed(bench, object, PATIENCE).await;
    bench.origin.faults().clear();
    bench.origin.faults().always(Fault::status(404));
    let (missing, _) = timed(bench, object, PATIENCE).await;
    Ok(all([
        expect_error(forbidden, &[ErrorKind::Denied, ErrorKind::Unauthenticated]),
        expect_error(missing, &[ErrorKind::NotFound]),
    ]))
}

async fn works_again(bench: &Bench) -> Result<Outcome, Error> {
    let Some(object) = object(bench) else { return Ok(no_objects()) };
    Ok(healthy(bench, object).await)
}
