//! `tcp`: connections of the mount's network, whose payload stays in the host.

use super::body::Held;
use super::budget::{BufferBudget, Charge};
use super::buffers::Buffer;
use super::checked::Checking;
use super::types::to_wit;
use super::wit::tcp as wit;
use super::wit::types::Error as WitError;
use super::{interruptible, push, too_large, with};
use crate::instance::{GuestState, HasGuest};
use crate::limits::Limits;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wasmount_net::{Memory, Received, TcpAddress, TcpConnection, TcpOptions, TcpTls};
use wasmount_types::{Blame, Error, ErrorKind};
use wasmtime::component::{Accessor, Resource};

type Trap<T> = wasmtime::Result<T>;
type Answer<T> = Trap<Result<T, WitError>>;

/// The resource `tcp.connection`.
#[allow(unreachable_pub, reason = "the generated bindings re-export it, and only a public type can be")]
#[derive(Clone)]
pub struct Connection {
    wire: Arc<TcpConnection<Budget>>,
    checking: Checking,
}

/// What connections keep and give is charged to their instance.
#[derive(Clone)]
pub(crate) struct Budget(Arc<BufferBudget>);

impl Memory for Budget {
    type Room = Charge;

    fn take(&self, bytes: usize) -> Result<Charge, Error> {
        self.0.keep(bytes)
    }

    async fn wait(&self, bytes: usize) -> Result<Charge, Error> {
        self.0.wait_to_receive(bytes).await
    }
}

fn address(address: SocketAddr) -> wit::Address {
    wit::Address { host: address.ip().to_string(), port: address.port() }
}

/// Everything of one `write`.
struct Gathered {
    pieces: Vec<Bytes>,
    /// The guest's buffers among them stay charged, also if it drops them meanwhile.
    _lent: Vec<Held>,
    /// Pays for the guest's own bytes.
    _charge: Charge,
}

fn gather(state: &mut GuestState, chunks: Vec<wit::Chunk>) -> Trap<Result<Gathered, Error>> {
    let most = state.rights.limits.chunks;
    if chunks.len() > most {
        return Ok(Err(too_large(format_args!("a write of more than {most} chunks"))));
    }
    let (mut pieces, mut lent, mut copied) = (Vec::with_capacity(chunks.len()), Vec::new(), 0);
    for chunk in chunks {
        match chunk {
            wit::Chunk::Bytes(bytes) => {
                copied += bytes.len();
                pieces.push(Bytes::from(bytes));
            }
            wit::Chunk::Buffer(buffer) => {
                let held = state.table.get(&buffer)?.held.clone();
                pieces.push(held.bytes.clone());
                lent.push(held);
            }
        }
    }
    Ok(state.buffers.charge(copied).map(|charge| Gathered { pieces, _lent: lent, _charge: charge }))
}

fn options(options: wit::ConnectOptions) -> TcpOptions {
    let time = |ms: Option<u32>| ms.map(|ms| Duration::from_millis(u64::from(ms)));
    TcpOptions {
        tls: options.tls.map(|tls| TcpTls { server_name: tls.server_name, alpn: tls.alpn }),
        timeout: time(options.timeout_ms),
        idle: time(options.idle_timeout_ms),
    }
}

/// Refuses what one read may not ask for.
fn allowed(what: &str, length: u32, most: usize) -> Result<usize, Error> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > most {
        return Err(too_large(format_args!("{what} of {length} bytes; at most {most} are allowed")));
    }
    Ok(length)
}

fn connection<T: 'static>(
    acc: &Accessor<T, HasGuest>,
    handle: &Resource<Connection>,
) -> Trap<(Connection, Arc<Limits>)> {
    with(acc, |state| Ok((state.table.get(handle)?.clone(), state.rights.limits.clone())))
}

/// What an operation on a connection gives, or why its call was given up.
async fn answer<T: Send + 'static, R>(
    acc: &Accessor<T, HasGuest>,
    work: impl Future<Output = Result<R, Error>>,
) -> Result<R, WitError> {
    interruptible(acc, work).await.unwrap_or_else(|stopped| Err(stopped.error())).map_err(to_wit)
}

impl wit::Host for GuestState {}

impl wit::HostConnection for GuestState {
    fn local_address(&mut self, connection: Resource<Connection>) -> Trap<wit::Address> {
        Ok(address(self.table.get(&connection)?.wire.local_address()))
    }

    fn peer_address(&mut self, connection: Resource<Connection>) -> Trap<wit::Address> {
        Ok(address(self.table.get(&connection)?.wire.peer_address()))
    }

    fn drop(&mut self, connection: Resource<Connection>) -> Trap<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl<T: Send + 'static> wit::HostConnectionWithStore<T> for HasGuest {
    async fn read_exact(
        acc: &Accessor<T, Self>,
        handle: Resource<Connection>,
        length: u32,
    ) -> Answer<Vec<u8>> {
        let (connection, limits) = connection(acc, &handle)?;
        let work = async { connection.wire.read_exact(allowed("a read", length, limits.tcp_read)?).await };
        Ok(answer(acc, work).await)
    }

    async fn read_some(acc: &Accessor<T, Self>, handle: Resource<Connection>, max: u32) -> Answer<Vec<u8>> {
        let (connection, limits) = connection(acc, &handle)?;
        let max = usize::try_from(max).unwrap_or(usize::MAX).min(limits.tcp_read);
        Ok(answer(acc, connection.wire.read_some(max)).await)
    }

    async fn read_buffer(
        acc: &Accessor<T, Self>,
        handle: Resource<Connection>,
        length: u32,
    ) -> Answer<Resource<Buffer>> {
        let (connection, limits) = connection(acc, &handle)?;
        let mut arriving = connection.checking.begin();
        let work = async {
            let length = allowed("a buffer", length, limits.buffer)?;
            connection.wire.read_buffer_seen(length, |bytes| arriving.add(bytes)).await
        };
        let Received { bytes, room } = match answer(acc, work).await {
            Ok(received) => received,
            Err(error) => return Ok(Err(error)),
        };
        let held = Held { bytes, charge: Some(Arc::new(room)) };
        Ok(with(acc, |state| push(state, Buffer::arrived(held, arriving.arrived())))?.map_err(|error| {
            // No handle is left for what was taken from the stream: there must be no gap in it.
            connection.wire.end(&error);
            to_wit(error)
        }))
    }

    async fn write(
        acc: &Accessor<T, Self>,
        handle: Resource<Connection>,
        chunks: Vec<wit::Chunk>,
    ) -> Answer<()> {
        let (connection, _) = connection(acc, &handle)?;
        let Gathered { pieces, _lent, _charge } = match with(acc, |state| gather(state, chunks))? {
            Ok(gathered) => gathered,
            Err(error) => return Ok(Err(to_wit(error))),
        };
        Ok(answer(acc, connection.wire.write(pieces)).await)
    }

    async fn finish(acc: &Accessor<T, Self>, handle: Resource<Connection>) -> Answer<()> {
        let (connection, _) = connection(acc, &handle)?;
        Ok(answer(acc, connection.wire.finish()).await)
    }
}

impl<T: Send + 'static> wit::HostWithStore<T> for HasGuest {
    async fn connect(
        acc: &Accessor<T, Self>,
        to: wit::Address,
        how: wit::ConnectOptions,
    ) -> Answer<Resource<Connection>> {
        let (net, budget) = with(acc, |state| (state.rights.net.clone(), Budget(state.buffers.clone())));
        let Some(net) = net else {
            let text = "a plugin reaches the network for a mount only";
            return Ok(Err(to_wit(Error::new(ErrorKind::Denied, Blame::Host, text))));
        };
        let (to, options) = (TcpAddress { host: to.host, port: to.port }, options(how));
        let connected = match answer(acc, net.connect(to, &options, budget)).await {
            Ok(connected) => connected,
            Err(error) => return Ok(Err(error)),
        };
        let connection = Connection { wire: Arc::new(connected), checking: Checking::default() };
        Ok(with(acc, |state| push(state, connection))?.map_err(to_wit))
    }
}
