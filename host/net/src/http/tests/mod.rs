//! Real sockets on 127.0.0.1, with servers that do exactly what a test writes down.

mod bodies;
mod connections;
mod failures;
mod proxies;
mod reach;
mod requests;
pub(crate) mod trust;

use super::{HttpClient, HttpRequest, HttpResponse, MountNet};
use crate::limits::NetLimits;
use crate::policy::{AllowNet, Grants, OriginGrant, ReachPolicy};
use crate::resolve::Resolver;
use crate::tls::TlsSettings;
use futures::future::BoxFuture;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use wasmount_types::Error;

/// A connection as a scripted server sees it.
pub(super) struct Peer<S = TcpStream> {
    pub(super) stream: BufReader<S>,
    /// Which connection of the server this is, from 0.
    pub(super) number: usize,
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Peer<S> {
    /// The next request's head, without the empty line, decoded as well as it can be; `None` when the client has closed.
    pub(super) async fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line).await.ok()? == 0 {
                return None;
            }
            if line == b"\r\n" {
                return Some(head);
            }
            head.push_str(&String::from_utf8_lossy(&line));
        }
    }

    pub(super) async fn say(&mut self, text: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(text.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    pub(super) async fn read(&mut self, bytes: usize) -> Vec<u8> {
        let mut content = vec![0; bytes];
        self.stream.read_exact(&mut content).await.unwrap();
        content
    }
}

/// A server that runs `script` for each connection.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(super) async fn start<F, R>(script: F) -> Self
    where
        F: Fn(Peer) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(Peer { stream: BufReader::new(stream), number }));
            }
        });
        Self { address, connections, task }
    }

    /// One that answers every request with the same text.
    pub(super) async fn answering(text: &'static str) -> Self {
        Self::start(move |mut peer| async move {
            while peer.head().await.is_some() {
                peer.say(text).await;
            }
        })
        .await
    }

    /// Connections accepted so far.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A mount that may speak to anybody on 127.0.0.1 in any way.
pub(super) struct Setup {
    pub(super) limits: NetLimits,
    pub(super) tls: TlsSettings,
    pub(super) rules: Vec<&'static str>,
    pub(super) hosts: Vec<(&'static str, u16)>,
    pub(super) read_only: bool,
    pub(super) response_head: Option<Duration>,
    pub(super) resolver: Option<Arc<dyn Resolver>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: NetLimits::default(),
            tls: TlsSettings::default(),
            rules: vec!["127.0.0.1"],
            hosts: Vec::new(),
            read_only: false,
            response_head: None,
            resolver: None,
        }
    }
}

impl Setup {
    pub(super) fn build(self, server: SocketAddr) -> (HttpClient, MountNet) {
        let handle = Handle::current();
        let client = match self.resolver {
            Some(resolver) => HttpClient::with_resolver(handle, self.limits, resolver),
            None => HttpClient::with_limits(handle, self.limits),
        };
        let mut hosts = self.hosts;
        hosts.push(("127.0.0.1", server.port()));
        let origins = hosts
            .into_iter()
            .flat_map(|(host, port)| ["http", "https"].map(|protocol| (protocol, host, port)))
            .map(|(protocol, host, port)| OriginGrant {
                protocol: protocol.into(),
                host: host.into(),
                port,
                read_methods: vec!["GET".into(), "HEAD".into()],
                secrets: vec!["token".into()],
            })
            .collect();
        let policy = ReachPolicy::new(self.rules.iter().map(|rule| AllowNet::parse(rule).unwrap()).collect());
        let grants = Grants { origins, read_only: self.read_only, revealed: false };
        let net = MountNet::new(client.clone(), grants, policy, &self.tls, self.response_head).unwrap();
        (client, net)
    }
}

pub(super) fn net(server: &Server) -> MountNet {
    Setup::default().build(server.address).1
}

pub(super) fn get(url: impl Into<String>) -> HttpRequest {
    HttpRequest { method: "GET".into(), url: url.into(), ..HttpRequest::default() }
}

/// Sends and reads the whole body as text.
pub(super) async fn fetch(net: &MountNet, url: impl Into<String>) -> Result<String, Error> {
    text(net.send(get(url)).await?).await
}

pub(super) async fn text(response: HttpResponse) -> Result<String, Error> {
    Ok(String::from_utf8(response.body.collect(1 << 20).await?.to_vec()).unwrap())
}

/// Answers in order, the last one for ever; counts how often it was asked.
pub(crate) struct ScriptedResolver {
    answers: Mutex<Vec<io::Result<Vec<SocketAddr>>>>,
    pub(super) asked: AtomicUsize,
}

impl ScriptedResolver {
    pub(crate) fn new(answers: Vec<Vec<SocketAddr>>) -> Arc<Self> {
        let answers = answers.into_iter().rev().map(Ok).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: AtomicUsize::new(0) })
    }
}

impl Resolver for ScriptedResolver {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop() } else { None };
        let answer = answer.unwrap_or_else(|| match answers.last() {
            Some(Ok(addresses)) => Ok(addresses.clone()),
            _ => Err(io::Error::other("no such name")),
        });
        Box::pin(async move { answer })
    }
}
