//! An open image, and the chain of snapshots it is a clone of.

use crate::class::{self, ParentSpec};
use crate::failure::ImageError;
use crate::features::Features;
use crate::header::{self, Header, Shape};
use crate::object_map::{INVALID, ObjectMap};
use crate::questions::Questions;
use crate::rados::{Place, Rados, bytes};
use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use wasmount_ceph::encoding::Decoder;
use wasmount_ceph::osd::snap;
use wasmount_ceph::striper::Layout;

/// Most clones in a row, as librbd allows (`RBD_MAX_PARENT_CHAIN_LEN` of `include/rbd_types.h`).
const DEEPEST: usize = 16;
/// Objects of the largest image whose map is loaded: 4 MiB of states. Larger images are read without.
const MOST_MAPPED: u64 = 16 << 20;
/// How long the size of a live image and its part of the parent are believed. Librbd is told of changes; this plugin looks.
const BELIEVED_MS: u64 = 1000;

/// An open image or snapshot.
#[derive(Debug)]
pub struct Image {
    /// Where its header is.
    place: Place,
    /// Its id.
    id: String,
    /// The snapshot; [`snap::HEAD`]: the live image.
    snap: u64,
    /// Where its data objects are.
    data: Place,
    prefix: String,
    layout: Layout,
    parent: Option<Rc<Image>>,
    /// Which objects of a snapshot may exist. A live image's is loaded when it is needed.
    objects: Option<ObjectMap>,
    has_object_map: bool,
    /// How much was seen through to the parent before `objects` was loaded.
    first_overlap: u64,
    /// Its shape, as it was last seen. That of a snapshot changes once: when it is cut off from its parent.
    shape: Cell<Shape>,
    /// When that was, on the monotonic clock.
    seen_ms: Cell<u64>,
    /// What its header says now; `None`: the snapshot was removed.
    questions: Questions<Option<Shape>>,
}

impl Image {
    /// Opens an image by its id, as of `snap`, with everything below it.
    ///
    /// # Errors
    /// `NotFound`: there is no such image or snapshot; what [`ImageError`] says.
    pub async fn open<R: Rados>(
        rados: &R,
        place: Place,
        id: String,
        snap: u64,
    ) -> Result<Rc<Self>, ImageError> {
        // From the top down, since each names the next one; then put together from the bottom up.
        let mut chain = Vec::new();
        let mut next = Some((place, id, snap));
        while let Some((place, id, snap)) = next.take() {
            if chain.len() > DEEPEST {
                return Err(ImageError::TooDeep(DEEPEST));
            }
            let (pool, name) = (place.pool, id.clone());
            let (image, parent) = match Self::load(rados, place, id, snap).await {
                Err(why) if !chain.is_empty() => {
                    return Err(ImageError::Parent { pool, image: name, why: Box::new(why) });
                }
                loaded => loaded?,
            };
            next = parent
                .map(|spec| (Place { pool: spec.pool, namespace: spec.namespace }, spec.image, spec.snap));
            chain.push(image);
        }
        let top = chain.into_iter().rev().fold(None, |parent, image| Some(Rc::new(Self { parent, ..image })));
        top.ok_or(ImageError::TooDeep(0))
    }

    async fn load<R: Rados>(
        rados: &R,
        place: Place,
        id: String,
        snap: u64,
    ) -> Result<(Self, Option<ParentSpec>), ImageError> {
        let seen_ms = rados.monotonic_ms();
        let header = Header::load(rados, &place, &id, snap).await?;
        let data = Place { pool: header.data_pool.unwrap_or(place.pool), ..place.clone() };
        let has_object_map = header.features.has(Features::OBJECT_MAP)
            && header.flags & INVALID == 0
            && header.layout.objects(header.size) <= MOST_MAPPED;
        let objects = if has_object_map && snap != snap::HEAD {
            object_map(rados, &place, &id, snap).await?
        } else {
            None
        };
        let image = Self {
            place,
            id,
            snap,
            data,
            prefix: header.prefix,
            layout: header.layout,
            parent: None,
            objects,
            has_object_map,
            first_overlap: header.overlap,
            shape: Cell::new(Shape { size: header.size, overlap: header.overlap }),
            seen_ms: Cell::new(seen_ms),
            questions: Questions::default(),
        };
        Ok((image, header.parent))
    }

    /// Size, as it was last seen.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shape.get().size
    }

    /// How much of it is seen through to the parent, as it was last seen; 0 without a parent.
    #[must_use]
    pub fn overlap(&self) -> u64 {
        if self.parent.is_some() { self.shape.get().overlap } else { 0 }
    }

    /// How it is cut into objects.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where its header is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Itself, and all below it, from the top down.
    pub fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |image| image.parent.as_deref())
    }

    /// The snapshot below it.
    #[must_use]
    pub fn parent(&self) -> Option<&Rc<Self>> {
        self.parent.as_ref()
    }

    /// The snapshot; [`snap::HEAD`]: the live image.
    #[must_use]
    pub fn snap(&self) -> u64 {
        self.snap
    }

    /// Whether others may write to it.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.snap == snap::HEAD
    }

    /// Names its bytes as long as they cannot change: for a snapshot, for ever.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        (!self.is_live()).then(|| format!("{}:{}", self.id, self.snap))
    }

    /// Where its data objects are.
    #[must_use]
    pub fn data(&self) -> &Place {
        &self.data
    }

    /// Name of a data object.
    #[must_use]
    pub fn object(&self, number: u64) -> String {
        format!("{}.{number:016x}", self.prefix)
    }

    /// Whether an object may exist, as far as that is known without asking. Of a live image nothing is.
    #[must_use]
    pub fn may_exist(&self, object: u64) -> bool {
        self.stored_map().is_none_or(|map| map.may_exist(object))
    }

    /// The map of a snapshot, as long as it tells the truth: what is copied up from the parent comes into being in snapshots too. As
    /// long as the parent is seen through to, that does not matter, since it has the same bytes; when the snapshot is cut off from it
    /// (`rbd flatten`), everything is there that the map does not know.
    fn stored_map(&self) -> Option<&ObjectMap> {
        self.objects.as_ref().filter(|_| self.shape.get().overlap == self.first_overlap)
    }

    /// Whether it takes a [look](Self::confirm) to be sure that what no object was found for is a hole, or the parent's. Not so for a
    /// live image without parent, nor for what the map of a snapshot without parent says.
    #[must_use]
    pub fn must_confirm(&self) -> bool {
        self.overlap() > 0 || !(self.is_live() || self.stored_map().is_some())
    }

    /// Which objects may exist at this moment; `None` if there is no map that can be trusted.
    ///
    /// A writer notes in the map that an object may exist before it makes it, so what the map calls missing now is missing now; a
    /// moment later it may not be. That is why reads of a live image do not use it.
    ///
    /// # Errors
    /// The request failed.
    pub async fn objects_now<R: Rados>(&self, rados: &R) -> Result<Option<Cow<'_, ObjectMap>>, ImageError> {
        if !self.is_live() {
            return Ok(self.stored_map().map(Cow::Borrowed));
        }
        // The map tells the truth if it did before it was read and does so afterwards: it may be rebuilt meanwhile.
        if !self.has_object_map || !self.map_is_valid(rados).await? {
            return Ok(None);
        }
        let map = object_map(rados, &self.place, &self.id, self.snap).await?;
        Ok(if self.map_is_valid(rados).await? { map.map(Cow::Owned) } else { None })
    }

    async fn map_is_valid<R: Rados>(&self, rados: &R) -> Result<bool, ImageError> {
        let object = header::object(&self.id);
        let [flags] = header::exec(rados, &self.place, &object, [class::get_flags(self.snap)]).await?;
        Ok(class::read("get_flags", bytes(&flags), Decoder::u64)? & INVALID == 0)
    }

    /// Looks at a live image again, if the last look is not fresh.
    ///
    /// # Errors
    /// `NotFound`: the image was removed.
    pub async fn look<R: Rados>(&self, rados: &R) -> Result<(), ImageError> {
        let (now_ms, seen_ms) = (rados.monotonic_ms(), self.seen_ms.get());
        if !self.is_live() || now_ms < seen_ms.saturating_add(BELIEVED_MS) {
            return Ok(());
        }
        // Others that come meanwhile do with what is known; this one's answer is for them too.
        self.seen_ms.set(now_ms);
        let looked = self.confirm(rados).await;
        if looked.is_err() {
            self.seen_ms.set(seen_ms);
        }
        looked
    }

    /// Asks what holds now. Whoever has found no object knows by that whether there was none: not in a snapshot that was removed, and
    /// the bytes are the parent's only as far as it is [seen through to](Self::overlap) still.
    ///
    /// # Errors
    /// [`ImageError::Removed`]: the snapshot was; `NotFound`: the live image was.
    pub async fn confirm<R: Rados>(&self, rados: &R) -> Result<(), ImageError> {
        match self.questions.ask(|| self.shape_now(rados)).await? {
            Some(_) => Ok(()),
            None => Err(ImageError::Removed { image: self.id.clone(), snap: self.snap }),
        }
    }

    async fn shape_now<R: Rados>(&self, rados: &R) -> Result<Option<Shape>, ImageError> {
        let now_ms = rados.monotonic_ms();
        let shape = if self.is_live() {
            Some(header::live_shape(rados, &self.place, &self.id).await?)
        } else {
            header::snapshot_shape(rados, &self.place, &self.id, self.snap).await?
        };
        if let Some(shape) = shape {
            self.shape.set(shape);
            self.seen_ms.set(now_ms);
        }
        Ok(shape)
    }
}

/// The map of an image or snapshot; `None` if there is none although there should be, as with images whose map was never built.
async fn object_map<R: Rados>(
    rados: &R,
    place: &Place,
    id: &str,
    snap: u64,
) -> Result<Option<ObjectMap>, ImageError> {
    let object = match snap {
        snap::HEAD => format!("rbd_object_map.{id}"),
        snap => format!("rbd_object_map.{id}.{snap:016x}"),
    };
    match header::exec(rados, place, &object, [class::object_map_load()]).await {
        Ok([output]) => Ok(Some(ObjectMap::decode(bytes(&output))?)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
