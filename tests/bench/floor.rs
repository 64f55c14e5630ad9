//! The benchmark's native half: its data, the floor without any file system, and the loads on a mount.
//!
//! `bench-floor seed` stores the data set on the server that `MINIO_ENDPOINT` names (as `tests/servers/minio start`
//! prints it), `local DIR` writes it to a directory. `request CASE` puts a case's load on the server with plain sockets
//! and signed GETs and nothing else, so that a client's own cost shows as the difference; `read CASE DIR` puts the same
//! load on files. Both check bytes. `scatter FILE READERS SECONDS` reads 4 KiB at random places of one file, which is opened once
//! (not every mount survives being opened by many at once, as fio does it). All print one line of JSON.

mod data;
mod files;
mod plan;
mod requests;
mod wire;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use wasmount_tests::s3::{Client, Credentials};

const USAGE: &str =
    "usage: bench-floor seed | local DIR | request CASE | read CASE DIR | scatter FILE READERS SECONDS";

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let outcome = match *arguments.as_slice() {
        ["seed"] => return data::seed(&server()?),
        ["local", directory] => return data::write_files(directory.as_ref()),
        ["request", case] => requests::run(&server()?, case)?,
        ["scatter", file, readers, seconds] => {
            files::scatter(file.as_ref(), readers.parse()?, Duration::from_secs(seconds.parse()?))?
        }
        ["read", case, directory] => files::run(case, directory.as_ref())?,
        _ => bail!(USAGE),
    };
    println!("{}", outcome.json());
    Ok(())
}

fn server() -> Result<Client> {
    let endpoint = std::env::var("MINIO_ENDPOINT").context("MINIO_ENDPOINT is not set")?;
    Client::new(&endpoint, Credentials::minio(), None)
}
