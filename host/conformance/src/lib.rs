//! The suite that a storage plugin must pass: `wasmount plugin test FILE.wasm`.
//!
//! It runs the plugin in the real sandbox and, for what applications will see, through the real core; no FUSE and no
//! privileges are needed. Between the plugin and what it reads stands an origin that can be made slow, broken or
//! lying. Behind that are either scripted objects in a protocol the suite speaks itself ([`Script`]), or a given
//! endpoint, of which the suite only reads.

mod bench;
pub mod origin;
mod report;
mod run;
mod suite;

pub use report::{Check, Outcome, Report};
pub use run::{Options, Script, run};
