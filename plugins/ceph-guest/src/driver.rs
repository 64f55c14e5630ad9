//! Does what the machine asks for, and tells it what came of it.

use crate::background::Background;
use crate::cipher::{HostCipher, HostCiphers};
use crate::clock::{HostEntropy, now};
use crate::link::{self, Link, Links};
use crate::payload::HostBytes;
use futures::channel::{mpsc, oneshot};
use futures::future::{AbortHandle, Abortable, Either, FutureExt as _, join_all, poll_fn, select};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use wasmount_ceph::auth::AuthError;
use wasmount_ceph::mon::{RequestId, Usage};
use wasmount_ceph::msgr::{Chunk, NONCE_LEN};
use wasmount_ceph::rados::{Action, Cluster, Level, LinkId, Machine, OpId, OpReply, RadosError};
use wasmount_ceph::{Entropy, Now};
use wasmount_sdk::tcp::{Address, Connection};
use wasmount_sdk::{Buffer, Error, ErrorKind, log, system};

/// The cluster of a component.
pub type HostCluster = Cluster<HostBytes, HostCiphers>;

/// A machine for this driver.
pub trait HostMachine: Machine<Payload = HostBytes, Ciphers = HostCiphers> {}

impl<M: Machine<Payload = HostBytes, Ciphers = HostCiphers>> HostMachine for M {}

/// Who waits for a request.
type Waiter = oneshot::Sender<Result<OpReply<HostBytes>, RadosError>>;

/// What is to be written to which connection.
type Writes = Vec<(LinkId, Vec<Chunk<HostBytes>>)>;

/// Longest sleep of the loop that watches the time.
const LONGEST_SLEEP_MS: u64 = 60_000;

/// Who gives up earlier has changed its mind, and there is no fault to tell of.
const WORTH_TELLING_MS: u64 = 4_000;

/// The machine, and everything around it that a call or a loop may need.
pub(crate) struct Driver<M: HostMachine> {
    pub(crate) machine: RefCell<M>,
    pub(crate) links: Links,
    background: Background,
    waiting: RefCell<HashMap<OpId, Waiter>>,
    calls: RefCell<HashMap<u64, oneshot::Sender<M::Done>>>,
    usages: RefCell<HashMap<RequestId, oneshot::Sender<Usage>>>,
    /// Where goes what nobody asked for, until somebody has taken the other end.
    unasked: mpsc::UnboundedSender<M::Done>,
    news: RefCell<Option<mpsc::UnboundedReceiver<M::Done>>>,
    /// Who waits for the machine to become usable.
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

impl<M: HostMachine> Driver<M> {
    /// Begins to talk to a cluster. To be called while the plugin opens. `connect_ms` is how long a connection may take to be made.
    ///
    /// # Errors
    /// The machine cannot be made: the user's name is not one.
    pub(crate) fn begin(
        make: impl FnOnce(HostCiphers, Box<dyn Entropy>, Now) -> Result<M, AuthError>,
        connect_ms: u64,
    ) -> Result<Rc<Self>, AuthError> {
        let machine = make(HostCiphers, Box::new(HostEntropy), now())?;
        // Not bounded: what goes in is what a cluster takes back of what it had granted.
        let (unasked, news) = mpsc::unbounded();
        let driver = Rc::new(Self {
            machine: RefCell::new(machine),
            links: Links::default(),
            background: Background::begin(),
            waiting: RefCell::default(),
            calls: RefCell::default(),
            usages: RefCell::default(),
            unasked,
            news: RefCell::new(Some(news)),
            watchers: RefCell::default(),
            timer: Timer::default(),
            connect_ms,
            last_logged: RefCell::default(),
            closed: Cell::new(false),
        });
        driver.background.run(watch_time(driver.clone()));
        driver.act(None);
        Ok(driver)
    }

    /// Ends all connections and loops. Requests that wait fail.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.links.borrow_mut().clear();
        self.background.close();
        self.waiting.borrow_mut().clear();
        self.calls.borrow_mut().clear();
        self.usages.borrow_mut().clear();
        self.unasked.close_channel();
    }

    /// Tells the machine something, and does what it then asks for.
    pub(crate) fn tell<T>(self: &Rc<Self>, what: impl FnOnce(&mut M, Now) -> T) -> T {
        let told = what(&mut self.machine.borrow_mut(), now());
        self.act(None);
        told
    }

    /// The same for a call, after the machine was told: what is to be written because of it is written by the future, which the call
    /// has to drive. Nearly no write has to wait, and one that is left to the background costs two more turns of the component.
    pub(crate) fn act_for_call(self: &Rc<Self>) -> impl Future<Output = ()> + use<M> {
        let mut writes = Vec::new();
        self.act(Some(&mut writes));
        let writes = writes.into_iter().map(|(link, chunks)| {
            let (stop, registration) = AbortHandle::new_pair();
            self.writes(link, stop);
            Abortable::new(link::write(self.clone(), link, chunks), registration)
        });
        // An error means that the connection is not wanted any more.
        join_all(writes).map(|_stopped| ())
    }

    /// What nobody asked for, as it comes; `None` from the second time on.
    pub(crate) fn news(&self) -> Option<mpsc::UnboundedReceiver<M::Done>> {
        self.news.borrow_mut().take()
    }

    /// Hands out a call's end to whoever waits for it.
    pub(crate) fn wait_for_call(&self, call: u64) -> oneshot::Receiver<M::Done> {
        let (sender, receiver) = oneshot::channel();
        self.calls.borrow_mut().insert(call, sender);
        receiver
    }

    /// The same for a question about room.
    pub(crate) fn wait_for_usage(&self, request: RequestId) -> oneshot::Receiver<Usage> {
        let (sender, receiver) = oneshot::channel();
        self.usages.borrow_mut().insert(request, sender);
        receiver
    }

    /// Nobody waits for it any more.
    pub(crate) fn give_up_usage(&self, request: RequestId) {
        if self.usages.borrow_mut().remove(&request).is_some() {
            self.machine.borrow_mut().cluster_mut().cancel_usage(request);
        }
    }

    /// What was answered to somebody who does not wait any more.
    pub(crate) fn nobody_waits_for(&self, done: M::Done) {
        // Only fails when everything is being closed.
        let _ = self.unasked.unbounded_send(done);
    }

    /// Nobody waits any more for this call, which was begun at `since`.
    pub(crate) fn give_up_call(self: &Rc<Self>, call: u64, since: Now) {
        if self.calls.borrow_mut().remove(&call).is_some() && !self.closed.get() {
            let waits_for = self.machine.borrow().waits_for(call);
            self.log_given_up(since, waits_for);
            self.tell(|machine, now| machine.give_up(call, now));
        }
    }

    /// The host gives up what is not answered by its deadline, and does not know what it was that was not.
    fn log_given_up(&self, since: Now, waits_for: Option<String>) {
        let waited_ms = now().monotonic_ms.saturating_sub(since.monotonic_ms);
        if let Some(waits_for) = waits_for.filter(|_| waited_ms >= WORTH_TELLING_MS) {
            self.log(Level::Warn, format!("given up after {} s: {waits_for}", waited_ms / 1000));
        }
    }

    /// Hands out a request's end to whoever waits for it.
    pub(crate) fn wait_for(&self, op: OpId) -> oneshot::Receiver<Result<OpReply<HostBytes>, RadosError>> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().insert(op, sender);
        receiver
    }

    /// Nobody waits any more for this request, which was begun at `since`.
    pub(crate) fn give_up(self: &Rc<Self>, op: OpId, since: Now) {
        if self.waiting.borrow_mut().remove(&op).is_some() && !self.closed.get() {
            let waits_for = self.machine.borrow().cluster().waits_for(op, now());
            self.log_given_up(since, waits_for);
            self.tell(|machine, now| machine.cancel(op, now));
        }
    }

    /// Waits until `done` has something to say about the machine, which is asked whenever something has happened.
    pub(crate) async fn until<T>(&self, done: impl Fn(&M) -> Option<T>) -> T {
        poll_fn(|context| match done(&self.machine.borrow()) {
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
            self.tell(|machine, now| machine.failed(id, &reason, now));
        }
    }

    /// A write of this connection is under way.
    fn writes(&self, link: LinkId, stop: AbortHandle) {
        if let Some(link) = self.links.borrow_mut().get_mut(&link) {
            link.stop_writing = Some(stop);
        }
    }

    /// Does everything the machine asks for, but for writes if somebody else wants to do them.
    fn act(self: &Rc<Self>, mut writes: Option<&mut Writes>) {
        loop {
            // Ends the borrows before anything is done.
            let action = self.machine.borrow_mut().poll_action();
            if let Some(action) = action {
                match (action, &mut writes) {
                    (Action::Write { link, chunks }, Some(writes)) => writes.push((link, chunks)),
                    (action, _) => self.do_one(action),
                }
                continue;
            }
            let done = self.machine.borrow_mut().poll_done();
            let Some(done) = done else { break };
            self.hand_out(done);
        }
        // A connection may have more to read now, and somebody may wait for the machine.
        let mut wakers = std::mem::take(&mut *self.watchers.borrow_mut());
        wakers.extend(self.links.borrow_mut().values_mut().filter_map(|link| link.waiting.take()));
        wakers.into_iter().for_each(Waker::wake);
        let next = self.machine.borrow().next_timer();
        self.timer.wake_by(next);
    }

    /// To whom it belongs. Where nobody waits any more, to who takes the news: what was answered may have to be given back.
    fn hand_out(&self, done: M::Done) {
        let waiter = M::answers(&done).and_then(|call| self.calls.borrow_mut().remove(&call));
        let unwanted = match waiter {
            Some(waiter) => waiter.send(done).err(),
            None => Some(done),
        };
        if let Some(done) = unwanted {
            self.nobody_waits_for(done);
        }
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
                self.writes(link, stop);
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
            Action::Usage { request, usage } => {
                // Who gave up has said so.
                let waiter = self.usages.borrow_mut().remove(&request);
                waiter.map(|waiter| waiter.send(usage));
            }
            // A cluster on its own asks for none of these, and who is built around one keeps them.
            Action::Delivered(_)
            | Action::PeerReady { .. }
            | Action::PeerReset { .. }
            | Action::PeerMessage { .. }
            | Action::PeerLost { .. }
            | Action::Blocklisted { .. } => {}
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

    /// Runs this in the background, until the client is closed.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.background.run(work);
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
            Ok(plain) => self.tell(|machine, now| machine.opened(link, Some(HostBytes(plain)), now)),
            Err(error) if error.kind == ErrorKind::Corrupt => {
                self.tell(|machine, now| machine.opened(link, None, now));
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
            Ok(sealed) => self.tell(|machine, now| machine.sealed(link, HostBytes(sealed), now)),
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

/// Calls the machine when it wants to be called.
async fn watch_time<M: HostMachine>(driver: Rc<Driver<M>>) {
    while !driver.closed.get() {
        let now_ms = system::monotonic_ms();
        let next = driver.machine.borrow().next_timer();
        match next {
            Some(at) if at <= now_ms => driver.tell(M::on_time),
            next => {
                let longest = now_ms + LONGEST_SLEEP_MS;
                if !driver.timer.sleep(next.map_or(longest, |at| at.min(longest))).await {
                    return;
                }
            }
        }
    }
}
