//! One file a command.

pub(crate) mod cache;
pub(crate) mod mount;
pub(crate) mod plugin_inspect;
pub(crate) mod plugin_test;
pub(crate) mod run;
pub(crate) mod warm;
