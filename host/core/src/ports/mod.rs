//! What core needs from outside, one small trait a file.

mod block_cache;
mod block_store;
mod body;
mod clock;
mod file_store;
mod kernel;
mod object_store;
mod operations;
mod provider;
mod spawn;
mod state_log;

pub use block_cache::{BlockCache, CACHE_PAGE, CacheId, CacheIdentity, CachedFile, NoBlockCache, Offer};
pub use block_store::{
    BlockCapabilities, BlockStore, Extent, ExtentKind, Geometry, Image, ImageHandle, ImagePage, Snapshot,
};
pub use body::Body;
pub use clock::{Clock, SystemClock};
pub use file_store::{
    AttributesAnswer, CachePolicy, Coherence, DirectoryPage, FileAttributes, FileCapabilities, FileDirEntry,
    FileEntry, FileEvents, FileStatistics, FileStore, Invalidation, NodeNumber, Opened, Resolution,
    StoreHandle, Validity,
};
pub use kernel::KernelPages;
pub use object_store::{
    GetOutcome, GetRequest, GetResponse, HeadOutcome, ListPage, ListRequest, Listing, ObjectCapabilities,
    ObjectInfo, ObjectStore, Pinning,
};
pub use operations::{NoOperations, Operation, Operations, ServedFrom};
pub use provider::{Provider, ProviderInfo, ProviderSource};
pub use spawn::{Spawn, TokioSpawn};
pub use state_log::{FileState, NoStateLog, StateLog, StateRecord};

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
