//! Metrics over HTTP.

use super::exposition::MEDIA_TYPE;
use super::registry::Metrics;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// How long a client may take for one request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most connections at once; others wait to be accepted.
const MAX_CONNECTIONS: usize = 16;

/// Longest request line and headers, in bytes. The least that hyper takes.
const MAX_HEAD: usize = 8192;

/// Pause after a failed `accept`: usually there are too many open files, and trying at once would only heat the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process has the port.
    #[error(
        "--metrics-addr {0}: another process listens there; give each process of a node a port of its own"
    )]
    Taken(SocketAddr),
    /// The address cannot be used.
    #[error("--metrics-addr {address}: {cause}; choose an address of this machine and a port above 1023")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
}

/// Says whether the mount works, or in one sentence why not. Must return at once.
pub type Health = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Metrics are served as long as this lives.
#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Listening {
    /// Where, with the port that was chosen if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves `GET /metrics` and `GET /healthz` at `address`, and nowhere else, until the result is dropped.
///
/// `/healthz` answers 200, or 503 with the sentence that `health` gives.
///
/// # Errors
/// When the address cannot be used.
pub fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    health: Health,
    runtime: &Handle,
) -> Result<Listening, ServeError> {
    let failed = |cause: io::Error| match cause.kind() {
        io::ErrorKind::AddrInUse => ServeError::Taken(address),
        _ => ServeError::Bind { address, cause },
    };
    let bind = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        let _guard = runtime.enter();
        Ok((TcpListener::from_std(listener)?, bound))
    };
    let (listener, bound) = bind().map_err(failed)?;
    let task = runtime.spawn(accept(listener, metrics, health));
    Ok(Listening { address: bound, task })
}

async fn accept(listener: TcpListener, metrics: Arc<Metrics>, health: Health) {
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Never closed, so this never ends.
    while let Ok(permit) = free.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connection(stream, metrics.clone(), health.clone());
                tokio::spawn(async move {
                    // A client that is too slow or breaks off is its own problem.
                    let _ = tokio::time::timeout(PATIENCE, connection).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "metrics: a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One request and its answer.
async fn connection(stream: TcpStream, metrics: Arc<Metrics>, health: Health) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let response = answer(&request, &metrics, &health);
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn answer(request: &Request<Incoming>, metrics: &Metrics, health: &Health) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            let mut response = text(StatusCode::OK, metrics.snapshot().prometheus());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
            response
        }
        "/healthz" => match health() {
            Ok(()) => text(StatusCode::OK, "ok\n".into()),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n".into()),
    }
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
