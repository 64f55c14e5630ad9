//! What the host offers to plugins, one file for each interface of `wit/`.
//!
//! Each async import follows two rules. Handles that the guest gave away are taken out of the table before
//! the first await, since a dropped import would leak them otherwise. Whatever waits goes through
//! [`interruptible`], so that giving a call up ends its imports.

pub(crate) mod body;
mod budget;
mod buffers;
mod checked;
mod crc;
mod crypto;
mod digest;
mod http;
mod log;
mod notify;
mod secrets;
mod system;
mod tcp;
pub(crate) mod types;

pub(crate) use budget::BufferBudget;
pub(crate) use log::{Level, LogSink};
pub(crate) use notify::Events;

#[allow(unreachable_pub, reason = "the generated bindings re-export them, and only public types can be")]
pub use self::{
    body::Body, buffers::Buffer, crypto::Cipher, secrets::GuestSecret, tcp::Connection as TcpConnection,
};

use crate::bindings::v0_1::host::wasmount::plugin as wit;
use crate::instance::{GuestState, HasGuest};
use wasmount_types::{Blame, Error, ErrorKind};
use wasmtime::AsContextMut as _;
use wasmtime::component::{Accessor, Linker, Resource, ResourceTableError};

/// Makes everything the host offers available to components, and nothing else: a component that imports what its kind is
/// not offered was refused by `crate::kind` already.
pub(crate) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    fn state(state: &mut GuestState) -> &mut GuestState {
        state
    }
    wit::types::add_to_linker::<_, HasGuest>(linker, state)?;
    wit::buffers::add_to_linker::<_, HasGuest>(linker, state)?;
    wit::secrets::add_to_linker::<_, HasGuest>(linker, state)?;
    wit::options::add_to_linker::<_, HasGuest>(linker, state)?;
    wit::capabilities::add_to_linker::<_, HasGuest>(linker, state)?;
    wit::http::add_to_linker::<_, HasGuest>(linker, state)?;
    wit::tcp::add_to_linker::<_, HasGuest>(linker, state)?;
    wit::crypto::add_to_linker::<_, HasGuest>(linker, state)?;
    wit::log::add_to_linker::<_, HasGuest>(linker, state)?;
    wit::notify::add_to_linker::<_, HasGuest>(linker, state)?;
    wit::system::add_to_linker::<_, HasGuest>(linker, state)?;
    wasmtime_wasi::p2::add_to_linker_async(linker)
}

/// Data of an import that needs it after an await.
pub(crate) fn with<T, R>(acc: &Accessor<T, HasGuest>, work: impl FnOnce(&mut GuestState) -> R) -> R
where
    T: 'static,
{
    acc.with(|mut access| work(access.get()))
}

/// What an import was doing when its call was given up.
pub(crate) enum Interrupted {
    /// The call it belongs to was given up.
    Call,
    /// The instance is being closed.
    Closing,
}

impl Interrupted {
    /// What the guest is told.
    pub(crate) fn error(&self) -> Error {
        let why = match self {
            Self::Call => "the host has given this call up",
            Self::Closing => "this instance is being closed",
        };
        Error::new(ErrorKind::Interrupted, Blame::Host, why)
    }
}

/// Waits for `work` until the call that asked for it is given up. Counts as waiting for the outside meanwhile.
pub(crate) async fn interruptible<T, W>(
    acc: &Accessor<T, HasGuest>,
    work: W,
) -> Result<W::Output, Interrupted>
where
    T: Send + 'static,
    W: Future,
{
    let (call, mut closing, budget) = acc.with(|mut access| {
        // The last of the stack is the export call of the host's that led here.
        let root = access.as_context_mut().async_call_stack().ok().and_then(Iterator::last);
        let state: &mut GuestState = access.get();
        (root.and_then(|task| state.calls.get(task)), state.closing.clone(), state.budget.clone())
    });
    let mut work = std::pin::pin!(work);
    let mut waited = false;
    // Only what really waits gives time back: a guest could otherwise run for ever by asking for what is there already.
    let work = std::future::poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() && !std::mem::replace(&mut waited, true) {
            budget.progress();
        }
        polled
    });
    let closed = async move {
        // An error means that the instance itself is gone.
        let _ = closing.wait_for(|closing| *closing).await;
    };
    match call {
        Some(call) => {
            let _waiting = call.wait();
            tokio::select! {
                biased;
                () = call.given_up() => Err(Interrupted::Call),
                () = closed => Err(Interrupted::Closing),
                done = work => Ok(done),
            }
        }
        // Background work of the guest.
        None => tokio::select! {
            biased;
            () = closed => Err(Interrupted::Closing),
            done = work => Ok(done),
        },
    }
}

/// `too-large`: the guest wants more than its limits allow.
pub(crate) fn too_large(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::TooLarge, Blame::Plugin, what.to_string())
}

/// Gives the guest a handle.
pub(crate) fn push<R: Send + 'static>(
    state: &mut GuestState,
    entry: R,
) -> wasmtime::Result<Result<Resource<R>, Error>> {
    match state.table.push(entry) {
        Ok(handle) => Ok(Ok(handle)),
        Err(ResourceTableError::Full) => Ok(Err(too_large(format_args!(
            "more than {} handles; drop buffers and bodies early",
            state.rights.limits.handles
        )))),
        Err(error) => Err(error.into()),
    }
}
