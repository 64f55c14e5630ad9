//! The thread that runs a machine: one task for each connection, one for time, one for commands.

use crate::aead::{Aes128Gcm, Aes128GcmFactory};
use crate::client::ClientError;
use bytes::{Bytes, BytesMut};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use wasmount_ceph::auth::AuthError;
use wasmount_ceph::msgr::{Aead as _, Arrived, Chunk, Want};
use wasmount_ceph::rados::{Action, Level, LinkId, Machine, OpId, OpReply, OpRequest, RadosError, Status};
use wasmount_ceph::types::UTime;
use wasmount_ceph::{Entropy, Now};

/// Small reads are gathered; a larger payload goes past the buffer.
const READ_BUFFER: usize = 16 << 10;

/// What the thread is asked for.
pub(crate) enum Command<M: Machine> {
    Submit { request: OpRequest<Bytes>, done: Done },
    Call { begin: Begin<M>, done: oneshot::Sender<M::Done> },
    Tell(Tell<M>),
    Cut(oneshot::Sender<usize>),
    MachineTime(oneshot::Sender<u64>),
}

/// Makes the machine.
pub(crate) type Make<M> =
    Box<dyn FnOnce(Aes128GcmFactory, Box<dyn Entropy>, Now) -> Result<M, AuthError> + Send>;

/// Begins a call of the machine, and says which.
type Begin<M> = Box<dyn FnOnce(&mut M, Now) -> u64 + Send>;

/// Something for the machine.
type Tell<M> = Box<dyn FnOnce(&mut M, Now) + Send>;

/// Where the end of a request is told.
type Done = oneshot::Sender<Result<OpReply<Bytes>, RadosError>>;

/// Milliseconds since the program first asked.
pub(crate) fn monotonic_ms() -> u64 {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    BEGINNING.get_or_init(Instant::now).elapsed().as_millis().try_into().unwrap_or(u64::MAX)
}

/// Processor time that this thread has spent.
fn processor_ns() -> u64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(spent.tv_sec), u64::try_from(spent.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanoseconds.unwrap_or(0))
}

fn now() -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = wall.as_secs().try_into().unwrap_or(u32::MAX);
    Now { monotonic_ms: monotonic_ms(), wall: UTime { seconds, nanoseconds: wall.subsec_nanos() } }
}

/// The kernel's randomness.
struct Random;

impl Entropy for Random {
    fn fill(&mut self, mut into: &mut [u8]) {
        while !into.is_empty() {
            // Interrupted: try again. No other error can come of valid memory.
            let got = rustix::rand::getrandom(&mut *into, rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
            into = &mut into[got..];
        }
    }
}

/// A machine for this driver.
pub trait NativeMachine: Machine<Payload = Bytes, Ciphers = Aes128GcmFactory, Done: Send> {}

impl<M: Machine<Payload = Bytes, Ciphers = Aes128GcmFactory, Done: Send>> NativeMachine for M {}

/// The tasks of a connection, and the way to its writer.
struct Link {
    task: AbortHandle,
    writes: mpsc::Sender<Vec<Chunk<Bytes>>>,
    /// There may be something to read again.
    readable: Rc<Notify>,
}

/// What the tasks share.
struct Driver<M: Machine> {
    machine: RefCell<M>,
    links: RefCell<HashMap<LinkId, Link>>,
    pending: RefCell<HashMap<OpId, Done>>,
    calls: RefCell<HashMap<u64, oneshot::Sender<M::Done>>>,
    /// Where goes what nobody asked for.
    unasked: std::sync::mpsc::Sender<M::Done>,
    /// Something happened.
    changed: Notify,
    /// When the task for time will wake.
    armed: Cell<Option<u64>>,
    rearm: Notify,
    machine_ns: Cell<u64>,
}

/// Runs until nobody can send commands any more.
pub(crate) fn run<M: NativeMachine>(
    make: Make<M>,
    milliseconds: u64,
    commands: mpsc::Receiver<Command<M>>,
    unasked: std::sync::mpsc::Sender<M::Done>,
    ready: oneshot::Sender<Result<(), ClientError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            ready.send(Err(ClientError::Thread(error.to_string()))).ok();
            return;
        }
    };
    let machine = match make(Aes128GcmFactory, Box::new(Random), now()) {
        Ok(machine) => machine,
        Err(error) => {
            ready.send(Err(ClientError::Refused(error.to_string()))).ok();
            return;
        }
    };
    let driver = Rc::new(Driver {
        machine: RefCell::new(machine),
        links: RefCell::default(),
        pending: RefCell::default(),
        calls: RefCell::default(),
        unasked,
        changed: Notify::new(),
        armed: Cell::new(None),
        rearm: Notify::new(),
        machine_ns: Cell::new(0),
    });
    LocalSet::new().block_on(&runtime, async {
        driver.act();
        let clock = spawn_local(keep_time(Rc::clone(&driver)));
        let result = become_ready(&driver, milliseconds).await;
        let begins = result.is_ok();
        ready.send(result).ok();
        if begins {
            serve(&driver, commands).await;
        }
        clock.abort();
    });
}

/// Waits for the first map.
async fn become_ready<M: NativeMachine>(driver: &Driver<M>, milliseconds: u64) -> Result<(), ClientError> {
    let wait = async {
        loop {
            let status = driver.machine.borrow().status();
            match status {
                Status::Ready => return Ok(()),
                Status::Failed(reason) => return Err(ClientError::Refused(reason)),
                Status::Connecting(_) => driver.changed.notified().await,
            }
        }
    };
    let limit = Duration::from_millis(milliseconds);
    tokio::time::timeout(limit, wait).await.unwrap_or_else(|_| {
        let reason = match driver.machine.borrow().status() {
            Status::Connecting(Some(reason)) => reason,
            _ => "nothing is known about why".into(),
        };
        Err(ClientError::TimedOut(reason))
    })
}

async fn serve<M: NativeMachine>(driver: &Rc<Driver<M>>, mut commands: mpsc::Receiver<Command<M>>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Submit { request, done } => {
                let op = driver.tell(|machine, now| machine.submit(request, now));
                driver.pending.borrow_mut().insert(op, done);
                driver.act();
            }
            Command::Call { begin, done } => {
                let call = driver.tell(begin);
                driver.calls.borrow_mut().insert(call, done);
                driver.act();
            }
            Command::Tell(tell) => {
                driver.tell(tell);
                driver.act();
            }
            Command::Cut(answer) => {
                let links: Vec<LinkId> = driver.links.borrow().keys().copied().collect();
                for link in &links {
                    driver.drop_link(*link);
                    driver.tell(|machine, now| machine.failed(*link, "cut", now));
                }
                driver.act();
                answer.send(links.len()).ok();
            }
            Command::MachineTime(answer) => {
                answer.send(driver.machine_ns.get()).ok();
            }
        }
    }
}

/// Tells the machine the time when it wants to know it.
async fn keep_time<M: NativeMachine>(driver: Rc<Driver<M>>) {
    loop {
        let next = driver.machine.borrow().next_timer();
        driver.armed.set(next);
        let wait = next.map_or(u64::MAX / 4, |at| at.saturating_sub(monotonic_ms()));
        let sleep = tokio::time::sleep(Duration::from_millis(wait.min(3_600_000)));
        tokio::select! {
            () = sleep => {
                driver.tell(M::on_time);
                driver.act();
            }
            () = driver.rearm.notified() => {}
        }
    }
}

impl<M: NativeMachine> Driver<M> {
    /// Calls the machine, and counts the time that takes.
    fn tell<T>(&self, call: impl FnOnce(&mut M, Now) -> T) -> T {
        let begin = processor_ns();
        let result = call(&mut self.machine.borrow_mut(), now());
        self.machine_ns.set(self.machine_ns.get().saturating_add(processor_ns().saturating_sub(begin)));
        result
    }

    /// Does what the machine wants.
    fn act(self: &Rc<Self>) {
        loop {
            if let Some(action) = self.tell(|machine, _| machine.poll_action()) {
                self.perform(action);
            } else if let Some(done) = self.tell(|machine, _| machine.poll_done()) {
                self.hand_out(done);
            } else {
                break;
            }
        }
        let next = self.machine.borrow().next_timer();
        if next.is_some_and(|at| self.armed.get().is_none_or(|armed| at < armed)) {
            self.armed.set(next);
            self.rearm.notify_one();
        }
        self.changed.notify_waiters();
    }

    /// To whom it belongs. Where nobody waits any more, nothing is lost.
    fn hand_out(&self, done: M::Done) {
        match M::answers(&done) {
            None => drop(self.unasked.send(done)),
            Some(call) => {
                if let Some(waiter) = self.calls.borrow_mut().remove(&call) {
                    waiter.send(done).ok();
                }
            }
        }
    }

    fn perform(self: &Rc<Self>, action: Action<Bytes, Aes128Gcm>) {
        match action {
            Action::Connect { link, host, port } => {
                // The machine lets one write be under way.
                let (writes, writer) = mpsc::channel(1);
                let readable = Rc::new(Notify::new());
                let run = run_link(Rc::clone(self), link, (host, port), writer, Rc::clone(&readable));
                let task = spawn_local(run).abort_handle();
                self.links.borrow_mut().insert(link, Link { task, writes, readable });
            }
            Action::Write { link, chunks } => {
                if let Some(link) = self.links.borrow().get(&link) {
                    // Full is not possible; closed means that the task has ended and says so itself.
                    link.writes.try_send(chunks).ok();
                }
            }
            Action::Open { link, cipher, nonce, sealed } => {
                let plain = cipher.open(&nonce, &sealed).map(Bytes::from);
                self.tell(|machine, now| machine.opened(link, plain, now));
                if let Some(link) = self.links.borrow().get(&link) {
                    link.readable.notify_one();
                }
            }
            Action::Seal { link, cipher, nonce, plain } => {
                let mut text = Vec::new();
                for chunk in &plain {
                    text.extend_from_slice(bytes_of(chunk));
                }
                match cipher.seal(&nonce, &text) {
                    Some(sealed) => self.tell(|machine, now| machine.sealed(link, sealed.into(), now)),
                    None => self.tell(|machine, now| machine.failed(link, "encrypting failed", now)),
                }
            }
            Action::Close { link } => self.drop_link(link),
            Action::Completed { op, result } => {
                if let Some(done) = self.pending.borrow_mut().remove(&op) {
                    // Nobody waits any more: nothing is lost.
                    done.send(result).ok();
                }
            }
            // A cluster on its own asks for none of these, and who is built around one keeps them.
            Action::Delivered(_)
            | Action::Usage { .. }
            | Action::PeerReady { .. }
            | Action::PeerReset { .. }
            | Action::PeerMessage { .. }
            | Action::PeerLost { .. }
            | Action::Blocklisted { .. } => {}
            Action::Log { level, text } => match level {
                Level::Debug => tracing::debug!("{text}"),
                Level::Info => tracing::info!("{text}"),
                Level::Warn => tracing::warn!("{text}"),
            },
        }
    }

    fn drop_link(&self, link: LinkId) {
        if let Some(link) = self.links.borrow_mut().remove(&link) {
            link.task.abort();
        }
    }
}

/// The life of a connection.
async fn run_link<M: NativeMachine>(
    driver: Rc<Driver<M>>,
    link: LinkId,
    (host, port): (String, u16),
    writes: mpsc::Receiver<Vec<Chunk<Bytes>>>,
    readable: Rc<Notify>,
) {
    let result = async {
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?.ip();
        driver.tell(|machine, now| machine.connected(link, Some(local), now));
        driver.act();
        let (reader, writer) = stream.into_split();
        let reader = BufReader::with_capacity(READ_BUFFER, reader);
        tokio::try_join!(read(&driver, link, reader, &readable), write(&driver, link, writer, writes))?;
        Ok::<_, io::Error>(())
    };
    if let Err(error) = result.await {
        driver.links.borrow_mut().remove(&link);
        driver.tell(|machine, now| machine.failed(link, &error.to_string(), now));
        driver.act();
    }
}

/// Reads what the machine wants.
async fn read<M: NativeMachine>(
    driver: &Rc<Driver<M>>,
    link: LinkId,
    mut reader: BufReader<OwnedReadHalf>,
    readable: &Notify,
) -> io::Result<()> {
    loop {
        let want = driver.machine.borrow().want(link);
        let arrived = match want {
            None => {
                readable.notified().await;
                continue;
            }
            Some(Want::Bytes(length)) => {
                let mut bytes = vec![0; length as usize];
                reader.read_exact(&mut bytes).await?;
                Arrived::Bytes(bytes)
            }
            Some(Want::Payload(length)) => {
                let length = length as usize;
                let mut bytes = BytesMut::with_capacity(length);
                let mut rest = (&mut reader).take(length as u64);
                while bytes.len() < length {
                    if rest.read_buf(&mut bytes).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Arrived::Payload(bytes.freeze())
            }
        };
        driver.tell(|machine, now| machine.received(link, arrived, now));
        driver.act();
    }
}

/// Writes what the machine has to say.
async fn write<M: NativeMachine>(
    driver: &Rc<Driver<M>>,
    link: LinkId,
    mut writer: OwnedWriteHalf,
    mut writes: mpsc::Receiver<Vec<Chunk<Bytes>>>,
) -> io::Result<()> {
    while let Some(chunks) = writes.recv().await {
        for chunk in &chunks {
            writer.write_all(bytes_of(chunk)).await?;
        }
        driver.tell(|machine, now| machine.written(link, now));
        driver.act();
    }
    Ok(())
}

fn bytes_of(chunk: &Chunk<Bytes>) -> &[u8] {
    match chunk {
        Chunk::Bytes(bytes) => bytes,
        Chunk::Payload(bytes) => bytes,
    }
}
