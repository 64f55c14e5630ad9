//! Opening a mount.

use super::{expect, expect_error, rules};
use crate::bench::Bench;
use crate::origin::Fault;
use crate::report::Outcome;
use std::time::Instant;
use wasmount_types::{Error, ErrorKind};

rules! {
    "open/again": "a second instance of the same mount opens and works beside the first" => again;
    "open/refused": "an origin that answers 403 to everything makes `open` fail with `denied` or `unauthenticated`" => refused;
    "open/not-there": "an origin that answers 404 to everything makes `open` fail with `not-found` or `invalid`, or open an empty mount" => not_there;
    "open/no-answer": "an origin that resets connections makes `open` fail with `unavailable` or `timed-out`" => no_answer;
}

async fn again(bench: &Bench) -> Result<Outcome, Error> {
    let second = bench.open(Vec::new()).await?;
    let (objects, _) = crate::bench::list_all(&*second, super::list::everything()).await?;
    Ok(expect(objects.len() == bench.listed.len(), || {
        format!("{} objects in the second instance, {} in the first", objects.len(), bench.listed.len())
    }))
}

async fn refused(bench: &Bench) -> Result<Outcome, Error> {
    bench.origin.faults().always(Fault::status(403));
    Ok(expect_error(bench.open(Vec::new()).await.map(drop), &[ErrorKind::Denied, ErrorKind::Unauthenticated]))
}

async fn not_there(bench: &Bench) -> Result<Outcome, Error> {
    bench.origin.faults().always(Fault::status(404));
    match bench.open(Vec::new()).await {
        Ok(store) => {
            let (objects, _) = crate::bench::list_all(&*store, super::list::everything()).await?;
            Ok(expect(objects.is_empty(), || "objects where the origin has none".into()))
        }
        Err(error) => Ok(expect_error::<()>(Err(error), &[ErrorKind::NotFound, ErrorKind::Invalid])),
    }
}

async fn no_answer(bench: &Bench) -> Result<Outcome, Error> {
    bench.origin.faults().always(Fault::Reset);
    let begin = Instant::now();
    let outcome =
        expect_error(bench.open(Vec::new()).await.map(drop), &[ErrorKind::Unavailable, ErrorKind::TimedOut]);
    Ok(match outcome {
        Outcome::Passed => expect(begin.elapsed() < crate::bench::PATIENCE * 2, || "far too late".into()),
        other => other,
    })
}
