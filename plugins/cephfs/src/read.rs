//! Bytes of a file: the objects under a range, all at the same time, and zeros where there is nothing.

use futures::future::try_join_all;
use std::collections::HashMap;
use wasmount_ceph::cephfs::ReadPlan;
use wasmount_ceph::osd::Extent;
use wasmount_ceph::rados::RadosError;
use wasmount_ceph::striper::{Layout, Piece};
use wasmount_ceph_guest::objects::{self, Found, Part, Place, Rados, Wanted};
use wasmount_sdk::{Body, Buffer};

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A request to the cluster failed.
    #[error("object {object} in pool {pool}: {error}")]
    Object {
        /// Name of the object.
        object: String,
        /// Id of its pool.
        pool: i64,
        /// What failed.
        error: RadosError,
    },
    /// The file is cut into objects in a way that is impossible.
    #[error("the layout of the file names {0}, which no file has")]
    Layout(String),
}

impl ReadError {
    /// Whether the cluster has locked this client out.
    #[must_use]
    pub fn locked_out(&self) -> bool {
        matches!(self, Self::Object { error: RadosError::Blocklisted { .. }, .. })
    }
}

/// Where the objects of a file are.
#[derive(Clone, Debug)]
pub struct Objects<'a> {
    plan: &'a ReadPlan,
    place: Place,
    layout: Layout,
}

impl<'a> Objects<'a> {
    /// The objects that a plan names.
    ///
    /// # Errors
    /// [`ReadError::Layout`].
    pub fn new(plan: &'a ReadPlan) -> Result<Self, ReadError> {
        let layout = &plan.layout;
        if layout.pool < 0 {
            return Err(ReadError::Layout("no pool".into()));
        }
        let namespace = String::from_utf8(layout.namespace.clone())
            .map_err(|_| ReadError::Layout("a namespace that is not UTF-8".into()))?;
        Ok(Self {
            plan,
            place: Place { pool: layout.pool, namespace },
            layout: Layout::new(
                layout.object_size.into(),
                layout.stripe_unit.into(),
                layout.stripe_count.into(),
            )
            .map_err(ReadError::Layout)?,
        })
    }

    /// How the bytes lie in them.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where they are.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Name of an object.
    #[must_use]
    pub fn name(&self, object: u64) -> String {
        format!("{:x}.{object:08x}", self.plan.vino.ino)
    }

    /// A request about an object failed.
    #[must_use]
    pub fn failed(&self, object: u64, error: RadosError) -> ReadError {
        ReadError::Object { object: self.name(object), pool: self.place.pool, error }
    }

    /// A range of an object. What was cut off by a truncation that the OSD has not seen yet is cut off by it before it is read.
    fn extent(&self, wanted: &Wanted) -> Extent {
        let truncate_size = match self.plan.truncate_size {
            u64::MAX => u64::MAX,
            size => self.layout.object_length(wanted.object, size),
        };
        Extent {
            offset: wanted.offset,
            length: wanted.length,
            truncate_size,
            truncate_seq: self.plan.truncate_seq,
        }
    }

    async fn fetch<R: Rados>(&self, rados: &R, wanted: &Wanted) -> Result<Found<R::Payload>, ReadError> {
        let (name, snap) = (self.name(wanted.object), self.plan.vino.snap);
        objects::fetch(rados, &self.place, &name, snap, self.extent(wanted))
            .await
            .map_err(|error| self.failed(wanted.object, error))
    }
}

/// Reads a range of a file as far as it goes, in as few requests as there are objects under it. The plan's bytes are in objects, not
/// inline.
///
/// # Errors
/// What failed first of the requests.
pub async fn read<R: Rados>(
    rados: &R,
    plan: &ReadPlan,
    offset: u64,
    length: u64,
) -> Result<Vec<Part<R::Payload>>, ReadError> {
    let length = length.min(plan.size.saturating_sub(offset));
    if length == 0 {
        return Ok(Vec::new());
    }
    let objects = Objects::new(plan)?;
    let pieces: Vec<Piece> = objects.layout.pieces(offset, length).collect();
    let wanted = objects::group(&pieces);
    let answers = try_join_all(wanted.values().map(|wanted| objects.fetch(rados, wanted))).await?;
    let found: HashMap<u64, (u64, Found<R::Payload>)> =
        wanted.values().zip(answers).map(|(wanted, found)| (wanted.object, (wanted.offset, found))).collect();
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in &pieces {
        let (start, payload) = match found.get(&piece.object) {
            Some((start, Some(payload))) => (*start, payload.as_ref()),
            // A hole, or the bytes of an object that does not exist (any more).
            _ => (piece.offset, None),
        };
        Part::of(piece, start, payload).for_each(|part| part.push_to(&mut parts));
    }
    Ok(parts)
}

/// Bytes that are in the inode itself, up to `end`. A file that was made longer has zeros there, which nobody keeps.
///
/// # Errors
/// `too-large`: there are more buffers than the host allows.
pub fn inline(bytes: &[u8], offset: u64, end: u64) -> wasmount_sdk::Result<Body> {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let to = usize::try_from(end).unwrap_or(usize::MAX).clamp(from, bytes.len());
    let zeros = end.saturating_sub(offset).saturating_sub((to - from) as u64);
    Body::assemble(vec![
        wasmount_sdk::Piece::Buffer(Buffer::create(&bytes[from..to])?),
        wasmount_sdk::Piece::Zeros(zeros),
    ])
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
