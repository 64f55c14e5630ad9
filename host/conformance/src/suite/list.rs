//! Listings.

use super::{all, expect, rules};
use crate::bench::Bench;
use crate::report::Outcome;
use std::collections::BTreeSet;
use wasmount_core::ports::ListRequest;
use wasmount_types::Error;

rules! {
    "list/complete": "paging ends, every key comes exactly once and is neither empty nor outside the prefix" => complete;
    "list/page-size": "any limit from 1 up gives the same keys, and no page is larger than asked for" => page_sizes;
    "list/ordered": "keys come in ascending order across pages, if that is promised" => ordered;
    "list/prefix": "a prefix selects exactly the keys that begin so" => prefix;
    "list/nothing": "a prefix under which there is nothing is an empty page, not an error" => nothing;
    "list/delimiter": "keys fold at the delimiter, if that is promised" => delimiter;
    "list/start-after": "a listing can begin after a key, if that is promised" => start_after;
}

/// All keys.
pub(super) fn everything() -> ListRequest {
    ListRequest { limit: 1000, ..ListRequest::default() }
}

fn keys(objects: &[wasmount_types::Object]) -> Vec<&str> {
    objects.iter().map(|o| o.key.as_str()).collect()
}

async fn complete(bench: &Bench) -> Result<Outcome, Error> {
    let (objects, prefixes) = bench.list_all(everything()).await?;
    let distinct: BTreeSet<_> = keys(&objects).into_iter().collect();
    Ok(all([
        expect(prefixes.is_empty(), || "prefixes although no delimiter was given".into()),
        expect(distinct.len() == objects.len(), || "a key came twice".into()),
        expect(!distinct.contains(""), || "an empty key".into()),
        match &bench.scripted {
            None => Outcome::Passed,
            Some(scripted) => {
                let there: BTreeSet<_> =
                    scripted.all().into_iter().map(|(k, o)| (k, o.bytes.len() as u64)).collect();
                let seen: BTreeSet<_> =
                    objects.iter().map(|o| (o.key.as_str().to_string(), o.size)).collect();
                expect(there == seen, || format!("differs: {:?}", there.symmetric_difference(&seen).next()))
            }
        },
    ]))
}

async fn page_sizes(bench: &Bench) -> Result<Outcome, Error> {
    let expected: BTreeSet<_> = bench.listed.keys().cloned().collect();
    for limit in [1, 2, 7, 1000] {
        // A page a key is a lot of requests on a large store: a sample of them is enough there.
        let pages = if expected.len() > 500 && limit < 7 { 20 } else { usize::MAX };
        let mut request = ListRequest { limit, ..ListRequest::default() };
        let mut seen = Vec::new();
        for _ in 0..pages {
            let page = bench.list(request.clone()).await?;
            if page.objects.len() + page.prefixes.len() > limit as usize {
                return Ok(Outcome::Failed(format!("{} entries on a page of {limit}", page.objects.len())));
            }
            seen.extend(page.objects.into_iter().map(|o| o.key.as_str().to_string()));
            request.continuation = page.next;
            if request.continuation.is_none() {
                break;
            }
        }
        let distinct: BTreeSet<_> = seen.iter().cloned().collect();
        let right = distinct.len() == seen.len()
            && distinct.is_subset(&expected)
            && (request.continuation.is_some() || distinct == expected);
        if !right {
            return Ok(Outcome::Failed(format!(
                "{} of {} keys with pages of {limit}",
                distinct.len(),
                expected.len()
            )));
        }
    }
    Ok(Outcome::Passed)
}

async fn ordered(bench: &Bench) -> Result<Outcome, Error> {
    if !bench.store.capabilities().listing.ordered {
        return Ok(Outcome::Skipped("not promised".into()));
    }
    let (objects, _) = bench.list_all(ListRequest { limit: 7, ..ListRequest::default() }).await?;
    let keys = keys(&objects);
    Ok(match keys.windows(2).find(|pair| pair[0] >= pair[1]) {
        None => Outcome::Passed,
        Some(pair) => Outcome::Failed(format!("{:?} before {:?}", pair[0], pair[1])),
    })
}

async fn prefix(bench: &Bench) -> Result<Outcome, Error> {
    for key in bench.listed.keys().step_by(bench.listed.len().div_ceil(8).max(1)) {
        let half = key.char_indices().nth(key.chars().count() / 2).map_or(key.len(), |(at, _)| at);
        for prefix in [&key[..half], key.as_str()] {
            let (objects, _) = bench.list_all(ListRequest { prefix: prefix.into(), ..everything() }).await?;
            let expected: Vec<_> =
                bench.listed.keys().filter(|k| k.starts_with(prefix)).map(String::as_str).collect();
            let mut seen = keys(&objects);
            seen.sort_unstable();
            if seen != expected {
                return Ok(Outcome::Failed(format!(
                    "{} keys under {prefix:?}, not {}",
                    seen.len(),
                    expected.len()
                )));
            }
        }
    }
    Ok(Outcome::Passed)
}

async fn nothing(bench: &Bench) -> Result<Outcome, Error> {
    let request = ListRequest { prefix: "no key begins so, surely/".into(), ..everything() };
    let page = bench.list(request).await?;
    Ok(expect(page.objects.is_empty() && page.next.is_none(), || format!("{page:?}")))
}

async fn delimiter(bench: &Bench) -> Result<Outcome, Error> {
    if !bench.store.capabilities().listing.delimiter {
        return Ok(Outcome::Skipped("not promised".into()));
    }
    let folders: BTreeSet<&str> =
        bench.listed.keys().filter_map(|k| k.find('/').map(|at| &k[..=at])).collect();
    for prefix in std::iter::once("").chain(folders.into_iter().take(8)) {
        for limit in [3, 1000] {
            let request =
                ListRequest { prefix: prefix.into(), delimiter: Some("/".into()), limit, ..everything() };
            let (objects, prefixes) = bench.list_all(request).await?;
            let inside =
                || bench.listed.keys().filter_map(|k| k.strip_prefix(prefix).map(|rest| (k.as_str(), rest)));
            let plain: BTreeSet<_> =
                inside().filter(|(_, rest)| !rest.contains('/')).map(|(k, _)| k).collect();
            let folded: BTreeSet<_> =
                inside().filter_map(|(k, rest)| rest.find('/').map(|at| &k[..=prefix.len() + at])).collect();
            let seen_folded: BTreeSet<_> = prefixes.iter().map(String::as_str).collect();
            let seen: BTreeSet<_> = keys(&objects).into_iter().collect();
            if seen != plain || seen_folded != folded || seen_folded.len() != prefixes.len() {
                return Ok(Outcome::Failed(format!(
                    "under {prefix:?} with pages of {limit}: {} keys and {} prefixes ({} distinct), expected {} and {}",
                    seen.len(),
                    prefixes.len(),
                    seen_folded.len(),
                    plain.len(),
                    folded.len()
                )));
            }
        }
    }
    Ok(Outcome::Passed)
}

async fn start_after(bench: &Bench) -> Result<Outcome, Error> {
    if !bench.store.capabilities().listing.start_after {
        return Ok(Outcome::Skipped("not promised".into()));
    }
    let Some(middle) = bench.listed.keys().nth(bench.listed.len() / 2) else {
        return Ok(super::no_objects());
    };
    let (objects, _) =
        bench.list_all(ListRequest { start_after: Some(middle.clone()), ..everything() }).await?;
    let expected = bench.listed.keys().filter(|k| *k > middle).count();
    let right = objects.len() == expected && objects.iter().all(|o| o.key.as_str() > middle.as_str());
    Ok(expect(right, || format!("{} keys after {middle:?}, expected {expected}", objects.len())))
}
