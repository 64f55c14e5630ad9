//! The network of one mount.

use super::client::{Destination, HeadLimits};
use super::request::prepare;
use super::url::Target;
use super::{HttpClient, HttpRequest, HttpResponse};
use crate::policy::{Grants, ReachPolicy};
use crate::tls::{Proxy, ProxySettings, TlsContext, TlsSettings};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use wasmount_types::{Error, Result};

/// What one mount sends through: the client, seen through the mount's grants, trust and time limits. Cheap to clone.
#[derive(Clone)]
pub struct MountNet {
    client: HttpClient,
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) grants: Grants,
    pub(crate) policy: ReachPolicy,
    pub(crate) tls: TlsContext,
    proxy: ProxySettings,
    response_head: Duration,
    /// What every request without a proxy has in common, for `http` and for `https`.
    plain_realm: [u8; 32],
    tls_realm: [u8; 32],
    /// The TCP connections the mount may have.
    pub(crate) tcp: Arc<Semaphore>,
}

impl MountNet {
    /// Binds the client to a mount. `response_head` is the longest time to a response head that a request of this mount
    /// may take, counted from the last piece of its body if it has one; `None`: [`crate::NetLimits::response_head`].
    /// Reads the PEM files.
    ///
    /// # Errors
    /// `invalid`, blame `caller`: a PEM file is missing or malformed; the message names the option and the file.
    pub fn new(
        client: HttpClient,
        grants: Grants,
        policy: ReachPolicy,
        tls: &TlsSettings,
        response_head: Option<Duration>,
    ) -> Result<Self> {
        let response_head = response_head.unwrap_or(client.limits().response_head);
        let (proxy, tls) = (tls.proxy.clone(), TlsContext::build(tls)?);
        let (plain_realm, tls_realm) = (realm(&policy, None, None), realm(&policy, Some(&tls), None));
        let tcp = Arc::new(Semaphore::new(client.limits().tcp_connections.min(Semaphore::MAX_PERMITS)));
        let inner = Inner { grants, policy, tls, proxy, response_head, plain_realm, tls_realm, tcp };
        Ok(Self { client, inner: Arc::new(inner) })
    }

    /// Sends a request and waits for the head of the response.
    ///
    /// # Errors
    /// - `invalid`, blame `plugin`: malformed method, URL or header, or a header the host owns.
    /// - `denied`, blame `host`: not granted, not for one of its secrets, or outside the reach policy; the message names the remedy.
    /// - `unavailable`, blame `origin`: DNS, connect, TLS or reset.
    /// - `timed-out`: a limit of the request, the mount or the host.
    ///
    /// `effect` is `unknown` once the head was sent, unless the method is safe (RFC 9110, section 9.2.1).
    ///
    /// # Cancellation safety
    /// Dropping the future cancels the request and closes its connection.
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Error> {
        let inner = &self.inner;
        let target = Target::parse(&request.url)?;
        inner.grants.check(target.scheme(), &target.host, target.port, &request.method)?;
        for header in &request.secret_headers {
            inner.grants.check_secret(target.scheme(), &target.host, target.port, &header.option)?;
        }
        let proxy = inner.proxy.for_origin(target.https, &target.host, target.port);
        let limits = HeadLimits { hard: request.timeout, silence: inner.response_head };
        // Through a tunnel the request is an ordinary one.
        let prepared = prepare(request, &target, proxy.filter(|_| !target.https), self.client.limits())?;
        let realm = match (proxy, target.https) {
            (None, false) => inner.plain_realm,
            (None, true) => inner.tls_realm,
            (Some(proxy), https) => realm(&inner.policy, https.then_some(&inner.tls), Some(proxy)),
        };
        let (tls, policy) = (&inner.tls, &inner.policy);
        let destination = Destination { target: &target, tls, proxy, policy, realm };
        self.client.exchange(destination, prepared, limits).await
    }

    /// What it is made of.
    pub(crate) fn parts(&self) -> (&HttpClient, &Inner) {
        (&self.client, &self.inner)
    }

    /// The runtime on which its sockets live: what waits for its answers is woken with the least effort there.
    pub fn handle(&self) -> &tokio::runtime::Handle {
        self.client.handle()
    }
}

/// Tells connections apart that must not be shared although their origin is the same.
fn realm(policy: &ReachPolicy, tls: Option<&TlsContext>, proxy: Option<&Proxy>) -> [u8; 32] {
    let mut digest = Sha256::new_with_prefix(policy.fingerprint());
    if let Some(tls) = tls {
        digest.update(tls.identity);
    }
    if let Some(proxy) = proxy {
        digest.update(proxy.to_string());
        digest.update(proxy.authorization.as_ref().map_or("", |value| value.as_str()));
    }
    digest.finalize().into()
}
