//! Coverage-guided fuzzing of everything in `wasmount-ceph` that reads what a network or a person sent.
//!
//! A [`Target`] takes any bytes. It must not panic, must end soon, and must not allocate more than its input justifies:
//! [`Target::check`] holds it to the last, libFuzzer to the others.
//!
//! - `tests/tools/fuzz.sh SECONDS` builds the fuzzer and runs all targets, each for its share (`make soak`).
//! - `tests/replay.rs` runs every seed, its every prefix, and everything under `corpus/` on each `make test`.
//! - `corpus/TARGET/` holds inputs that found a bug, named after it, and what a run of the fuzzer left that covers more than the
//!   seeds. Seeds are made from recordings of real clusters, in [`seeds`].

mod input;
mod memory;
pub mod seeds;
mod targets;

pub use targets::TARGETS;

/// One thing that reads bytes, under a name.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// What it makes of some bytes. Whatever they are, it returns.
    pub run: fn(&[u8]),
    /// Inputs that are what they should be, to begin with.
    pub seeds: fn() -> anyhow::Result<Vec<Vec<u8>>>,
    /// Bytes it may allocate for tables that a number in the input makes room for, up to a limit of the client, however short the
    /// input is.
    pub tables: usize,
}

impl Target {
    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Runs it on one input.
    ///
    /// # Panics
    /// When it panics, or allocates more than its tables and [`memory_for`] its input: that is what a fuzzer looks for.
    pub fn check(&self, input: &[u8]) {
        let used = memory::allocated_by(|| (self.run)(input));
        let allowed = self.tables + memory_for(input.len());
        assert!(used <= allowed, "{}: {used} bytes allocated for {} bytes of input", self.name, input.len());
    }
}

/// How many bytes a target may allocate in all, what it has freed again included, for so many bytes of input.
///
/// A constant for tables and error texts; and for each byte of input the most expensive thing that one byte can stand for, which is
/// a quarter of an entry of a map with small keys: copied a few times while a map of the cluster changes.
#[must_use]
pub fn memory_for(input: usize) -> usize {
    const CONSTANT: usize = 1 << 20;
    const PER_BYTE: usize = 256;
    CONSTANT + PER_BYTE * input
}
