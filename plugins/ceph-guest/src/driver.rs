//! Does what the cluster asks for, and tells it what came of it.

use crate::background::Background;
use crate::cipher::{HostCipher, HostCiphers};
use crate::clock::{HostEntropy, now};
use crate::link::{self, Link, Links};
use crate::payload::HostBytes;
use futures::channel::oneshot;
use futures::future::{AbortHandle, Abortable, Either, poll_fn, select};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use wasmount_ceph::Now;
use wasmount_ceph::auth::AuthError;
use wasmount_ceph::msgr::{Chunk, NONCE_LEN};
use wasmount_ceph::rados::{Action, Cluster, Config, Level, LinkId, OpId, OpReply, RadosError};
use wasmount_sdk::tcp::{Address, Connection};
use wasmount_sdk::{Buffer, Error, ErrorKind, log, system};

/// The cluster of a component.
pub(crate) type HostCluster = Cluster<HostBytes, HostCiphers>;
/// Who waits for a request.
type Waiter = oneshot::Sender<Result<OpReply<HostBytes>, RadosError>>;

/// Longest sleep of the loop that watches the time.
const LONGEST_SLEEP_MS: u64 = 60_000;

/// The cluster, and everything around it that a call or a loop may need.
pub(crate) struct Driver {
    pub(crate) cluster: RefCell<HostCluster>,
    pub(crate) links: Links,
    background: Background,
    waiting: RefCell<HashMap<OpId, Waiter>>,
    /// Who waits for the cluster to become usable.
    watchers: RefCell<Vec<Waker>>,
    timer: Timer,
    connect_ms: u64,
    /// The last line of the log.
    last_logged: RefCell<String>,
    closed: Cell<bool>,
}

/// What the loop that watches the time sleeps for.
#[derive(Default)]
struct Timer {
    /// It wakes up at this moment of the monotonic clock; `None`: it does not sleep.
    until_ms: Cell<Option<u64>>,
    /// Wakes it up earlier.
    waker: RefCell<Option<Waker>>,
}

impl Driver {
    /// Begins to talk to a cluster. To be called while the plugin opens.
    ///
    /// # Errors
    /// The user's name is not one.
    pub(crate) fn begin(config: Config) -> Result<Rc<Self>, AuthError> {
        let connect_ms = config.connect_ms;
        let cluster = Cluster::new(config, HostCiphers, Box::new(HostEntropy), now())?;
        let driver = Rc::new(Self {
            cluster: RefCell::new(cluster),
            links: Links::default(),
            background: Background::begin(),
            waiting: RefCell::default(),
            watchers: RefCell::default(),
            timer: Timer::default(),
            connect_ms,
            last_logged: RefCell::default(),
            closed: Cell::new(false),
        });
        driver.background.run(watch_time(driver.clone()));
        driver.act();
        Ok(driver)
    }

    /// Ends all connections and loops. Requests that wait fail.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.links.borrow_mut().clear();
        self.background.close();
        self.waiting.borrow_mut().clear();
    }

    /// Tells the cluster something, and does what it then asks for.
    pub(crate) fn tell<T>(self: &Rc<Self>, what: impl FnOnce(&mut HostCluster, Now) -> T) -> T {
        let told = what(&mut self.cluster.borrow_mut(), now());
        self.act();
        told
    }

    /// Hands out a request's end to whoever waits for it.
    pub(crate) fn wait_for(&self, op: OpId) -> oneshot::Receiver<Result<OpReply<HostBytes>, RadosError>> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().insert(op, sender);
        receiver
    }

    /// Nobody waits for this request any more.
    pub(crate) fn give_up(self: &Rc<Self>, op: OpId) {
        if self.waiting.borrow_mut().remove(&op).is_some() && !self.closed.get() {
            self.tell(|cluster, now| cluster.cancel(op, now));
        }
    }

    /// Waits until `done` has something to say about the cluster, which is asked whenever something has happened.
    pub(crate) async fn until<T>(&self, done: impl Fn(&HostCluster) -> Option<T>) -> T {
        poll_fn(|context| match done(&self.cluster.borrow()) {
            Some(found) => Poll::Ready(found),
            None => {
                self.watchers.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    /// Notes that a connection stands; `false`: nobody wants it any more.
    pub(crate) fn stands(&self, id: LinkId, connection: Rc<Connection>) -> bool {
        let mut links = self.links.borrow_mut();
        let link = links.get_mut(&id);
        link.is_some_and(|link| {
            link.connection = Some(connection);
            true
        })
    }

    /// A connection that stands.
    pub(crate) fn connection(&self, id: LinkId) -> Option<Rc<Connection>> {
        self.links.borrow().get(&id)?.connection.clone()
    }

    /// A connection could not be made, or has ended.
    pub(crate) fn broken(self: &Rc<Self>, id: LinkId, error: &Error) {
        let link = self.links.borrow_mut().remove(&id);
        if let Some(link) = link.filter(|_| !self.closed.get()) {
            let reason = link::reason(error, &link.address);
            self.tell(|cluster, now| cluster.failed(id, &reason, now));
        }
    }

    /// Does everything the cluster asks for.
    fn act(self: &Rc<Self>) {
        loop {
            // Ends the borrow before anything is done.
            let action = self.cluster.borrow_mut().poll_action();
            let Some(action) = action else { break };
            self.do_one(action);
        }
        // A connection may have more to read now, and somebody may wait for the cluster.
        let mut wakers = std::mem::take(&mut *self.watchers.borrow_mut());
        wakers.extend(self.links.borrow_mut().values_mut().filter_map(|link| link.waiting.take()));
        wakers.into_iter().for_each(Waker::wake);
        let next = self.cluster.borrow().next_timer();
        self.timer.wake_by(next);
    }

    fn do_one(self: &Rc<Self>, action: Action<HostBytes, HostCipher>) {
        match action {
            Action::Connect { link, host, port } => {
                let to = Address::new(host, port);
                let address = to.to_string();
                let stop = self.run(link::run(self.clone(), link, to, self.connect_ms));
                let state = Link { address, stop, stop_writing: None, connection: None, waiting: None };
                self.links.borrow_mut().insert(link, state);
            }
            Action::Write { link, chunks } => {
                let stop = self.run(link::write(self.clone(), link, chunks));
                if let Some(link) = self.links.borrow_mut().get_mut(&link) {
                    link.stop_writing = Some(stop);
                }
            }
            Action::Open { link, cipher, nonce, sealed } => {
                self.background.run(self.clone().open(link, cipher, nonce, sealed));
            }
            Action::Seal { link, cipher, nonce, plain } => {
                self.background.run(self.clone().seal(link, cipher, nonce, plain));
            }
            Action::Close { link } => drop(self.links.borrow_mut().remove(&link)),
            Action::Completed { op, result } => {
                if let Some(waiter) = self.waiting.borrow_mut().remove(&op) {
                    // Whoever waited has left otherwise.
                    let _ = waiter.send(result);
                }
            }
            Action::Log { level, text } => self.log(level, text),
        }
    }

    /// Writes a line, unless it is the same as the last one: what is tried again fails again in the same way.
    fn log(&self, level: Level, text: String) {
        if *self.last_logged.borrow() == text {
            return;
        }
        match level {
            Level::Debug => log::debug(&text),
            Level::Info => log::info(&text),
            Level::Warn => log::warn(&text),
        }
        self.last_logged.replace(text);
    }

    /// Runs this in the background, until it is stopped.
    fn run(&self, work: impl Future<Output = ()> + 'static) -> AbortHandle {
        let (stop, registration) = AbortHandle::new_pair();
        let work = Abortable::new(work, registration);
        self.background.run(async move {
            // An error means that it was stopped.
            let _ = work.await;
        });
        stop
    }

    async fn open(
        self: Rc<Self>,
        link: LinkId,
        cipher: Rc<HostCipher>,
        nonce: [u8; NONCE_LEN],
        sealed: HostBytes,
    ) {
        match cipher.0.open(nonce.to_vec(), Vec::new(), &sealed.0).await {
            Ok(plain) => self.tell(|cluster, now| cluster.opened(link, Some(HostBytes(plain)), now)),
            Err(error) if error.kind == ErrorKind::Corrupt => {
                self.tell(|cluster, now| cluster.opened(link, None, now));
            }
            Err(error) => self.broken(link, &error),
        }
    }

    async fn seal(
        self: Rc<Self>,
        link: LinkId,
        cipher: Rc<HostCipher>,
        nonce: [u8; NONCE_LEN],
        plain: Vec<Chunk<HostBytes>>,
    ) {
        let sealed = async {
            let plain = link::buffers(plain)?;
            let plain: Vec<&Buffer> = plain.iter().collect();
            cipher.0.seal(nonce.to_vec(), Vec::new(), plain).await
        };
        match sealed.await {
            Ok(sealed) => self.tell(|cluster, now| cluster.sealed(link, HostBytes(sealed), now)),
            Err(error) => self.broken(link, &error),
        }
    }
}

impl Timer {
    /// Something is to be done at this moment.
    fn wake_by(&self, at_ms: Option<u64>) {
        let (Some(at), Some(until)) = (at_ms, self.until_ms.get()) else { return };
        if at < until
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            self.until_ms.set(None);
            waker.wake();
        }
    }

    /// Waits until this moment, or until an earlier one is wanted; `false`: the host ended the sleep, since everything is being closed.
    async fn sleep(&self, until_ms: u64) -> bool {
        self.until_ms.set(Some(until_ms));
        let earlier = poll_fn(|context| match self.until_ms.get() {
            None => Poll::Ready(()),
            Some(_) => {
                *self.waker.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        });
        let slept = system::sleep(until_ms.saturating_sub(system::monotonic_ms()));
        let woken = matches!(select(earlier, pin!(slept)).await, Either::Left(_));
        self.until_ms.set(None);
        woken || system::monotonic_ms() >= until_ms
    }
}

/// Calls the cluster when it wants to be called.
async fn watch_time(driver: Rc<Driver>) {
    while !driver.closed.get() {
        let now_ms = system::monotonic_ms();
        let next = driver.cluster.borrow().next_timer();
        match next {
            Some(at) if at <= now_ms => driver.tell(HostCluster::on_time),
            next => {
                let longest = now_ms + LONGEST_SLEEP_MS;
                if !driver.timer.sleep(next.map_or(longest, |at| at.min(longest))).await {
                    return;
                }
            }
        }
    }
}
