//! An object store that has a bad time: users wait, and see no error.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use wasmount_tests::bounded::{names, read};
use wasmount_tests::config::FluidFiles;
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::scripted::bucket::Buckets;
use wasmount_tests::scripted::{Answer, Fault, Request, Server};

const BUCKET: &str = "bucket";
/// More than two pages of a listing.
const FILES: usize = 2_500;
/// The plugin itself tries four times.
const MORE_OFTEN_THAN_THE_PLUGIN_TRIES: usize = 6;

/// A store with many files in `dir`, whose answers `spoil` may replace.
fn start(
    spoil: impl Fn(&Request, &dyn Fn() -> Answer) -> Answer + Send + Sync + 'static,
) -> Result<(Server, FluidFiles, Mount)> {
    let buckets = Buckets::new();
    for number in 0..FILES {
        buckets.put(BUCKET, &format!("dir/{number:05}"), "content");
    }
    let server = Server::start(move |request| spoil(request, &|| buckets.answer(request)))?;
    let files = FluidFiles::new()?;
    let access = files.write_secret("s3", "ak", "anybody")?;
    let secret = files.write_secret("s3", "sk", "anything")?;
    files.write_mounts(&[json!({"mountPoint": format!("s3://{BUCKET}"), "name": "m", "options": {
        "endpoint": server.endpoint(), "access-key": access, "secret-key": secret}})])?;
    let mount = Launch::run(&files)?.start()?;
    Ok((server, files, mount))
}

/// Counts down: whether this is one of the first so many times.
struct Times(AtomicUsize);

impl Times {
    fn new(times: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(times)))
    }

    fn again(&self) -> bool {
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

/// A page of a listing that is not the first.
fn goes_on(request: &Request) -> bool {
    request.parameter("continuation-token").is_some()
}

fn all_names(mount: &Mount) -> Result<()> {
    let found = names(mount.path("dir"))?.with_context(|| format!("the log:\n{}", mount.log().text()))?;
    let expected: Vec<String> = (0..FILES).map(|number| format!("{number:05}")).collect();
    ensure!(found == expected, "{} names, and not the {FILES} that there are", found.len());
    Ok(())
}

#[test]
fn a_page_of_a_listing_that_breaks_off_is_asked_for_again() -> Result<()> {
    let times = Times::new(MORE_OFTEN_THAN_THE_PLUGIN_TRIES);
    let left = times.clone();
    let (_server, _files, mount) = start(move |request, honest| match honest() {
        page if goes_on(request) && left.again() => page.faulty(Fault::CutAfter(2_000)),
        answer => answer,
    })?;
    all_names(&mount)?;
    ensure!(!times.again(), "nothing broke off");
    Ok(())
}

#[test]
fn a_listing_whose_token_is_forgotten_begins_again() -> Result<()> {
    let times = Times::new(1);
    let left = times.clone();
    let (_server, _files, mount) = start(move |request, honest| match goes_on(request) && left.again() {
        true => Answer::error(400, "InvalidArgument"),
        false => honest(),
    })?;
    all_names(&mount)?;
    ensure!(!times.again(), "no token was forgotten");
    Ok(())
}

#[test]
fn who_asks_for_fewer_requests_is_waited_for() -> Result<()> {
    /// Longer than the plugin tries, and than three attempts of the host at a question.
    const BUSY: Duration = Duration::from_secs(9);
    let busy_until = Arc::new(std::sync::Mutex::new(Instant::now()));
    let until = busy_until.clone();
    let (_server, _files, mount) = start(move |_, honest| match until.lock() {
        Ok(until) if Instant::now() < *until => Answer::error(503, "SlowDown"),
        _ => honest(),
    })?;
    let look = |what: &str, look: &dyn Fn() -> Result<()>| -> Result<()> {
        if let Ok(mut until) = busy_until.lock() {
            *until = Instant::now() + BUSY;
        }
        look().with_context(|| format!("{what} of a store that is busy"))
    };
    look("a read", &|| {
        let found = read(mount.path("dir/00777"))?;
        ensure!(found.with_context(|| format!("the log:\n{}", mount.log().text()))? == b"content");
        Ok(())
    })?;
    look("a listing", &|| all_names(&mount))?;
    Ok(())
}
