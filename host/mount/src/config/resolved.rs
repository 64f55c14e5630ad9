//! What the rest of the program works with: every mount has an id, a place, and either a plugin with everything it needs or
//! the reason why it has none.

use crate::config::raw::RawMount;
use serde_json::Value;
use wasmount_core::mounts::Place;
use wasmount_core::objects::ObjectFsConfig;
use wasmount_plugin::{MountSpec, OptionInput};
use wasmount_types::{Error, MountId};

/// One mount, ready to be wired up.
pub(crate) struct Resolved<P> {
    /// Its id.
    pub(crate) id: MountId,
    /// Where it appears.
    pub(crate) place: Place,
    /// Its `mountPoint`, for log lines.
    pub(crate) mount_point: String,
    /// Certificates are not verified.
    pub(crate) insecure: bool,
    /// How it looks as a file system.
    pub(crate) files: ObjectFsConfig,
    /// What serves it; an error is shown to whoever accesses its directory.
    pub(crate) serves: Result<Served<P>, Error>,
    /// Somebody expects to write to it.
    pub(crate) wants_writing: bool,
    /// It cannot be where it is to be, or is no mount at all: others were refused for that if they worked before.
    pub(crate) misplaced: bool,
    /// Everything that it follows from.
    pub(crate) written: Written,
}

/// What was written about a mount. Where this, the plugin and the options that hold for it are the same, the mount is.
#[derive(Clone, PartialEq)]
pub(crate) struct Written {
    /// The element of `mounts`.
    pub(crate) mount: RawMount,
    /// Those of wasmount's own options that hold for it, wherever they were written.
    pub(crate) own: Vec<OptionInput>,
    /// The PersistentVolume it names, if it does.
    pub(crate) volume: Option<Value>,
}

/// A plugin and what it gets.
pub(crate) struct Served<P> {
    /// The plugin.
    pub(crate) plugin: P,
    /// What it should mount.
    pub(crate) spec: MountSpec,
    /// Deadline of an operation.
    pub(crate) request_timeout: std::time::Duration,
}
