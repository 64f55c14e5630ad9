//! Extended attributes, and space.

use super::{FileFs, Node};
use crate::fs::FsStats;
use crate::ports::FileStatistics;
use crate::wait::bounded;
use bytes::Bytes;
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx};

impl FileFs {
    /// Value of an extended attribute.
    pub(crate) async fn xattr(&self, ctx: RequestCtx, node: &Node, name: &[u8]) -> Result<Bytes, Error> {
        if !self.caps.xattrs {
            return Err(no_xattrs());
        }
        let value = self.store.get_xattr(ctx, node.of.number, name.to_vec());
        bounded(self.clock(), ctx, "asking for an extended attribute", value).await
    }

    /// Names of the extended attributes.
    pub(crate) async fn xattrs(&self, ctx: RequestCtx, node: &Node) -> Result<Vec<Vec<u8>>, Error> {
        if !self.caps.xattrs {
            return Ok(Vec::new());
        }
        let names = self.store.list_xattrs(ctx, node.of.number);
        bounded(self.clock(), ctx, "asking for extended attributes", names).await
    }

    /// Space and limits at a node.
    pub(crate) async fn statistics(&self, ctx: RequestCtx, node: &Node) -> Result<FsStats, Error> {
        let statistics = self.store.statistics(ctx, node.of.number);
        let statistics = bounded(self.clock(), ctx, "asking for free space", statistics).await?;
        Ok(self.stats(&statistics))
    }

    pub(super) fn stats(&self, statistics: &FileStatistics) -> FsStats {
        let FileStatistics { block_size, blocks, blocks_free, blocks_available, inodes, inodes_free } =
            *statistics;
        FsStats {
            block_size: block_size.max(1),
            blocks,
            blocks_free,
            blocks_available,
            files: inodes,
            files_free: inodes_free,
            name_max: self.caps.max_name,
        }
    }
}

fn no_xattrs() -> Error {
    Error::new(ErrorKind::Unsupported, Blame::Caller, "this store has no extended attributes")
}
