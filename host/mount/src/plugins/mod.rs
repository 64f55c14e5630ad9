//! Which plugins there are, and which of them serves what.

pub(crate) mod args;
pub(crate) mod fetch;
pub(crate) mod files;
pub(crate) mod load;
mod progress;
pub(crate) mod registry;

pub(crate) use progress::Transfers;
