//! The floor: a case's bytes as plain requests.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use wasmount_tests::prng::Prng;
use wasmount_tests::s3::Client;

use crate::data;
use crate::plan::{Outcome, Piece, Plan, in_parallel, read_all};
use crate::wire::Connection;

/// Parts and connections that were fastest here for large objects; more connections gain nothing on two cores.
const PART: u64 = 8 << 20;
const CONNECTIONS: usize = 4;
/// How long random reads go on, as long as `fio` does on a mount.
const RANDOM: Duration = Duration::from_secs(5);

/// Puts the load of a case on the server.
///
/// # Errors
/// When the server refuses, or sends something else than what was stored.
pub(crate) fn run(client: &Client, case: &str) -> Result<Outcome> {
    match case {
        "list" => list(client, "flat/", 0, data::FLAT),
        "find" => list(client, "tree/", data::TREE, data::TREE * data::TREE_FILES),
        _ => match case.strip_prefix("random-").and_then(|rest| rest.split_once('-')) {
            Some((kib, jobs)) => random(client, kib.parse::<u64>()? << 10, jobs.parse()?),
            None => get_all(client, &split(case)?),
        },
    }
}

/// A plan for files as one for requests: large pieces in parts, so that each connection has some.
fn split(case: &str) -> Result<Plan> {
    let mut plan = Plan::of_files(case)?;
    if plan.pieces.iter().any(|piece| piece.len > PART) {
        plan.workers = CONNECTIONS;
        plan.pieces = plan.pieces.into_iter().flat_map(parts).collect();
    }
    Ok(plan)
}

fn parts(piece: Piece) -> impl Iterator<Item = Piece> {
    let end = piece.start + piece.len;
    (piece.start..end).step_by(PART as usize).map(move |start| Piece {
        key: piece.key.clone(),
        start,
        len: PART.min(end - start),
    })
}

fn get_all(client: &Client, plan: &Plan) -> Result<Outcome> {
    let start = Instant::now();
    let connections =
        (0..plan.workers).map(|_| Connection::open(client).map(Mutex::new)).collect::<Result<Vec<_>>>()?;
    read_all(plan, start, |worker, piece| {
        let Some(connection) = connections.get(worker) else { return Ok(Duration::ZERO) };
        let before = Instant::now();
        let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.get(&piece.key, piece.start, piece.len)?;
        Ok(before.elapsed())
    })
}

/// Random reads of `len` bytes in the large object, one GET each, for a while.
fn random(client: &Client, len: u64, jobs: usize) -> Result<Outcome> {
    let start = Instant::now();
    let total = Mutex::new(Outcome::default());
    in_parallel(jobs, jobs, |_, job| {
        let (mut connection, mut prng) = (Connection::open(client)?, Prng::new(job as u64));
        let blocks = (data::LARGE_LEN / len) as usize;
        let (mut count, mut stall) = (0, Duration::ZERO);
        while start.elapsed() < RANDOM {
            let before = Instant::now();
            connection.get(data::LARGE, prng.below(blocks) as u64 * len, len)?;
            stall = stall.max(before.elapsed());
            count += 1;
        }
        let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
        total.count += count;
        total.bytes += count * len;
        total.stall = total.stall.max(stall);
        Ok(())
    })?;
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Outcome { duration: start.elapsed(), ..total })
}

/// The LIST requests that a walk of `prefix` needs: page after page and directory after directory, as each follows from
/// the one before.
fn list(client: &Client, prefix: &str, directories: usize, files: usize) -> Result<Outcome> {
    let start = Instant::now();
    let mut connection = Connection::open(client)?;
    let (mut unlisted, mut found, mut bytes, mut stall) = (vec![prefix.to_owned()], 0, 0, Duration::ZERO);
    let mut listed = 0;
    while let Some(directory) = unlisted.pop() {
        let mut token = None::<String>;
        loop {
            let before = Instant::now();
            let page = connection.list(&directory, token.as_deref())?;
            stall = stall.max(before.elapsed());
            bytes += page.len() as u64;
            found += page.matches("<Key>").count();
            let below = page.split("<CommonPrefixes><Prefix>").skip(1);
            unlisted.extend(below.filter_map(|rest| Some(rest.split_once('<')?.0.to_owned())));
            let next = page.split_once("<NextContinuationToken>").and_then(|(_, rest)| rest.split_once('<'));
            match next {
                Some((next, _)) => token = Some(next.to_owned()),
                None => break,
            }
        }
        listed += 1;
    }
    ensure!(listed == 1 + directories, "{listed} directories in {prefix}");
    ensure!(found == files, "{found} objects in {prefix} instead of {files}");
    Ok(Outcome { duration: start.elapsed(), count: files as u64, bytes, stall })
}
