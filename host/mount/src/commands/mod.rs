//! One file a command.

pub(crate) mod cache;
pub(crate) mod dry_run;
pub(crate) mod mount;
pub(crate) mod mount_helper;
pub(crate) mod plugin_inspect;
pub(crate) mod plugin_pull;
pub(crate) mod plugin_push;
pub(crate) mod plugin_test;
pub(crate) mod plugin_verify;
pub(crate) mod probe;
pub(crate) mod run;
pub(crate) mod umount;
pub(crate) mod warm;
