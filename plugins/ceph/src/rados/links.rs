//! Connections of a cluster's client, and which daemon each goes to.

use super::action::LinkId;
use super::peers::PeerId;
use crate::auth::{AuthError, MonAuthenticator, ServiceAuthenticator};
use crate::entropy::Entropy;
use crate::mon::MonLink;
use crate::msgr::{AeadFactory, Authenticator, Connection, SessionKeys};
use crate::time::Now;
use std::collections::BTreeMap;

/// The other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Daemon {
    /// A monitor, as the monitor client numbers its connections.
    Monitor(MonLink),
    /// An OSD.
    Osd(i32),
    /// A metadata server.
    Peer(PeerId),
}

/// How a connection authenticates: with a monitor or with a service.
pub(super) enum LinkAuthenticator {
    Monitor(MonAuthenticator),
    Service(ServiceAuthenticator),
}

impl LinkAuthenticator {
    fn inner(&mut self) -> &mut dyn Authenticator {
        match self {
            Self::Monitor(inner) => inner,
            Self::Service(inner) => inner,
        }
    }
}

impl Authenticator for LinkAuthenticator {
    fn method(&self) -> u32 {
        match self {
            Self::Monitor(inner) => inner.method(),
            Self::Service(inner) => inner.method(),
        }
    }

    fn start(&mut self, now: Now, entropy: &mut dyn Entropy) -> Result<Vec<u8>, AuthError> {
        self.inner().start(now, entropy)
    }

    fn bad_method(&mut self, result: i32, methods: &[u32], modes: &[u32]) -> AuthError {
        self.inner().bad_method(result, methods, modes)
    }

    fn more(&mut self, payload: &[u8], now: Now, entropy: &mut dyn Entropy) -> Result<Vec<u8>, AuthError> {
        self.inner().more(payload, now, entropy)
    }

    fn done(&mut self, global_id: u64, payload: &[u8], now: Now) -> Result<SessionKeys, AuthError> {
        self.inner().done(global_id, payload, now)
    }
}

/// One connection.
pub(super) struct Link<P, F: AeadFactory> {
    pub(super) daemon: Daemon,
    pub(super) connection: Connection<P, LinkAuthenticator, F>,
    /// There is a transport.
    pub(super) connected: bool,
    /// The driver is writing.
    pub(super) writing: bool,
    /// When the transport must be there.
    pub(super) connect_by: Option<u64>,
}

/// All connections.
pub(super) struct Links<P, F: AeadFactory> {
    last: u64,
    links: BTreeMap<LinkId, Link<P, F>>,
    daemons: BTreeMap<Daemon, LinkId>,
}

impl<P, F: AeadFactory> Links<P, F> {
    pub(super) fn new() -> Self {
        Self { last: 0, links: BTreeMap::new(), daemons: BTreeMap::new() }
    }

    /// Numbers a new connection.
    pub(super) fn insert(&mut self, link: Link<P, F>) -> LinkId {
        self.last += 1;
        let id = LinkId(self.last);
        self.daemons.insert(link.daemon, id);
        self.links.insert(id, link);
        id
    }

    pub(super) fn get(&self, id: LinkId) -> Option<&Link<P, F>> {
        self.links.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link<P, F>> {
        self.links.get_mut(&id)
    }

    /// Takes a connection out.
    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link<P, F>> {
        let link = self.links.remove(&id)?;
        if self.daemons.get(&link.daemon) == Some(&id) {
            self.daemons.remove(&link.daemon);
        }
        Some(link)
    }

    /// The connection to a daemon.
    pub(super) fn to(&self, daemon: Daemon) -> Option<LinkId> {
        self.daemons.get(&daemon).copied()
    }

    /// Connections to OSDs.
    pub(super) fn osds(&self) -> Vec<i32> {
        let osd = |daemon: &Daemon| match daemon {
            Daemon::Osd(osd) => Some(*osd),
            Daemon::Monitor(_) | Daemon::Peer(_) => None,
        };
        self.daemons.keys().filter_map(osd).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link<P, F>)> {
        self.links.iter().map(|(&id, link)| (id, link))
    }
}
