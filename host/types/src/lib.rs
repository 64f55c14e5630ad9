//! Words shared by every part of wasmount.
//!
//! Nothing here waits, allocates more than its value needs, or knows where it is used: errors and what
//! their receiver may do about them, numbers of nodes and handles, names, attributes, ranges, object
//! versions, and the context a request carries.

mod attr;
mod ctx;
mod digest;
mod error;
mod ids;
mod name;
mod object;
mod range;
mod time;

pub use attr::{Attr, FileKind};
pub use ctx::RequestCtx;
pub use digest::{Digest, DigestError, Digester};
pub use error::{Blame, Effect, Error, ErrorKind, Result, Retry};
pub use ids::{Fh, Ino, MountId};
pub use name::{InvalidName, NAME_MAX, Name};
pub use object::{Object, ObjectKey, Version};
pub use range::ByteRange;
pub use time::Timestamp;
