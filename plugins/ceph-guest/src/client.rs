//! What a plugin has of a cluster.

use crate::cipher::HostCiphers;
use crate::driver::{Driver, HostCluster, HostMachine};
use crate::failure;
use crate::payload::HostBytes;
use futures::channel::mpsc::UnboundedReceiver;
use futures::channel::oneshot::Receiver;
use futures::future::{Either, select};
use std::pin::pin;
use std::rc::Rc;
use wasmount_ceph::auth::AuthError;
use wasmount_ceph::mon::{RequestId, Usage};
use wasmount_ceph::osdmap::OsdMap;
use wasmount_ceph::rados::{Cluster, Config, OpId, OpReply, OpRequest, RadosError, Status};
use wasmount_ceph::{Entropy, Now};
use wasmount_sdk::{Error, Result, system};

/// A client of one cluster: of the cluster alone, or of a machine around it. Clones are the same client.
pub struct Client<M: HostMachine = HostCluster>(Rc<Driver<M>>);

impl<M: HostMachine> Clone for Client<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: HostMachine> std::fmt::Debug for Client<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Connects, and waits until the cluster can be used. Must be called while the plugin opens: the loops that keep the connections
    /// belong to that call, and outlive it.
    ///
    /// # Errors
    /// `unauthenticated`, `invalid`: the configuration is wrong, the sentence says what; `unavailable`: nothing answers within `limit_ms`.
    pub async fn connect(config: Config, limit_ms: u64) -> Result<Self> {
        let connect_ms = config.connect_ms;
        let nothing_known = format!(
            "the monitors give {0} no map of the cluster: have they a quorum, and may {0} ask them (mon 'profile rbd')?",
            config.entity
        );
        let make = |ciphers, entropy, now| Cluster::new(config, ciphers, entropy, now);
        Self::begin(make, connect_ms, limit_ms, &nothing_known).await
    }
}

impl<M: HostMachine> Client<M> {
    /// Makes a machine, and waits until it can be used. Must be called while the plugin opens: the loops that keep the connections
    /// belong to that call, and outlive it. `connect_ms` is how long a connection may take to be made; `nothing_known` is the sentence
    /// for the case that time is over and nothing is known about why.
    ///
    /// # Errors
    /// `unauthenticated`, `invalid`: the configuration is wrong, the sentence says what; `unavailable`: it cannot be used within `limit_ms`.
    pub async fn begin(
        make: impl FnOnce(HostCiphers, Box<dyn Entropy>, Now) -> std::result::Result<M, AuthError>,
        connect_ms: u64,
        limit_ms: u64,
        nothing_known: &str,
    ) -> Result<Self> {
        let driver =
            Driver::begin(make, connect_ms).map_err(|error| failure::configuration(&error.to_string()))?;
        let client = Self(driver.clone());
        let usable = driver.until(|machine| match machine.status() {
            Status::Ready => Some(Ok(())),
            Status::Failed(why) => Some(Err(failure::configuration(&why))),
            Status::Connecting(_) => None,
        });
        let limit = pin!(system::sleep(limit_ms));
        let result = match select(pin!(usable), limit).await {
            Either::Left((result, _)) => result,
            Either::Right(((), _)) => Err(client.not_yet(nothing_known)),
        };
        match result {
            Ok(()) => Ok(client),
            Err(error) => {
                driver.close();
                Err(error)
            }
        }
    }

    /// Why the machine cannot be used although nothing is known to be wrong.
    fn not_yet(&self, nothing_known: &str) -> Error {
        let why = match self.0.machine.borrow().status() {
            Status::Connecting(Some(why)) => why,
            _ => nothing_known.to_owned(),
        };
        Error::unavailable(why).retry_after_ms(1000)
    }

    /// Tells the machine something, or asks something that it knows, and does what it then wants.
    pub fn tell<T>(&self, what: impl FnOnce(&mut M, Now) -> T) -> T {
        self.0.tell(what)
    }

    /// Looks at the machine. Nothing else may be called meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(&self.0.machine.borrow())
    }

    /// Begins a call of the machine and waits for its end: `begin` makes it, and says by which number
    /// [`Machine::answers`](wasmount_ceph::rados::Machine::answers) will know its end. Dropping the future gives the call up. `None`: the client was closed.
    pub async fn call(&self, begin: impl FnOnce(&mut M, Now) -> u64) -> Option<M::Done> {
        let driver = &self.0;
        // The call may end at once, so somebody has to wait before anything is done.
        let since = crate::clock::now();
        let call = begin(&mut driver.machine.borrow_mut(), since);
        let mut pending = PendingCall { driver, call, since, answer: driver.wait_for_call(call) };
        driver.act_for_call().await;
        (&mut pending.answer).await.ok()
    }

    /// Asks the monitors how much room there is in the cluster, or for a pool. `None`: the client was closed.
    pub async fn usage(&self, pool: Option<i64>) -> Option<Usage> {
        let driver = &self.0;
        let request = driver.machine.borrow_mut().cluster_mut().usage(pool, crate::clock::now());
        let answer = driver.wait_for_usage(request);
        let _guard = GiveUpUsage { driver, request };
        driver.tell(M::settle);
        answer.await.ok()
    }

    /// What the machine tells without being asked, as it comes; `None` from the second time on. Whoever takes it must read it: it is not
    /// bounded.
    #[must_use]
    pub fn news(&self) -> Option<UnboundedReceiver<M::Done>> {
        self.0.news()
    }

    /// Runs this in the background until the client is closed, whichever call of the plugin is made or given up.
    pub fn run(&self, work: impl Future<Output = ()> + 'static) {
        self.0.spawn(work);
    }

    /// Does a request and waits for its end. Dropping the future gives the request up.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn exec(&self, request: OpRequest<HostBytes>) -> Result<OpReply<HostBytes>, RadosError> {
        let driver = &self.0;
        // The request may end at once, so somebody has to wait before anything is done.
        let since = crate::clock::now();
        let op = driver.machine.borrow_mut().submit(request, since);
        let answer = driver.wait_for(op);
        let _guard = GiveUp { driver, op, since };
        let answer = write_and_wait(driver.act_for_call(), answer).await;
        answer.unwrap_or(Err(RadosError::Cancelled))
    }

    /// Looks something up in the newest map.
    ///
    /// # Errors
    /// `unavailable`: there is none any more.
    pub fn with_map<T>(&self, look: impl FnOnce(&OsdMap) -> T) -> Result<T> {
        let machine = self.0.machine.borrow();
        machine
            .cluster()
            .osdmap()
            .map(look)
            .ok_or_else(|| Error::unavailable("there is no map of the cluster"))
    }

    /// Ends all connections. Requests that wait fail.
    pub fn close(&self) {
        self.0.close();
    }
}

/// Writes what a call has to write, and waits for its answer; `None`: the client was closed.
async fn write_and_wait<T>(writes: impl Future<Output = ()>, answer: Receiver<T>) -> Option<T> {
    match select(pin!(writes), answer).await {
        Either::Left(((), answer)) => answer.await.ok(),
        Either::Right((answer, writes)) => {
            // Others wait for their turn on the same connection.
            writes.await;
            answer.ok()
        }
    }
}

/// Gives a request up if nobody waits for it any more.
struct GiveUp<'a, M: HostMachine> {
    driver: &'a Rc<Driver<M>>,
    op: OpId,
    since: Now,
}

impl<M: HostMachine> Drop for GiveUp<'_, M> {
    fn drop(&mut self) {
        self.driver.give_up(self.op, self.since);
    }
}

/// A call that somebody waits for. If it is given up when the machine has answered already, the answer is [news](Client::news): it may
/// hold something that has to be given back.
struct PendingCall<'a, M: HostMachine> {
    driver: &'a Rc<Driver<M>>,
    call: u64,
    since: Now,
    answer: Receiver<M::Done>,
}

impl<M: HostMachine> Drop for PendingCall<'_, M> {
    fn drop(&mut self) {
        self.driver.give_up_call(self.call, self.since);
        if let Ok(Some(done)) = self.answer.try_recv() {
            self.driver.nobody_waits_for(done);
        }
    }
}

/// As [`GiveUp`], for [`Client::usage`].
struct GiveUpUsage<'a, M: HostMachine> {
    driver: &'a Rc<Driver<M>>,
    request: RequestId,
}

impl<M: HostMachine> Drop for GiveUpUsage<'_, M> {
    fn drop(&mut self) {
        self.driver.give_up_usage(self.request);
    }
}
