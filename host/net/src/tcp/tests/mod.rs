//! Real sockets on 127.0.0.1.

mod connecting;
mod reading;
mod writing;

use super::*;
use crate::http::MountNet;
use crate::policy::{AllowNet, Grants, OriginGrant, ReachPolicy};
use crate::{HttpClient, NetLimits, Resolver, SystemResolver, TlsSettings};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use wasmount_types::{Blame, Effect, Error, ErrorKind, Result};

/// A budget of so many bytes.
#[derive(Clone, Debug)]
struct Budget {
    left: Arc<AtomicUsize>,
    freed: Arc<Notify>,
}

#[derive(Debug)]
struct Room(Budget, usize);

impl Budget {
    fn of(bytes: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(bytes)), freed: Arc::default() }
    }

    fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }
}

impl Memory for Budget {
    type Room = Room;

    fn take(&self, bytes: usize) -> Result<Room> {
        let take = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(bytes));
        let refuse = |_| Error::new(ErrorKind::TooLarge, Blame::Plugin, "no memory");
        take.map(|_| Room(self.clone(), bytes)).map_err(refuse)
    }

    async fn wait(&self, bytes: usize) -> Result<Room> {
        loop {
            let freed = self.freed.notified();
            match self.take(bytes) {
                Ok(room) => return Ok(room),
                Err(_) => freed.await,
            }
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.left.fetch_add(self.1, Ordering::SeqCst);
        self.0.freed.notify_waiters();
    }
}

const PLENTY: usize = 64 << 20;

/// A mount that may speak to what it is told, on 127.0.0.1.
struct Setup {
    limits: NetLimits,
    tls: TlsSettings,
    rules: Vec<&'static str>,
    /// Named by options.
    named: Vec<(&'static str, u16)>,
    revealed: bool,
    resolver: Arc<dyn Resolver>,
    memory: Budget,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: NetLimits::default(),
            tls: TlsSettings::default(),
            rules: vec!["127.0.0.1"],
            named: vec![],
            revealed: true,
            resolver: Arc::new(SystemResolver),
            memory: Budget::of(PLENTY),
        }
    }
}

struct Mount {
    client: HttpClient,
    net: MountNet,
    memory: Budget,
}

impl Setup {
    fn mount(self) -> Mount {
        let client = HttpClient::with_resolver(Handle::current(), self.limits, self.resolver);
        let grant = |(host, port): (&str, u16)| OriginGrant {
            protocol: "tcp".into(),
            host: host.into(),
            port,
            read_methods: vec![],
            secrets: vec![],
        };
        let origins = self.named.into_iter().map(grant).collect();
        let policy = ReachPolicy::new(self.rules.iter().map(|rule| AllowNet::parse(rule).unwrap()).collect());
        let grants = Grants { origins, read_only: true, revealed: self.revealed };
        let net = MountNet::new(client.clone(), grants, policy, &self.tls, None).unwrap();
        Mount { client, net, memory: self.memory }
    }
}

impl Mount {
    async fn connect_to(&self, host: &str, port: u16, options: TcpOptions) -> Result<TcpConnection<Budget>> {
        self.net.connect(TcpAddress { host: host.into(), port }, &options, self.memory.clone()).await
    }

    async fn connect(&self, server: SocketAddr) -> Result<TcpConnection<Budget>> {
        self.connect_to(&server.ip().to_string(), server.port(), TcpOptions::default()).await
    }
}

/// A server that runs `script` once for each connection.
async fn server<F, R>(script: F) -> SocketAddr
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(stream));
        }
    });
    address
}

/// A connection to a server that runs `script`, and the budget it lives from.
async fn pair<F, R>(script: F) -> (TcpConnection<Budget>, Budget)
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let mount = Setup::default().mount();
    (mount.connect(server(script).await).await.unwrap(), mount.memory)
}

/// Bytes that differ from place to place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
