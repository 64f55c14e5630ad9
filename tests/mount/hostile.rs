//! A plugin that misbehaves, behind a real mount: the application gets an errno in time, and the mount lives.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use wasmount_tests::bounded::{SOON, names, within};
use wasmount_tests::config::FluidFiles;
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::paths;
use wasmount_tests::scripted::{Answer, Server};

const EIO: i32 = 5;
const EACCES: i32 = 13;
const ETIMEDOUT: i32 = 110;

/// Deadline of each operation in these mounts.
const DEADLINE: Duration = Duration::from_secs(8);

/// A mount, and its files: bound in this order, the mount goes first.
fn hostile(endpoint: &str, more: &[&str]) -> Result<(FluidFiles, Mount)> {
    let files = FluidFiles::new()?;
    let options = json!({ "endpoint": endpoint, "request-timeout": format!("{}s", DEADLINE.as_secs()) });
    files.write_mounts(&[
        json!({ "mountPoint": "hostile://x", "name": "h", "path": "/", "options": options }),
    ])?;
    let mut launch = Launch::bare_run(&files).arg("--plugin").arg(paths::plugin("hostile")?);
    for argument in more {
        launch = launch.arg(*argument);
    }
    let mount = launch.start()?;
    Ok((files, mount))
}

/// The first bytes of a file, and how long they took.
fn head(mount: &Mount, name: &str) -> Result<(Result<usize, i32>, Duration)> {
    let (path, begin) = (mount.path(name), Instant::now());
    let read = within(name, DEADLINE + SOON, move || {
        let mut bytes = [0; 4096];
        std::fs::File::open(path).and_then(|mut file| file.read(&mut bytes))
    })?;
    Ok((read.map_err(|e| e.raw_os_error().unwrap_or(0)), begin.elapsed()))
}

#[test]
fn misdeeds_fail_in_time_and_the_next_operation_works() -> Result<()> {
    let (_files, mount) = hostile("http://hostile.example", &[])?;
    let misdeeds = [
        ("spin", [EIO, ETIMEDOUT]),
        ("spin-async", [EIO, ETIMEDOUT]),
        ("trap", [EIO, EIO]),
        ("panic", [EIO, EIO]),
        ("alloc", [EIO, EIO]),
        ("recurse", [EIO, EIO]),
        ("bogus-handle", [EIO, EIO]),
        ("short", [EIO, EIO]),
        ("long", [EIO, EIO]),
        ("endless", [EIO, EIO]),
        ("wrong-offset", [EIO, EIO]),
        ("wrong-key", [EIO, EIO]),
        ("hang", [ETIMEDOUT, EIO]),
    ];
    for (name, errnos) in misdeeds {
        let (result, time) = head(&mount, name)?;
        let errno = result.err().with_context(|| format!("{name} succeeded"))?;
        assert!(errnos.contains(&errno), "{name}: errno {errno}, one of {errnos:?} expected");
        assert!(time < DEADLINE + Duration::from_secs(15), "{name} took {time:?}");
        // A file of its own each time: one that was read before would come from the kernel's cache.
        let (next, time) = head(&mount, &format!("after-{name}"))?;
        assert_eq!(next, Ok(4096), "the operation after {name}");
        assert!(time < DEADLINE, "the operation after {name} took {time:?}");
    }
    assert!(names(mount.target())??.contains(&"one".to_owned()), "the directory can still be listed");
    Ok(())
}

#[test]
fn readers_of_good_files_do_not_notice_a_trap_beside_them() -> Result<()> {
    let (_files, mount) = hostile("http://hostile.example", &[])?;
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..8)
            .map(|i| {
                let path = mount.path(if i % 2 == 0 { "one" } else { "two" });
                scope.spawn(move || std::fs::read(path).map(|bytes| bytes.len()))
            })
            .collect();
        for _ in 0..3 {
            let (trapped, _) = head(&mount, "trap")?;
            assert_eq!(trapped, Err(EIO));
        }
        for reader in readers {
            let read = reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))?;
            assert_eq!(read.context("reading beside a trap")?, 16 << 20);
        }
        Ok(())
    })
}

#[test]
fn addresses_that_were_not_granted_are_not_reached() -> Result<()> {
    let server = Server::start(|_| Answer::new(200, vec![b'r'; 16 << 20]))?;
    let address = server.endpoint().trim_start_matches("http://").to_owned();
    // A Dataset names them; that grants nothing.
    for named in [address.as_str(), "169.254.169.254:80", "[::1]:80", "0.0.0.0:80"] {
        let (_files, mount) = hostile(&format!("http://{named}"), &[])?;
        let (result, time) = head(&mount, &format!("connect-to:{named}"))?;
        assert_eq!(result, Err(EACCES), "{named}; log:\n{}", mount.log().text());
        assert!(time < DEADLINE, "{named} took {time:?}");
        assert_eq!(head(&mount, "one")?.0, Ok(4096));
    }
    assert_eq!(server.requests().len(), 0, "nothing has left the host");

    // The operator names it; another port of the same host is not the endpoint.
    let (_files, mount) = hostile(&format!("http://{address}"), &["--allow-net", "127.0.0.1"])?;
    assert_eq!(head(&mount, &format!("connect-to:{address}"))?.0, Ok(4096));
    assert_eq!(head(&mount, "connect-to:127.0.0.1:9")?.0, Err(EACCES));
    Ok(())
}
