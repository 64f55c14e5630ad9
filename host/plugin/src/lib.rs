//! Runs storage plugins: WebAssembly components behind the provider traits of `wasmount-core`.
//!
//! [`PluginHost::load`] reads and compiles a component, checks its type and asks it for its [`Description`].
//! [`PluginHost::mount`] makes a [`PluginMount`], which the core opens: options are checked against the description
//! (`options`), origins are granted (`grants`), an instance is started (`instance`) and told what to mount
//! (`adapter`). The core then holds an object store; each of its calls becomes a message to the task that owns the
//! instance, with a deadline. What the plugin may do in return is in `imports`; what it may use up, in [`Limits`].
//!
//! A plugin is not trusted. It reaches nothing that was not granted, its answers are checked before they are used, and when it
//! traps, spins or hangs it is replaced while the mount lives on.

mod adapter;
mod artifact;
mod bindings;
mod cache_identity;
mod description;
mod engine;
mod grants;
mod host;
mod imports;
mod instance;
mod kind;
mod limits;
mod mount;
mod options;
mod plan;
mod reveal;
mod spec;
mod text;
mod wasi;

pub use artifact::Digest;
pub use description::{Description, EndpointRule, EndpointTemplate, NetworkNeeds, OptionKind, OptionSpec};
pub use engine::TICK;
pub use grants::OriginFrom;
pub use host::{Plugin, PluginHost, PluginHostConfig};
pub use instance::PluginStats;
pub use kind::{CONTRACT, Kind};
pub use limits::Limits;
pub use mount::PluginMount;
pub use options::written::WrittenOption;
pub use plan::{EffectiveGrant, EffectiveOrigin, MountPlan, PlannedOption, RevealedGrant};
pub use reveal::{NoRevealRule, RevealPolicy, RevealRule};
pub use spec::{MountSpec, OptionInput, OptionSource};
