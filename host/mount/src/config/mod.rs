//! From what was written to what is meant.
//!
//! [`raw`] reads config.json as Fluid writes it, [`sources`] puts the four places an option can come from into
//! one order, [`host_options`] takes out the options that are wasmount's own, [`host_volumes`] looks after those
//! that are Fluid's, and [`resolved`] is what the rest of the program works with.

pub(crate) mod host_options;
pub(crate) mod host_volumes;
pub(crate) mod raw;
pub(crate) mod resolved;
pub(crate) mod size;
pub(crate) mod sources;
