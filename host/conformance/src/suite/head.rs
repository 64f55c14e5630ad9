//! Questions about one object.

use super::{expect, expect_error, no_objects, rules};
use crate::bench::Bench;
use crate::report::Outcome;
use wasmount_core::ports::HeadOutcome;
use wasmount_types::{Error, ErrorKind};

rules! {
    "head/agrees-with-list": "size and version are those of the listing" => agrees;
    "head/missing": "a key that is not there is `not-found` (or `denied`, where the store hides it)" => missing;
    "head/unchanged": "asked with the current version as `unless`, it says `unchanged`" => unchanged;
}

async fn agrees(bench: &Bench) -> Result<Outcome, Error> {
    for object in bench.with_content().into_iter().take(32) {
        match bench.head(object.key.as_str(), None).await? {
            HeadOutcome::Found(info)
                if info.object.size == object.size && info.object.version == object.version => {}
            other => return Ok(Outcome::Failed(format!("{other:?}, the listing said {object:?}"))),
        }
    }
    Ok(Outcome::Passed)
}

async fn missing(bench: &Bench) -> Result<Outcome, Error> {
    let result = bench.head("no key is called so/surely", None).await;
    Ok(expect_error(result, &[ErrorKind::NotFound, ErrorKind::Denied]))
}

async fn unchanged(bench: &Bench) -> Result<Outcome, Error> {
    let Some(object) = bench.with_content().into_iter().find(|o| o.version.is_some()) else {
        return Ok(no_objects());
    };
    let outcome = bench.head(object.key.as_str(), object.version.clone()).await?;
    Ok(expect(outcome == HeadOutcome::Unchanged, || format!("{outcome:?}")))
}
