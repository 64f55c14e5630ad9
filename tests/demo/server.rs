//! The embedded S3 server of `make demo`: `demo-server DIR` serves a bucket of sample files from `DIR`.
//!
//! Prints the endpoint on one line once it answers, and runs until it is told to stop (SIGTERM, SIGINT, or the
//! end of its standard input).

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use wasmount_tests::s3::{Client, Credentials};
use wasmount_tests::s3_embedded;

/// The bucket and the file that Fluid's own MinIO example uses, and a few more.
const BUCKET: &str = "my-first-bucket";
const FILES: &[(&str, &str)] = &[
    ("testfile", "fluid-minio-test\n"),
    ("docs/readme.txt", "Directories are what the keys' slashes say.\n"),
    ("docs/2024/report 100%.txt", "Spaces and percent signs are ordinary characters.\n"),
    ("models/tiny/weights.bin", "0123456789abcdef"),
    ("données/été.txt", "Names are UTF-8.\n"),
];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let root = std::env::args_os().nth(1).map(PathBuf::from).context("usage: demo-server DIR")?;
    std::fs::create_dir_all(&root).with_context(|| format!("make {}", root.display()))?;
    let mut terminated = signal(SignalKind::terminate())?;

    let credentials = Credentials::minio();
    let endpoint = format!("http://{}", s3_embedded::serve(&root, &credentials).await?);
    let client = Client::new(&endpoint, credentials, None)?;
    tokio::task::spawn_blocking(move || -> Result<()> {
        client.make_bucket(BUCKET)?;
        FILES.iter().try_for_each(|(key, content)| client.put(BUCKET, key, content.as_bytes()))
    })
    .await??;
    {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{endpoint}")?;
        out.flush()?;
    }

    // A thread of its own: a blocking read of the standard input cannot be cancelled, but the process can end.
    let (input_ended, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        input_ended.send(())
    });
    tokio::select! {
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        _ = ended => {}
    }
    // Not waiting for the thread, which may still be reading.
    std::process::exit(0)
}
