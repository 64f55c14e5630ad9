//! The checks, one file an area. A check is an async function that says how it ended.

pub(crate) mod blocks;
mod faults;
pub(crate) mod files;
mod get;
mod head;
mod list;
mod open;
mod tree;

use crate::bench::Bench;
use crate::report::{Check, Outcome, Report};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmount_core::mounts::{MountConfig, MountTable, MountTableConfig, Place};
use wasmount_core::objects::ObjectFsConfig;
use wasmount_core::ports::{NoStateLog, ProviderSource, SystemClock, TokioSpawn};
use wasmount_types::{Error, ErrorKind, MountId};

/// Longest time a single check may take; past it the plugin or the host hangs.
const CHECK_LIMIT: Duration = Duration::from_secs(60);

type CheckFuture<'a> = Pin<Box<dyn Future<Output = Result<Outcome, Error>> + Send + 'a>>;
type CheckFn<B> = for<'a> fn(&'a B) -> CheckFuture<'a>;

/// A name, the rule, and the code that checks it on a bench of this kind.
struct RuleFor<B> {
    name: &'static str,
    rule: &'static str,
    check: CheckFn<B>,
}

type Rule = RuleFor<Bench>;

/// Declares rules whose checks are async functions over the bench of the module above.
macro_rules! rules {
    ($($name:literal: $rule:literal => $check:path;)*) => {
        pub(super) const RULES: &[super::Rule] = &[
            $(super::Rule { name: $name, rule: $rule, check: |bench| Box::pin($check(bench)) },)*
        ];
    };
}
use rules;

/// Runs all checks, one after the other. Faults are cleared between them.
pub(crate) async fn run(bench: &Bench) -> Report {
    let mut report = Report::default();
    for area in [open::RULES, list::RULES, head::RULES, get::RULES, tree::RULES, faults::RULES] {
        for rule in area {
            let check = timed(rule, bench).await;
            bench.origin.faults().clear();
            report.checks.push(check);
        }
    }
    report
}

/// Runs one check.
async fn timed<B>(rule: &RuleFor<B>, bench: &B) -> Check {
    let begin = Instant::now();
    let outcome = match tokio::time::timeout(CHECK_LIMIT, (rule.check)(bench)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Failed(format!("{:?}: {error}", error.kind)),
        Err(_) => Outcome::Failed(format!("no end after {} s", CHECK_LIMIT.as_secs())),
    };
    Check { name: rule.name, rule: rule.rule, outcome, time: begin.elapsed() }
}

/// `Passed` if the condition holds.
fn expect(holds: bool, seen: impl FnOnce() -> String) -> Outcome {
    if holds { Outcome::Passed } else { Outcome::Failed(seen()) }
}

/// `Passed` if the result is an error of one of these kinds.
fn expect_error<T>(result: Result<T, Error>, kinds: &[ErrorKind]) -> Outcome {
    match result {
        Ok(_) => Outcome::Failed(format!("success, expected one of {kinds:?}")),
        Err(e) if kinds.contains(&e.kind) && !e.message.trim().is_empty() => Outcome::Passed,
        Err(e) if kinds.contains(&e.kind) => Outcome::Failed("an error without a message".into()),
        Err(e) => Outcome::Failed(format!("{:?} ({e}), expected one of {kinds:?}", e.kind)),
    }
}

/// The first failure among outcomes, otherwise `Passed`.
fn all(outcomes: impl IntoIterator<Item = Outcome>) -> Outcome {
    outcomes.into_iter().find(|o| *o != Outcome::Passed).unwrap_or(Outcome::Passed)
}

/// The core's file system over a mount of its own, without FUSE.
fn table(source: Arc<dyn ProviderSource>) -> Result<Arc<MountTable>, Error> {
    let mount = MountConfig {
        id: MountId::new("suite"),
        place: Place::Root,
        source,
        objects: ObjectFsConfig::default(),
    };
    let config = MountTableConfig { mounts: vec![mount], ..MountTableConfig::default() };
    let spawn = TokioSpawn(tokio::runtime::Handle::current());
    MountTable::new(config, Arc::new(SystemClock), Arc::new(spawn), Arc::new(NoStateLog))
}

/// For checks that need objects which a given endpoint may not hold.
fn no_objects() -> Outcome {
    Outcome::Skipped("the endpoint holds no object of 4 KiB to 4 MiB with a version; put a few there".into())
}
