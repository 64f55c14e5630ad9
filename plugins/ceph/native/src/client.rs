//! The client as a program uses it: a thread that runs the machine, and calls that wait for it.

use crate::aead::Aes128GcmFactory;
use crate::driver::{self, Command, NativeMachine};
use bytes::Bytes;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};
use wasmount_ceph::auth::AuthError;
use wasmount_ceph::osdmap::OsdMap;
use wasmount_ceph::rados::{Cluster, Config, OpReply, OpRequest, RadosError};
use wasmount_ceph::{Entropy, Now};

/// A client of a cluster, without anything around it.
pub type NativeCluster = Cluster<Bytes, Aes128GcmFactory>;

/// Commands that may wait for the thread; further ones wait in their callers.
const COMMANDS: usize = 256;

/// A client that could not begin, or that has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The cluster does not want this client, or the configuration is wrong.
    #[error("{0}")]
    Refused(String),
    /// No map came in time.
    #[error("the cluster did not answer in time: {0}")]
    TimedOut(String),
    /// The thread could not be started.
    #[error("cannot start the client's thread: {0}")]
    Thread(String),
    /// The client's thread has ended.
    #[error("the client has ended")]
    Ended,
}

/// A client of one cluster: the cluster alone, or a machine around it. It ends when it is dropped.
pub struct Client<M: NativeMachine = NativeCluster> {
    commands: mpsc::Sender<Command<M>>,
    thread: Option<JoinHandle<()>>,
}

/// A call of the machine under way.
pub struct Call<D>(oneshot::Receiver<D>);

impl<D> Call<D> {
    /// Waits for its end; `None`: the client has ended before. Must not be called from asynchronous code.
    #[must_use]
    pub fn wait(self) -> Option<D> {
        self.0.blocking_recv().ok()
    }
}

/// A request under way.
pub struct Pending(oneshot::Receiver<Result<OpReply<Bytes>, RadosError>>);

impl Pending {
    /// Waits for its end. Must not be called from asynchronous code.
    ///
    /// # Errors
    /// Those of the request; [`RadosError::Cancelled`] if the client ends before.
    pub fn wait(self) -> Result<OpReply<Bytes>, RadosError> {
        self.0.blocking_recv().unwrap_or(Err(RadosError::Cancelled))
    }
}

impl Client {
    /// Connects to a cluster and waits until there is a map of it, but no longer than this.
    ///
    /// # Errors
    /// The cluster refuses, or does not answer in time.
    pub fn connect(config: Config, milliseconds: u64) -> Result<Self, ClientError> {
        let make = |ciphers, entropy, now| Cluster::new(config, ciphers, entropy, now);
        Self::begin(make, milliseconds).map(|(client, _)| client)
    }
}

impl<M: NativeMachine> Client<M> {
    /// Makes a machine, and waits until it can be used, but no longer than this. What it tells without being asked comes out of the
    /// channel.
    ///
    /// # Errors
    /// It cannot be made, the cluster refuses, or does not answer in time.
    pub fn begin(
        make: impl FnOnce(Aes128GcmFactory, Box<dyn Entropy>, Now) -> Result<M, AuthError> + Send + 'static,
        milliseconds: u64,
    ) -> Result<(Self, std_mpsc::Receiver<M::Done>), ClientError> {
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (unasked, news) = std_mpsc::channel();
        let (ready, answer) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("ceph-client".into())
            .spawn(move || driver::run(Box::new(make), milliseconds, receiver, unasked, ready))
            .map_err(|error| ClientError::Thread(error.to_string()))?;
        let client = Self { commands, thread: Some(thread) };
        answer.blocking_recv().map_err(|_| ClientError::Ended)??;
        Ok((client, news))
    }

    /// Begins a call of the machine: `begin` makes it, and says by which number [`Machine::answers`](wasmount_ceph::rados::Machine::answers)
    /// will know its end.
    ///
    /// # Errors
    /// The client has ended.
    pub fn call(
        &self,
        begin: impl FnOnce(&mut M, Now) -> u64 + Send + 'static,
    ) -> Result<Call<M::Done>, ClientError> {
        let (done, end) = oneshot::channel();
        self.command(Command::Call { begin: Box::new(begin), done })?;
        Ok(Call(end))
    }

    /// Tells the machine something, or asks something that it knows, and waits for that.
    ///
    /// # Errors
    /// The client has ended.
    pub fn tell<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut M, Now) -> T + Send + 'static,
    ) -> Result<T, ClientError> {
        let (answer, result) = oneshot::channel();
        let tell = move |machine: &mut M, now: Now| {
            // Nobody waits any more: nothing is lost.
            answer.send(what(machine, now)).ok();
        };
        self.command(Command::Tell(Box::new(tell)))?;
        result.blocking_recv().map_err(|_| ClientError::Ended)
    }

    /// Begins a request.
    ///
    /// # Errors
    /// The client has ended.
    pub fn submit(&self, request: OpRequest<Bytes>) -> Result<Pending, ClientError> {
        let (done, end) = oneshot::channel();
        self.command(Command::Submit { request, done })?;
        Ok(Pending(end))
    }

    /// Does a request and waits for its end.
    ///
    /// # Errors
    /// Those of the request; [`RadosError::Cancelled`] if the client has ended.
    pub fn execute(&self, request: OpRequest<Bytes>) -> Result<OpReply<Bytes>, RadosError> {
        self.submit(request).map_err(|_| RadosError::Cancelled)?.wait()
    }

    /// Asks something of the newest map.
    ///
    /// # Errors
    /// The client has ended.
    pub fn with_map<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&OsdMap) -> T + Send + 'static,
    ) -> Result<Option<T>, ClientError> {
        self.tell(|machine, _| machine.cluster().osdmap().map(ask))
    }

    /// The moment so many milliseconds from now, for a request's deadline.
    #[must_use]
    pub fn deadline(&self, milliseconds: u64) -> u64 {
        driver::monotonic_ms().saturating_add(milliseconds)
    }

    /// How the cluster knows this client: `127.0.0.1:0/12345`.
    ///
    /// # Errors
    /// The client has ended.
    pub fn address(&self) -> Result<String, ClientError> {
        let address = self.tell(|machine, _| machine.cluster().address())?;
        Ok(address.and_then(|a| a.socket.map(|socket| format!("{socket}/{}", a.nonce))).unwrap_or_default())
    }

    /// Cuts all connections wherever they are, as a broken network does. Returns how many there were.
    ///
    /// # Errors
    /// The client has ended.
    pub fn cut(&self) -> Result<usize, ClientError> {
        let (answer, result) = oneshot::channel();
        self.command(Command::Cut(answer))?;
        result.blocking_recv().map_err(|_| ClientError::Ended)
    }

    /// Processor time that the thread has spent inside the client's machines, in nanoseconds: without sockets, and without moving payload.
    ///
    /// # Errors
    /// The client has ended.
    pub fn machine_time(&self) -> Result<u64, ClientError> {
        let (answer, result) = oneshot::channel();
        self.command(Command::MachineTime(answer))?;
        result.blocking_recv().map_err(|_| ClientError::Ended)
    }

    fn command(&self, command: Command<M>) -> Result<(), ClientError> {
        self.commands.blocking_send(command).map_err(|_| ClientError::Ended)
    }
}

impl<M: NativeMachine> Drop for Client<M> {
    fn drop(&mut self) {
        // The thread ends with the last sender; if it panicked, that was reported when it did.
        let (closed, _) = mpsc::channel(1);
        self.commands = closed;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
