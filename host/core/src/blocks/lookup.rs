//! What the name of a file stands for.

use super::names::Spec;
use super::{ImageFs, image_file, snapshot_file};
use crate::inode::FileVersion;
use crate::objects::{Child, Known, Listed, Seen};
use crate::wait::bounded;
use std::sync::Arc;
use std::time::Instant;
use wasmount_types::{Error, ErrorKind, Name, RequestCtx};

impl ImageFs {
    /// What `name` stands for, and when the store was asked.
    ///
    /// # Errors
    /// `not-found`, or what the store says.
    pub async fn look_up(self: &Arc<Self>, ctx: RequestCtx, name: &Name) -> Result<Listed, Error> {
        // Names of images are text.
        let Some(path) = name.as_str() else { return Err(Error::not_found(name)) };
        let outcome = match self.remembered(path) {
            Some(outcome) => outcome,
            None => {
                let asking = self.asking.join(&*self.spawn, path, || {
                    let (fs, path) = (self.clone(), path.to_owned());
                    async move { fs.ask(&path).await }
                });
                bounded(&*self.clock, ctx, "looking up an image", asking).await?
            }
        };
        outcome.ok_or_else(|| Error::not_found(path))
    }

    /// Newer news than a listing's about one of its entries; `Some(None)`: it changed, and nobody knows to what.
    pub fn news(&self, name: &Name, listed: &Listed) -> Option<Option<Listed>> {
        let (known, at) = self.known.get(name.as_str()?)?;
        match known {
            _ if at < listed.at => None,
            Known::Found(child) => Some(Some(Listed { child, at })),
            Known::Absent | Known::Suspect => Some(None),
        }
    }

    /// Checks a file that has a version before it is opened, by what is known. Opening the image asks the store.
    ///
    /// # Errors
    /// `stale` when it is known to be another version, or none, by now.
    pub fn check_current(&self, path: &str, file: &FileVersion) -> Result<(), Error> {
        match self.remembered(path) {
            Some(Some(listed)) if matches!(&listed.child, Child::File(now) if now.same(file)) => Ok(()),
            Some(_) => Err(Error::stale(path)),
            None if matches!(self.known.get(path), Some((Known::Suspect, _))) => Err(Error::stale(path)),
            // Nobody has heard anything else.
            None => Ok(()),
        }
    }

    /// Takes note that a file is not what it was: the next look-up asks.
    pub fn suspect(&self, path: &str) {
        self.known.set(path, Known::Suspect, self.clock.now());
    }

    /// The newest word about a name, however old.
    pub(super) fn newest(&self, path: &str) -> Option<(Known, Instant)> {
        let name = Name::new(path.as_bytes()).ok()?;
        let listing = super::lock(&self.listing).clone();
        let from_listing = match listing.map(|listing| listing.peek(&name)) {
            Some(Seen::Found(listed)) => Some((Known::Found(listed.child), listed.at)),
            Some(Seen::Absent(at)) => Some((Known::Absent, at)),
            Some(Seen::Pending(_) | Seen::Unknown) | None => None,
        };
        [from_listing, self.known.get(path)].into_iter().flatten().max_by_key(|(_, at)| *at)
    }

    /// The newest word about a name, if it still holds; `Some(None)`: there is nothing.
    fn remembered(&self, path: &str) -> Option<Option<Listed>> {
        let (known, at) = self.newest(path)?;
        let age = self.clock.now().saturating_duration_since(at);
        match known {
            Known::Found(child) if age < self.ttl(&child) => Some(Some(Listed { child, at })),
            Known::Absent if age < self.config.negative_ttl => Some(None),
            Known::Found(_) | Known::Absent | Known::Suspect => None,
        }
    }

    async fn ask(&self, path: &str) -> Result<Option<Listed>, Error> {
        let at = self.clock.now();
        let ctx = RequestCtx::internal(at + self.request_timeout);
        for spec in Spec::of(path) {
            let found = match &spec.snapshot {
                None => {
                    self.store.get_image(ctx, spec.image.clone()).await.map(|image| Some(image_file(&image)))
                }
                Some(snapshot) if self.caps.snapshots => {
                    self.ask_snapshots(ctx, &spec.image, snapshot, at).await
                }
                Some(_) => Ok(None),
            };
            match found {
                Ok(Some(child)) => {
                    self.remember(path, child.clone(), at);
                    return Ok(Some(Listed { child, at }));
                }
                Ok(None) => {}
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error.context(path)),
            }
        }
        self.known.set(path, Known::Absent, at);
        Ok(None)
    }

    /// One snapshot of an image. What is learned of the others is remembered.
    async fn ask_snapshots(
        &self,
        ctx: RequestCtx,
        image: &str,
        wanted: &str,
        at: Instant,
    ) -> Result<Option<Child>, Error> {
        let mut found = None;
        for snapshot in self.store.list_snapshots(ctx, image.to_owned()).await? {
            let child = snapshot_file(&snapshot);
            if snapshot.name == wanted {
                found = Some(child);
            } else if let Some(name) = Spec::snapshot(image, &snapshot.name).name()
                && let Some(path) = name.as_str()
            {
                self.known.set(path, Known::Found(child), at);
            }
        }
        Ok(found)
    }
}
