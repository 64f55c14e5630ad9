//! What is special about running as the FUSE container of a Fluid ThinRuntime.

pub(crate) mod discover;
pub(crate) mod mounts;
pub(crate) mod target;
