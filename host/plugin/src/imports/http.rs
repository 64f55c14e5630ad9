//! `http`: requests through the mount's network, whose bodies stay in the host.

use super::body::{Body, Pieces};
use super::types::to_wit;
use super::wit::http as wit;
use super::wit::types::{Error as WitError, Pair};
use super::{interruptible, push, with};
use crate::instance::{GuestState, HasGuest};
use bytes::Bytes;
use futures::StreamExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use wasmount_net::{HttpRequest, MountNet, RequestBody, SecretHeader};
use wasmount_types::{Blame, Error, ErrorKind};
use wasmtime::component::Accessor;

impl wit::Host for GuestState {}

/// Takes everything out of the guest's hands before the first await.
fn prepare(
    state: &mut GuestState,
    request: wit::Request,
) -> wasmtime::Result<Result<(Arc<MountNet>, HttpRequest), Error>> {
    let content = request.content.map(|body| state.table.delete(body)).transpose()?;
    let headers = request.headers.into_iter().map(|h| (h.name, h.value.into_bytes())).collect();
    let mut secret_headers = Vec::with_capacity(request.secret_headers.len());
    for header in request.secret_headers {
        let secret = state.table.get(&header.secret)?;
        secret_headers.push(SecretHeader {
            name: header.name,
            prefix: header.prefix,
            option: secret.name.clone(),
            secret: secret.secret.clone(),
        });
    }
    let Some(net) = state.rights.net.clone() else {
        return Ok(Err(Error::new(
            ErrorKind::Denied,
            Blame::Host,
            "a plugin reaches the network for a mount only",
        )));
    };
    let body = match content.map(|Body(body)| Arc::into_inner(body)) {
        None => None,
        Some(Some(pieces)) => Some(request_body(pieces.into_inner())),
        Some(None) => {
            return Ok(Err(Error::new(ErrorKind::Busy, Blame::Plugin, "the request's body is being read")));
        }
    };
    Ok(Ok((
        net,
        HttpRequest {
            method: request.method,
            url: request.url,
            headers,
            secret_headers,
            body,
            expect_continue: request.expect_continue,
            timeout: request.timeout_ms.map(|ms| Duration::from_millis(u64::from(ms))),
        },
    )))
}

fn request_body(pieces: Pieces) -> RequestBody {
    /// Bytes handed to the connection at a time.
    const CHUNK: usize = 256 * 1024;
    let length = pieces.len();
    if length == Some(0) {
        return RequestBody::from(Bytes::new());
    }
    let pieces = futures::stream::unfold(pieces, |mut pieces| async move {
        let next = pieces.next(CHUNK).await?;
        Some((next.map(|held| held.bytes), pieces))
    });
    RequestBody::Stream { length, pieces: pieces.boxed() }
}

impl<T: Send + 'static> wit::HostWithStore<T> for HasGuest {
    async fn send(
        acc: &Accessor<T, Self>,
        request: wit::Request,
    ) -> wasmtime::Result<Result<wit::Response, WitError>> {
        let (net, request) = match with(acc, |state| prepare(state, request))? {
            Ok(prepared) => prepared,
            Err(error) => return Ok(Err(to_wit(error))),
        };
        let answer = interruptible(acc, net.send(request)).await;
        let response = match answer.unwrap_or_else(|stopped| Err(stopped.error())) {
            Ok(response) => response,
            Err(error) => return Ok(Err(to_wit(error))),
        };
        let headers = response.headers.into_iter().map(|(name, value)| Pair { name, value }).collect();
        let pushed = with(acc, |state| match Pieces::stream(response.body, &state.buffers) {
            Ok(pieces) => push(state, Body(Arc::new(Mutex::new(pieces)))),
            Err(error) => Ok(Err(error)),
        })?;
        Ok(pushed.map(|content| wit::Response { status: response.status, headers, content }).map_err(to_wit))
    }
}
