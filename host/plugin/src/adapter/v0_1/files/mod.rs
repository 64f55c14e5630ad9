//! A file system of the core, backed by a plugin.
//!
//! [`exports`] are the plugin's functions, [`check`] what is wrong with its answers, [`give_back`] what is returned to it behind
//! everybody's back.

mod check;
mod exports;
mod give_back;

pub(crate) use exports::FileSystemExports;

use super::body::{CheckedBody, Expected};
use super::caller::{Caller, job, plain, read_job};
use crate::bindings::v0_1::files::exports::wasmount::plugin::files as wit;
use crate::imports::Events;
use crate::instance::{CallState, Instance, Job, invoke};
use bytes::Bytes;
use check::{Page, XATTR_NAME};
use exports::Promises;
use give_back::{GiveBack, Of, OpenHandle, References};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmount_core::fs::Seek;
use wasmount_core::ports::{
    AttributesAnswer, Body, BoxFuture, DirectoryPage, FileCapabilities, FileEvents, FileStatistics,
    FileStore, NodeNumber, Opened, Resolution, StoreHandle,
};
use wasmount_types::{Blame, Error, ErrorKind, Name, RequestCtx, Result};

type Exports = FileSystemExports;

/// See the module. Survives the replacement of its instance; handles that are open in it do not.
pub(crate) struct FilesProvider {
    caller: Arc<Caller<Exports>>,
    promises: Promises,
    events: Arc<Events>,
    give_back: Arc<GiveBack>,
    /// What the core has open, by numbers that are never used again.
    open: Mutex<HashMap<StoreHandle, Arc<OpenHandle>>>,
    last: AtomicU64,
}

fn context(ctx: &RequestCtx) -> wit::Context {
    wit::Context { uid: ctx.uid, gid: ctx.gid, pid: ctx.pid, umask: 0 }
}

fn refused(kind: ErrorKind, text: impl Into<String>) -> Error {
    Error::new(kind, Blame::Caller, text)
}

fn stale() -> Error {
    let text = "it was open in an instance of the plugin that is no longer there";
    Error::new(ErrorKind::Stale, Blame::Host, text)
}

impl FilesProvider {
    /// A file system that has been opened in `caller`'s instance.
    pub(crate) fn new(caller: Caller<Exports>, promises: Promises, events: Arc<Events>) -> Self {
        let caller = Arc::new(caller);
        let give_back = GiveBack::new(caller.clone());
        Self { caller, promises, events, give_back, open: Mutex::default(), last: AtomicU64::new(0) }
    }

    fn handles(&self) -> MutexGuard<'_, HashMap<StoreHandle, Arc<OpenHandle>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is open under a handle, and where.
    fn opened(&self, handle: StoreHandle, of: Of) -> Result<(Arc<OpenHandle>, Arc<Instance<Exports>>)> {
        let opened = self.handles().get(&handle).filter(|opened| opened.of == of).cloned();
        let opened = opened.ok_or_else(stale)?;
        let instance = opened.instance().ok_or_else(stale)?;
        Ok((opened, instance))
    }

    /// No name in the store is longer than it says.
    fn check_name(&self, name: &Name) -> Result<()> {
        match name.as_bytes().len() > self.promises.core.max_name as usize {
            true => {
                Err(refused(ErrorKind::NameTooLong, format!("{name:?} is longer than names can be here")))
            }
            false => Ok(()),
        }
    }

    fn check_promise(promised: bool, what: &str) -> Result<()> {
        match promised {
            true => Ok(()),
            false => {
                let text = format!("the plugin does not promise {what}");
                Err(Error::new(ErrorKind::Unsupported, Blame::Plugin, text))
            }
        }
    }

    async fn resolve(&self, ctx: RequestCtx, parent: NodeNumber, name: Name) -> Result<Resolution> {
        self.check_name(&name)?;
        let answer = self.caller.run("resolve", ctx.deadline, |state, reply| {
            let at = wit::Place { parent: parent.0, name: name.as_bytes().to_vec() };
            let (question, give_back) = ((context(&ctx), at), self.give_back.clone());
            Box::new(move |acc, exports: &Exports| {
                Box::pin(async move {
                    if state.start() {
                        let answer = plain(acc, invoke(acc, &exports.resolve, question, &state).await?);
                        // Dropped if nobody waits for it any more.
                        let _ = reply.send(answer.map(|found| {
                            let nodes = match &found {
                                wit::Resolution::Found(entry) => vec![entry.node],
                                wit::Resolution::Absent(_) => vec![],
                            };
                            (References::new(&give_back, nodes), found)
                        }));
                    }
                    Ok(())
                })
            })
        });
        let (references, found) = answer.await?;
        let found = self.caller.checker().resolution(&found, self.promises.core.coherence)?;
        references.keep();
        Ok(found)
    }

    async fn attributes(
        &self,
        ctx: RequestCtx,
        node: NodeNumber,
        handle: Option<StoreHandle>,
    ) -> Result<AttributesAnswer> {
        // A handle that is gone is no reason not to know: the number says the same.
        let opened = handle.and_then(|handle| self.opened(handle, Of::File).ok());
        let asked = match &opened {
            Some((opened, instance)) => {
                let question = (context(&ctx), node.0, Some(opened.number));
                let ask = job(|exports: &Exports| &exports.get_attributes, question);
                self.caller.once(instance, "get-attributes", ctx.deadline, ask).await.ok()
            }
            None => None,
        };
        let answer = match asked {
            Some(answer) => answer?,
            None => {
                let question = (context(&ctx), node.0, None);
                let asked = self.caller.ask(
                    "get-attributes",
                    ctx.deadline,
                    |exports| &exports.get_attributes,
                    question,
                );
                asked.await?
            }
        };
        self.caller.checker().attributes_answer(node, &answer, self.promises.core.coherence)
    }

    async fn read_link(&self, ctx: RequestCtx, node: NodeNumber) -> Result<Bytes> {
        Self::check_promise(self.promises.symlinks, "symlinks")?;
        let question = (context(&ctx), node.0);
        let target =
            self.caller.ask("read-link", ctx.deadline, |exports| &exports.read_link, question).await?;
        self.caller.checker().target(target).map(Bytes::from)
    }

    /// Opens a file or a directory with the question that `opening` asks.
    async fn open_with(
        &self,
        ctx: RequestCtx,
        operation: &str,
        of: Of,
        opening: impl Fn(Arc<CallState>, OpenReply) -> Job<Exports>,
    ) -> Result<Opened> {
        let answer = self.caller.run_where(operation, ctx.deadline, |instance, state, reply| {
            let (give_back, instance) = (self.give_back.clone(), Arc::downgrade(instance));
            let reply: OpenReply = Box::new(move |answer: Result<wit::Opened>| {
                // Closed if nobody waits for it any more.
                let _ =
                    reply.send(answer.map(|opened| {
                        (OpenHandle::new(&give_back, instance, opened.handle, of), opened.cache)
                    }));
            });
            opening(state, reply)
        });
        let (_, (opened, cache)) = answer.await?;
        let cache = self.caller.checker().cache_policy(cache, self.promises.core.coherence)?;
        let handle = StoreHandle(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        self.handles().insert(handle, Arc::new(opened));
        Ok(Opened { handle, cache })
    }

    async fn open(&self, ctx: RequestCtx, node: NodeNumber, keep: bool) -> Result<Opened> {
        let how = if keep { wit::OpenFlags::READ | wit::OpenFlags::KEEP } else { wit::OpenFlags::READ };
        let open = |state: Arc<CallState>, reply: OpenReply| -> Job<Exports> {
            let question = (context(&ctx), node.0, how);
            Box::new(move |acc, exports: &Exports| {
                Box::pin(async move {
                    if state.start() {
                        reply(plain(acc, invoke(acc, &exports.open, question, &state).await?));
                    }
                    Ok(())
                })
            })
        };
        self.open_with(ctx, "open", Of::File, open).await
    }

    async fn open_directory(&self, ctx: RequestCtx, node: NodeNumber) -> Result<Opened> {
        let open = |state: Arc<CallState>, reply: OpenReply| -> Job<Exports> {
            let question = (context(&ctx), node.0);
            Box::new(move |acc, exports: &Exports| {
                Box::pin(async move {
                    if state.start() {
                        reply(plain(acc, invoke(acc, &exports.open_directory, question, &state).await?));
                    }
                    Ok(())
                })
            })
        };
        self.open_with(ctx, "open-directory", Of::Directory, open).await
    }

    async fn read(
        &self,
        ctx: RequestCtx,
        handle: StoreHandle,
        offset: u64,
        length: u32,
    ) -> Result<Box<dyn Body>> {
        if length == 0 || length > self.promises.core.max_read {
            return Err(Error::new(ErrorKind::Invalid, Blame::Host, format!("a read of {length} bytes")));
        }
        let (opened, instance) = self.opened(handle, Of::File)?;
        let admitted = self.caller.admit(length, ctx.deadline).await?;
        let ask = read_job(|exports: &Exports| &exports.read, (opened.number, offset, length));
        let content =
            self.caller.once(&instance, "read", ctx.deadline, ask).await.map_err(|_died| stale())??;
        let pieces = self.caller.checker().pieces(content)?;
        // Said only when something is wrong.
        let log = self.caller.log.clone();
        let what =
            Box::new(move || format!("plugin {}: {length} bytes from {offset} of a file", log.plugin()));
        Ok(Box::new(CheckedBody::new(pieces, Expected::AtMost(length.into()), what)?.holding(admitted)))
    }

    async fn seek(&self, ctx: RequestCtx, handle: StoreHandle, offset: u64, what: Seek) -> Result<u64> {
        Self::check_promise(self.promises.core.seek, "to know holes")?;
        let target = match what {
            Seek::Data => wit::SeekTarget::Data,
            Seek::Hole => wit::SeekTarget::Hole,
        };
        let (opened, instance) = self.opened(handle, Of::File)?;
        let ask = job(|exports: &Exports| &exports.seek_data, (opened.number, offset, target));
        let answer = self.caller.once(&instance, "seek-data", ctx.deadline, ask);
        match answer.await.map_err(|_died| stale())?? {
            found if found >= offset => Ok(found),
            found => {
                let what = format!("looked for from {offset} on, found at {found}");
                Err(self.caller.checker().corrupt(what))
            }
        }
    }

    async fn read_directory(
        &self,
        ctx: RequestCtx,
        handle: StoreHandle,
        asked: Page,
    ) -> Result<DirectoryPage> {
        let limit = asked.limit.clamp(1, self.caller.limits.page_entries);
        let with_attributes = asked.with_attributes && self.promises.core.directory_attributes;
        let asked = Page { limit, with_attributes, ..asked };
        let (opened, instance) = self.opened(handle, Of::Directory)?;
        let (number, give_back) = (opened.number, self.give_back.clone());
        let answer = self.caller.once(&instance, "read-directory", ctx.deadline, |state, reply| {
            let question = (context(&ctx), number, asked.cookie, limit, with_attributes);
            Box::new(move |acc, exports: &Exports| {
                Box::pin(async move {
                    if state.start() {
                        let answer = invoke(acc, &exports.read_directory, question, &state).await?;
                        // Dropped if nobody waits for it any more.
                        let _ = reply.send(plain(acc, answer).map(|page: wit::DirectoryPage| {
                            let entries = page.entries.iter().filter_map(|one| one.entry.as_ref());
                            let nodes = entries.map(|entry| entry.node).collect();
                            (References::new(&give_back, nodes), page)
                        }));
                    }
                    Ok(())
                })
            })
        });
        let (references, page) = answer.await.map_err(|_died| stale())??;
        let page = self.caller.checker().directory_page(page, asked, &self.promises.core)?;
        references.keep();
        Ok(page)
    }

    fn close(&self, handle: StoreHandle) {
        // Dropped without the lock: closing is nobody's business here.
        let closed = self.handles().remove(&handle);
        drop(closed);
    }

    async fn get_xattr(&self, ctx: RequestCtx, node: NodeNumber, name: Vec<u8>) -> Result<Bytes> {
        Self::check_promise(self.promises.core.xattrs, "extended attributes")?;
        if name.is_empty() || name.len() > XATTR_NAME || name.contains(&0) {
            return Err(refused(ErrorKind::NoAttribute, "no extended attribute has such a name"));
        }
        let question = (context(&ctx), node.0, name);
        let value =
            self.caller.ask("get-xattr", ctx.deadline, |exports| &exports.get_xattr, question).await?;
        self.caller.checker().xattr(value).map(Bytes::from)
    }

    async fn list_xattrs(&self, ctx: RequestCtx, node: NodeNumber) -> Result<Vec<Vec<u8>>> {
        Self::check_promise(self.promises.core.xattrs, "extended attributes")?;
        let question = (context(&ctx), node.0);
        let names =
            self.caller.ask("list-xattrs", ctx.deadline, |exports| &exports.list_xattrs, question).await?;
        self.caller.checker().xattr_names(names)
    }

    async fn statistics(&self, ctx: RequestCtx, node: NodeNumber) -> Result<FileStatistics> {
        let ask =
            self.caller.ask("get-statistics", ctx.deadline, |exports| &exports.get_statistics, (node.0,));
        let given = ask.await?;
        self.caller.checker().statistics(given)
    }
}

/// Where the answer to an opening goes.
type OpenReply = Box<dyn FnOnce(Result<wit::Opened>) + Send>;

impl FileStore for FilesProvider {
    fn capabilities(&self) -> FileCapabilities {
        self.promises.core
    }

    fn subscribe(&self, events: Arc<dyn FileEvents>) {
        self.events.subscribe(events);
    }

    fn resolve(&self, ctx: RequestCtx, parent: NodeNumber, name: Name) -> BoxFuture<'_, Result<Resolution>> {
        Box::pin(self.resolve(ctx, parent, name))
    }

    fn forget(&self, nodes: Vec<(NodeNumber, u64)>) {
        self.give_back.forget(nodes.into_iter().map(|(node, count)| (node.0, count)));
    }

    fn attributes(
        &self,
        ctx: RequestCtx,
        node: NodeNumber,
        handle: Option<StoreHandle>,
    ) -> BoxFuture<'_, Result<AttributesAnswer>> {
        Box::pin(self.attributes(ctx, node, handle))
    }

    fn read_link(&self, ctx: RequestCtx, node: NodeNumber) -> BoxFuture<'_, Result<Bytes>> {
        Box::pin(self.read_link(ctx, node))
    }

    fn open(&self, ctx: RequestCtx, node: NodeNumber, keep: bool) -> BoxFuture<'_, Result<Opened>> {
        Box::pin(self.open(ctx, node, keep))
    }

    fn read(
        &self,
        ctx: RequestCtx,
        handle: StoreHandle,
        offset: u64,
        length: u32,
    ) -> BoxFuture<'_, Result<Box<dyn Body>>> {
        Box::pin(self.read(ctx, handle, offset, length))
    }

    fn release(&self, handle: StoreHandle) {
        self.close(handle);
    }

    fn seek(
        &self,
        ctx: RequestCtx,
        handle: StoreHandle,
        offset: u64,
        what: Seek,
    ) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.seek(ctx, handle, offset, what))
    }

    fn open_directory(&self, ctx: RequestCtx, node: NodeNumber) -> BoxFuture<'_, Result<Opened>> {
        Box::pin(self.open_directory(ctx, node))
    }

    fn read_directory(
        &self,
        ctx: RequestCtx,
        handle: StoreHandle,
        cookie: u64,
        limit: u32,
        with_attributes: bool,
    ) -> BoxFuture<'_, Result<DirectoryPage>> {
        Box::pin(self.read_directory(ctx, handle, Page { cookie, limit, with_attributes }))
    }

    fn release_directory(&self, handle: StoreHandle) {
        self.close(handle);
    }

    fn get_xattr(&self, ctx: RequestCtx, node: NodeNumber, name: Vec<u8>) -> BoxFuture<'_, Result<Bytes>> {
        Box::pin(self.get_xattr(ctx, node, name))
    }

    fn list_xattrs(&self, ctx: RequestCtx, node: NodeNumber) -> BoxFuture<'_, Result<Vec<Vec<u8>>>> {
        Box::pin(self.list_xattrs(ctx, node))
    }

    fn statistics(&self, ctx: RequestCtx, node: NodeNumber) -> BoxFuture<'_, Result<FileStatistics>> {
        Box::pin(self.statistics(ctx, node))
    }
}
