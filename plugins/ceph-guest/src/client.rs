//! What a plugin has of a cluster.

use crate::driver::Driver;
use crate::failure;
use crate::payload::HostBytes;
use futures::future::{Either, select};
use std::pin::pin;
use std::rc::Rc;
use wasmount_ceph::osdmap::OsdMap;
use wasmount_ceph::rados::{Config, OpId, OpReply, OpRequest, RadosError, Status};
use wasmount_sdk::{Error, Result, system};

/// A client of one cluster. Clones are the same client.
#[derive(Clone)]
pub struct Client(Rc<Driver>);

impl std::fmt::Debug for Client {
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
        let entity = config.entity.clone();
        let driver = Driver::begin(config).map_err(|error| failure::configuration(&error.to_string()))?;
        let client = Self(driver.clone());
        let usable = driver.until(|cluster| match cluster.status() {
            Status::Ready => Some(Ok(())),
            Status::Failed(why) => Some(Err(failure::configuration(&why))),
            Status::Connecting(_) => None,
        });
        let limit = pin!(system::sleep(limit_ms));
        let result = match select(pin!(usable), limit).await {
            Either::Left((result, _)) => result,
            Either::Right(((), _)) => Err(client.not_yet(&entity)),
        };
        match result {
            Ok(()) => Ok(client),
            Err(error) => {
                driver.close();
                Err(error)
            }
        }
    }

    /// Why the cluster cannot be used although nothing is known to be wrong.
    fn not_yet(&self, entity: &str) -> Error {
        let why = match self.0.cluster.borrow().status() {
            Status::Connecting(Some(why)) => why,
            _ => format!(
                "the monitors give {entity} no map of the cluster: have they a quorum, and may {entity} ask them (mon 'profile rbd')?"
            ),
        };
        Error::unavailable(why).retry_after_ms(1000)
    }

    /// Does a request and waits for its end. Dropping the future gives the request up.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn exec(&self, request: OpRequest<HostBytes>) -> Result<OpReply<HostBytes>, RadosError> {
        let driver = &self.0;
        // The request may end at once, so somebody has to wait before anything is done.
        let op = driver.cluster.borrow_mut().submit(request, crate::clock::now());
        let answer = driver.wait_for(op);
        let _guard = GiveUp { driver, op };
        driver.tell(|_, _| ());
        answer.await.unwrap_or(Err(RadosError::Cancelled))
    }

    /// Looks something up in the newest map.
    ///
    /// # Errors
    /// `unavailable`: there is none any more.
    pub fn with_map<T>(&self, look: impl FnOnce(&OsdMap) -> T) -> Result<T> {
        let cluster = self.0.cluster.borrow();
        cluster.osdmap().map(look).ok_or_else(|| Error::unavailable("there is no map of the cluster"))
    }

    /// Ends all connections. Requests that wait fail.
    pub fn close(&self) {
        self.0.close();
    }
}

/// Gives a request up if nobody waits for it any more.
struct GiveUp<'a> {
    driver: &'a Rc<Driver>,
    op: OpId,
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        self.driver.give_up(self.op);
    }
}
