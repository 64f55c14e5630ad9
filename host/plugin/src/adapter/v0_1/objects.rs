//! An object store of the core, backed by a plugin.

use super::body::{CheckedBody, expected};
use super::caller::{Caller, plain};
use super::{ObjectStoreExports, convert, types, wit};
use crate::imports::Body;
use crate::instance::{GuestState, invoke};
use wasmount_core::ports::{
    BoxFuture, GetOutcome, GetRequest, GetResponse, HeadOutcome, ListPage, ListRequest, ObjectCapabilities,
    ObjectStore,
};
use wasmount_types::{Blame, Error, ErrorKind, ObjectKey, RequestCtx, Result, Version};

/// See the module. Survives the replacement of its instance.
pub(crate) struct ObjectsProvider {
    pub(crate) caller: Caller<ObjectStoreExports>,
    pub(crate) capabilities: ObjectCapabilities,
}

impl ObjectsProvider {
    fn check_key(&self, key: &ObjectKey) -> Result<()> {
        let longest = self.caller.limits.key.min(self.capabilities.max_key as usize);
        if key.as_str().len() > longest {
            let text = format!("a key of {} bytes, the store takes {longest}", key.as_str().len());
            return Err(Error::new(ErrorKind::NameTooLong, Blame::Caller, text));
        }
        Ok(())
    }

    async fn list(&self, ctx: RequestCtx, request: ListRequest) -> Result<ListPage> {
        let question = wit::ListRequest {
            prefix: request.prefix.clone(),
            delimiter: request.delimiter.clone(),
            start_after: request.start_after.clone(),
            continuation: request.continuation.clone(),
            limit: request.limit.clamp(1, self.caller.limits.page_entries),
        };
        let page = self.caller.run("list", ctx.deadline, |state, reply| {
            let question = question.clone();
            Box::new(move |acc, exports| {
                Box::pin(async move {
                    if state.start() {
                        let answer = invoke(acc, &exports.list, (question,), &state).await?;
                        let _ = reply.send(plain(acc, answer));
                    }
                    Ok(())
                })
            })
        });
        self.caller.checker().page(page.await?, &request)
    }

    async fn head(&self, ctx: RequestCtx, key: ObjectKey, unless: Option<Version>) -> Result<HeadOutcome> {
        self.check_key(&key)?;
        let answer = self.caller.run("head", ctx.deadline, |state, reply| {
            let question = (key.as_str().to_owned(), unless.as_ref().map(|v| v.as_str().to_owned()));
            Box::new(move |acc, exports| {
                Box::pin(async move {
                    if state.start() {
                        let answer = invoke(acc, &exports.head, question, &state).await?;
                        let _ = reply.send(plain(acc, answer));
                    }
                    Ok(())
                })
            })
        });
        match answer.await? {
            wit::HeadOutcome::Found(info) => {
                self.caller.checker().info_of(info, &key).map(HeadOutcome::Found)
            }
            wit::HeadOutcome::Unchanged if unless.is_some() => Ok(HeadOutcome::Unchanged),
            wit::HeadOutcome::Unchanged => {
                Err(self.caller.checker().corrupt("`unchanged`, and no version was given"))
            }
        }
    }

    async fn get(&self, ctx: RequestCtx, request: GetRequest) -> Result<GetOutcome> {
        self.check_key(&request.key)?;
        let answer = self.caller.run("get", ctx.deadline, |state, reply| {
            let version = |version: &Option<Version>| version.as_ref().map(|v| v.as_str().to_owned());
            let question = wit::GetRequest {
                key: request.key.as_str().to_owned(),
                range: request
                    .range
                    .map(|range| types::ByteRange { offset: range.offset, length: range.length }),
                pin: version(&request.pin),
                unless: version(&request.unless),
            };
            Box::new(move |acc, exports| {
                Box::pin(async move {
                    if state.start() {
                        let answer = invoke(acc, &exports.get, (question,), &state).await?;
                        // Out of the table, whether anybody still waits for it or not.
                        let answer = acc.with(|mut access| take_body(access.get(), answer))?;
                        let _ = reply.send(answer);
                    }
                    Ok(())
                })
            })
        });
        match answer.await? {
            None if request.unless.is_some() => Ok(GetOutcome::Unchanged),
            None => Err(self.caller.checker().corrupt("`unchanged`, and no version was given")),
            Some(found) => self.found(&request, found).map(GetOutcome::Found),
        }
    }

    fn found(&self, request: &GetRequest, found: Found) -> Result<GetResponse> {
        let checker = self.caller.checker();
        let object = checker.object_of(found.object, &request.key)?;
        if request.pin.is_some() && object.version != request.pin {
            // The store ignored the condition. What matters is that no two versions are ever mixed.
            return Err(Error::stale(&object.key));
        }
        let expected = expected(request.range, found.offset, object.size)
            .map_err(|what| checker.corrupt(format_args!("{}: {what}", object.key)))?;
        let Some(expected) = expected else {
            let text = format!("{} has {} bytes only", object.key, object.size);
            return Err(Error::new(ErrorKind::OutOfRange, Blame::Caller, self.caller.log.clean(&text)));
        };
        let pieces = checker.pieces(found.content)?;
        // Said only when something is wrong.
        let (log, key) = (self.caller.log.clone(), object.key.clone());
        let what = Box::new(move || format!("plugin {}: {}", log.plugin(), log.clean(key.as_str())));
        let content = CheckedBody::new(pieces, expected, what)?;
        Ok(GetResponse { object, offset: found.offset, content: Box::new(content) })
    }
}

/// A `get` whose content is out of the table.
struct Found {
    object: wit::Object,
    offset: u64,
    content: Body,
}

fn take_body(
    state: &mut GuestState,
    answer: Result<wit::GetOutcome, types::Error>,
) -> wasmtime::Result<Result<Option<Found>>> {
    Ok(match answer {
        Ok(wit::GetOutcome::Found(found)) => {
            let content = state.table.delete(found.content)?;
            Ok(Some(Found { object: found.object, offset: found.offset, content }))
        }
        Ok(wit::GetOutcome::Unchanged) => Ok(None),
        Err(error) => Err(convert::error(error, &state.rights.log)),
    })
}

impl ObjectStore for ObjectsProvider {
    fn capabilities(&self) -> ObjectCapabilities {
        self.capabilities
    }

    fn list(&self, ctx: RequestCtx, request: ListRequest) -> BoxFuture<'_, Result<ListPage>> {
        Box::pin(self.list(ctx, request))
    }

    fn head(
        &self,
        ctx: RequestCtx,
        key: ObjectKey,
        unless: Option<Version>,
    ) -> BoxFuture<'_, Result<HeadOutcome>> {
        Box::pin(self.head(ctx, key, unless))
    }

    fn get(&self, ctx: RequestCtx, request: GetRequest) -> BoxFuture<'_, Result<GetOutcome>> {
        Box::pin(self.get(ctx, request))
    }
}
