//! Fluid's side of the contract, for tests that have no Kubernetes: what it accepts, and what it makes of it.
//!
//! [`Schemas`] are the field names and types of its custom resources, extracted by a script from its sources. [`render`] does what
//! its thinruntime controller does with a Dataset, a ThinRuntime and a ThinRuntimeProfile: config.json and the pod of the FUSE
//! DaemonSet. Its own output, captured from the real controller, is in `tests/fixtures/fluid`, and `tests/images/manifests.rs`
//! holds the renderer against it.

mod examples;
mod objects;
mod render;
mod schema;

pub use examples::Example;
pub use objects::{documents, manifests, parse};
pub use render::{Rendered, render};
pub use schema::Schemas;
