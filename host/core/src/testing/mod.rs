//! Doubles of what core needs from outside, for tests of this and of other crates.
//!
//! [`MemoryStore`] is a faithful object store: real paging, folding, pinning and ranges, in any of the variants a
//! provider may announce, with faults drawn from a seed. [`MemoryBlocks`] is a store of block images, [`MemoryFiles`] a file system with
//! another client. [`MemorySource`] hands any of them to a mount table.

mod memory_blocks;
mod memory_body;
mod memory_cache;
mod memory_files;
mod memory_kernel;
mod memory_list;
mod memory_source;
mod memory_store;
mod random;

pub use memory_blocks::{MemoryBlockStore, MemoryBlocks};
pub use memory_cache::{CacheFaults, MemoryCache};
pub use memory_files::{FilesOptions, MemoryFiles, MemoryNode, MemoryTree};
pub use memory_kernel::MemoryKernel;
pub use memory_source::MemorySource;
pub use memory_store::{Faults, MemoryOptions, MemoryStore, Requests};
pub use random::Random;
