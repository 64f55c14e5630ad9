//! Attributes of nodes.

use super::data::Data;
use super::source::Opening;
use super::{FileFs, Node};
use crate::fs::Entry;
use crate::ports::{AttributesAnswer, FileAttributes, KernelPages};
use crate::wait::bounded;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use wasmount_types::{Blame, Error, ErrorKind, FileKind, RequestCtx};

/// How long the kernel is given no attributes of a node whose attributes were just taken back: it asks, and is answered from memory. What it was not given need
/// not be taken back, and to take it back makes the kernel ignore an answer that it is just taking in, the size of a file that grew included.
const CHANGING: Duration = Duration::from_secs(1);
/// First pause before the kernel is told again of a node that it does not know yet; doubles.
const FIRST_PAUSE: Duration = Duration::from_micros(200);
/// Longest such pause.
const LAST_PAUSE: Duration = Duration::from_millis(20);

impl FileFs {
    /// Attributes for the kernel.
    pub(crate) async fn attributes(&self, ctx: RequestCtx, node: &Node) -> Result<Entry, Error> {
        // For as long as it is under way no pages are dropped, if that can wait.
        let _asking = node.opened_data().map(Data::asking);
        let attributes = self.known_attributes(ctx, node, None).await?;
        Ok(self.entry(node, &attributes, Duration::ZERO))
    }

    /// Attributes, from memory if they hold.
    pub(super) async fn known_attributes(
        &self,
        ctx: RequestCtx,
        node: &Node,
        opening: Option<&Arc<Opening>>,
    ) -> Result<FileAttributes, Error> {
        match self.believed(node) {
            Some(attributes) => Ok(attributes),
            None => self.ask_attributes(ctx, node, opening).await,
        }
    }

    /// Attributes as the store says they are now.
    pub(super) async fn ask_attributes(
        &self,
        ctx: RequestCtx,
        node: &Node,
        opening: Option<&Arc<Opening>>,
    ) -> Result<FileAttributes, Error> {
        let opening = opening.cloned().or_else(|| node.opened_data().and_then(|data| data.source.opening()));
        let asked = self.ask();
        let handle = opening.as_ref().map(|opening| opening.handle);
        let answer = self.store.attributes(ctx, node.of.number, handle);
        let answer = match bounded(self.clock(), ctx, "asking for attributes", answer).await {
            // What served the handle is gone; the node is not.
            Err(error) if error.kind == ErrorKind::Stale && handle.is_some() => {
                let answer = self.store.attributes(ctx, node.of.number, None);
                bounded(self.clock(), ctx, "asking for attributes", answer).await?
            }
            answer => answer?,
        };
        let AttributesAnswer { attributes, attributes_ms } = answer;
        if attributes.kind != node.of.kind {
            return Err(Error::stale(self.path(node)));
        }
        self.learn(node, &attributes, attributes_ms, asked);
        Ok(attributes)
    }

    /// Attributes that hold at the moment.
    pub(super) fn believed(&self, node: &Node) -> Option<FileAttributes> {
        let state = node.lock();
        let (attributes, until) = state.attributes.as_ref()?;
        until.holds(self.clock()).then(|| attributes.clone())
    }

    /// Target of a symbolic link.
    pub(crate) async fn read_link(&self, ctx: RequestCtx, node: &Node) -> Result<Bytes, Error> {
        if node.of.kind != FileKind::Symlink {
            let message = format!("{} is no symbolic link", self.path(node));
            return Err(Error::new(ErrorKind::Invalid, Blame::Caller, message));
        }
        if let Some(target) = node.lock().target.clone() {
            return Ok(target);
        }
        let target = self.store.read_link(ctx, node.of.number);
        let target = bounded(self.clock(), ctx, "reading a symbolic link", target).await?;
        node.lock().target = Some(target.clone());
        Ok(target)
    }

    /// Nobody believes anything about the attributes of a node any more.
    pub(super) async fn lose_attributes(&self, node: &Node) {
        let given = {
            let mut state = node.lock();
            state.attributes = None;
            state.attributes_change = Some(self.clock().now() + CHANGING);
            state.attributes_given.take(self.clock())
        };
        if let Some(kernel) = self.kernel().filter(|_| given) {
            self.drop_attributes(kernel, node).await;
        }
    }

    /// Has the kernel drop the attributes of a node. One that it does not know it may have been told of a moment ago: then it will know
    /// it soon, or forget it.
    pub(super) async fn drop_attributes(&self, kernel: &Arc<dyn KernelPages>, node: &Node) {
        let mut pause = FIRST_PAUSE;
        while !kernel.drop_attributes(node.ino).await && self.inodes.knows(node.ino) {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
}
