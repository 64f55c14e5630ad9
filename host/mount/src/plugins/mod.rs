//! Which plugin files there are, and which of them serves what.

pub(crate) mod files;
pub(crate) mod load;
pub(crate) mod registry;
