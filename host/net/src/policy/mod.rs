//! What may be reached: [`Grants`] are what a mount asks for, [`ReachPolicy`] is what the operator allows.
//!
//! Both must agree. A grant is about names and is checked before anything is resolved; the policy is about addresses and is
//! checked on the very address that is then connected to, so that a name which changes its address between the check
//! and the connect (DNS rebinding) gains nothing.

mod allow;
mod foreseen;
mod grants;
mod reach;

pub use allow::AllowNet;
pub(crate) use allow::{canonical_host, net_contains_text};
pub use foreseen::Foreseen;
pub use grants::{Grants, OriginGrant};
pub(crate) use grants::{TcpGrant, bracketed};
pub use reach::{ReachPolicy, same_host};
