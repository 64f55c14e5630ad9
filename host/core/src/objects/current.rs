//! Whether a file still is the version that a node stands for.

use super::known::Known;
use super::listing::Child;
use super::names::split;
use super::{Consistency, ObjectFs};
use crate::again::asked;
use crate::inode::FileVersion;
use crate::ports::HeadOutcome;
use std::sync::Arc;
use wasmount_types::{Error, ErrorKind, Name, ObjectKey, RequestCtx};

impl ObjectFs {
    /// Checks a file before it is opened.
    ///
    /// # Errors
    /// `stale` when it is known to be another version, or none, by now; with [`Consistency::Open`] also what the store
    /// says when it is asked.
    pub async fn check_current(
        self: &Arc<Self>,
        ctx: RequestCtx,
        path: &str,
        file: &FileVersion,
    ) -> Result<(), Error> {
        if self.config.consistency == Consistency::Open {
            return self.ask_current(ctx, path, file).await;
        }
        let (dir, name) = split(path);
        let Ok(name) = Name::new(name.as_bytes()) else { return Ok(()) };
        match self.remembered(dir, &name, path) {
            Some(Some(listed)) if matches!(&listed.child, Child::File(now) if now.same(file)) => Ok(()),
            Some(_) => Err(Error::stale(path)),
            // Nobody has heard anything else.
            None if matches!(self.known.get(path), Some((Known::Suspect, _))) => Err(Error::stale(path)),
            None => Ok(()),
        }
    }

    async fn ask_current(&self, ctx: RequestCtx, path: &str, file: &FileVersion) -> Result<(), Error> {
        let at = self.clock.now();
        let head = || self.store.head(ctx, ObjectKey::new(path), file.version.clone());
        match asked(&*self.clock, ctx, "checking a file before it is opened", head).await {
            // A HEAD knows objects, not names: it does not see a directory that hides the object by now. So it says whether the
            // bytes are the same, and what the name stands for is looked up where they are not.
            Ok(HeadOutcome::Unchanged) => Ok(()),
            Ok(HeadOutcome::Found(info)) => {
                if matches!(Child::file(&info.object), Child::File(now) if now.same(file)) {
                    return Ok(());
                }
                self.known.set(path, Known::Suspect, at);
                Err(Error::stale(path))
            }
            // The kernel looks the name up again on `stale`, and then learns that it is gone or a directory.
            Err(error) if error.kind == ErrorKind::NotFound => {
                self.known.set(path, Known::Suspect, at);
                Err(Error::stale(path))
            }
            Err(error) => Err(error),
        }
    }

    /// Takes note that `file` is not what `path` stands for any more: a read or an open has met another version.
    pub fn suspect(self: &Arc<Self>, path: &str, file: &FileVersion) {
        let (dir, name) = split(path);
        let remembered = Name::new(name.as_bytes()).ok().and_then(|name| self.remembered(dir, &name, path));
        match remembered.flatten().map(|listed| listed.child) {
            // Memory knows better already.
            Some(Child::Directory) => {}
            Some(Child::File(now)) if !now.same(file) => {}
            _ => self.known.set(path, Known::Suspect, self.clock.now()),
        }
    }
}
