//! An S3 server inside this process, over a directory: the crates `s3s` and `s3s-fs`.
//!
//! Good for a demo and for quick tests. It is no judge of correctness: that is a real MinIO's part.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

use crate::s3::Credentials;

/// Serves the directories below `root` as buckets on a free loopback port until the runtime is dropped, and
/// returns the address.
///
/// # Errors
/// When `root` cannot be used or no port is free.
pub async fn serve(root: &Path, credentials: &Credentials) -> Result<SocketAddr> {
    let store = s3s_fs::FileSystem::new(root).map_err(|error| anyhow!("{}: {error:?}", root.display()))?;
    let mut builder = S3ServiceBuilder::new(store);
    builder.set_auth(SimpleAuth::from_single(credentials.access_key.clone(), credentials.secret_key.clone()));
    let service = builder.build();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen on 127.0.0.1")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                // A connection that breaks concerns only its client.
                let _ =
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(address)
}
