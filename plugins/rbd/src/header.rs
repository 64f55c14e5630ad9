//! What the header object of an image says about it.

use crate::class::{self, ParentSpec, Purpose, SnapshotInfo};
use crate::failure::ImageError;
use crate::features::Features;
use crate::layout::layout;
use crate::rados::{Place, Rados, bytes};
use wasmount_ceph::encoding::Decoder;
use wasmount_ceph::osd::{Op, OpResult, snap};
use wasmount_ceph::rados::RadosError;
use wasmount_ceph::striper::Layout;
use wasmount_ceph::types::UTime;

/// Snapshots that are asked about in one request.
const SNAPSHOTS_AT_ONCE: usize = 64;

/// An image or one of its snapshots.
#[derive(Clone, Debug)]
pub struct Header {
    /// Size.
    pub size: u64,
    /// Objects.
    pub layout: Layout,
    /// Features.
    pub features: Features,
    /// Flags, such as [`INVALID`](crate::object_map::INVALID).
    pub flags: u64,
    /// Beginning of the names of data objects: `rbd_data.ID`.
    pub prefix: String,
    /// Pool of the data objects, if it is another one.
    pub data_pool: Option<i64>,
    /// The snapshot below it.
    pub parent: Option<ParentSpec>,
    /// How much of it is seen through to the parent.
    pub overlap: u64,
}

/// Name of the header object of an image.
#[must_use]
pub fn object(id: &str) -> String {
    format!("rbd_header.{id}")
}

/// The id of the image with this name.
///
/// # Errors
/// `NotFound`: there is no such image.
pub async fn id_of<R: Rados>(rados: &R, place: &Place, name: &str) -> Result<String, ImageError> {
    let [output] = exec(rados, place, &format!("rbd_id.{name}"), [class::get_id()]).await?;
    Ok(class::read("get_id", bytes(&output), Decoder::string)?)
}

impl Header {
    /// Asks for everything, as of `snap`.
    ///
    /// # Errors
    /// `NotFound`: there is no such image, or no such snapshot of it. [`ImageError::Unreadable`]: it has features with which it cannot
    /// be read.
    pub async fn load<R: Rados>(rados: &R, place: &Place, id: &str, snap: u64) -> Result<Self, ImageError> {
        let object = object(id);
        let [size, features, flags, prefix, data_pool, parent, overlap] = exec(
            rados,
            place,
            &object,
            [
                class::get_size(snap),
                class::get_features(snap),
                class::get_flags(snap),
                class::get_object_prefix(),
                class::get_data_pool(),
                class::parent_get(),
                class::parent_overlap_get(snap),
            ],
        )
        .await?;
        let features = Features(class::read("get_features", bytes(&features), Decoder::u64)?);
        let unreadable = features.unreadable();
        if !unreadable.is_empty() {
            return Err(ImageError::Unreadable(unreadable));
        }
        let (order, size) = class::size(bytes(&size))?;
        let stripes = if features.has(Features::STRIPING) {
            let [output] = exec(rados, place, &object, [class::get_stripe_unit_count()]).await?;
            let read = |decoder: &mut Decoder<'_>| Ok((decoder.u64()?, decoder.u64()?));
            Some(class::read("get_stripe_unit_count", bytes(&output), read)?)
        } else {
            None
        };
        let data_pool = class::read("get_data_pool", bytes(&data_pool), Decoder::i64)?;
        let overlap = class::overlap(bytes(&overlap))?;
        Ok(Self {
            size,
            layout: layout(order, stripes).map_err(ImageError::Layout)?,
            features,
            flags: class::read("get_flags", bytes(&flags), Decoder::u64)?,
            prefix: class::read("get_object_prefix", bytes(&prefix), Decoder::string)?,
            data_pool: Some(data_pool).filter(|pool| *pool >= 0),
            parent: ParentSpec::decode(bytes(&parent))?.filter(|_| overlap > 0),
            overlap,
        })
    }
}

/// What may change while an image or a snapshot is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Size.
    pub size: u64,
    /// How much of it is seen through to the parent.
    pub overlap: u64,
}

/// The shape of a live image now.
///
/// # Errors
/// `NotFound`: there is no such image.
pub async fn live_shape<R: Rados>(rados: &R, place: &Place, id: &str) -> Result<Shape, ImageError> {
    let ops = [class::get_size(snap::HEAD), class::parent_overlap_get(snap::HEAD)];
    let [size, overlap] = exec(rados, place, &object(id), ops).await?;
    Ok(Shape { size: class::size(bytes(&size))?.1, overlap: class::overlap(bytes(&overlap))? })
}

/// The shape of a snapshot now; `None`: it was removed, or is being removed.
///
/// # Errors
/// The request failed.
pub async fn snapshot_shape<R: Rados>(
    rados: &R,
    place: &Place,
    id: &str,
    snap: u64,
) -> Result<Option<Shape>, ImageError> {
    let ops = [class::snapshot_get(snap), class::parent_overlap_get(snap)];
    let [info, overlap] = match exec(rados, place, &object(id), ops).await {
        Err(error) if error.is_not_found() => return Ok(None),
        answer => answer?,
    };
    let info = SnapshotInfo::decode(bytes(&info))?;
    let shape = Shape { size: info.size, overlap: class::overlap(bytes(&overlap))? };
    Ok((!info.may_be_gone()).then_some(shape))
}

/// Size of an image, and when it was last changed if its writers tell.
///
/// # Errors
/// `NotFound`: there is no such image.
pub async fn size_and_time<R: Rados>(
    rados: &R,
    place: &Place,
    id: &str,
    snap: u64,
) -> Result<(u64, Option<UTime>), ImageError> {
    let ops = [class::get_size(snap), class::get_modify_timestamp()];
    let [size, modified] = exec(rados, place, &object(id), ops).await?;
    let modified = class::read("get_modify_timestamp", bytes(&modified), UTime::decode)?;
    Ok((class::size(bytes(&size))?.1, Some(modified).filter(|time| time.seconds > 0)))
}

/// Snapshots made by users, oldest first, and whether each is protected.
///
/// # Errors
/// `NotFound`: there is no such image.
pub async fn snapshots<R: Rados>(
    rados: &R,
    place: &Place,
    id: &str,
) -> Result<Vec<(SnapshotInfo, bool)>, ImageError> {
    let object = object(id);
    let [context] = exec(rados, place, &object, [class::get_snapcontext()]).await?;
    let mut ids = class::snapshot_ids(bytes(&context))?;
    ids.reverse();
    let mut found = Vec::new();
    for ids in ids.chunks(SNAPSHOTS_AT_ONCE) {
        for (info, protected) in ask_about(rados, place, &object, ids).await? {
            if info.purpose == Purpose::User {
                found.push((info, protected));
            }
        }
    }
    Ok(found)
}

/// All about these snapshots. One that was removed meanwhile makes the whole request fail, so they are then asked about one by one.
async fn ask_about<R: Rados>(
    rados: &R,
    place: &Place,
    object: &str,
    ids: &[u64],
) -> Result<Vec<(SnapshotInfo, bool)>, ImageError> {
    let ask = async |ids: &[u64]| -> Result<Vec<(SnapshotInfo, bool)>, ImageError> {
        let ops =
            ids.iter().flat_map(|id| [class::snapshot_get(*id), class::get_protection_status(*id)]).collect();
        let results = checked(rados.exec(place, object, snap::HEAD, ops).await?)?;
        let pairs = results.as_chunks::<2>().0.iter();
        pairs
            .map(|[info, protected]| {
                Ok((SnapshotInfo::decode(bytes(info))?, class::is_protected(bytes(protected))?))
            })
            .collect()
    };
    match ask(ids).await {
        Err(error) if error.is_not_found() && ids.len() > 1 => {
            let mut found = Vec::new();
            for id in ids {
                match ask(std::slice::from_ref(id)).await {
                    Ok(one) => found.extend(one),
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(found)
        }
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        answer => answer,
    }
}

/// Operations on a header object, which are the live object's whatever snapshot they are about.
pub(crate) async fn exec<R: Rados, const N: usize>(
    rados: &R,
    place: &Place,
    object: &str,
    ops: [Op<R::Payload>; N],
) -> Result<[OpResult<R::Payload>; N], ImageError> {
    let results = rados.exec(place, object, snap::HEAD, ops.into()).await?;
    checked(results)?.try_into().map_err(|results: Vec<_>| {
        let problem = format!("{} results for {N} operations", results.len());
        ImageError::Rados(wasmount_ceph::encoding::DecodeError::new("reply", problem).into())
    })
}

/// The results, if none of them is an error that the request as a whole did not show.
fn checked<P>(results: Vec<OpResult<P>>) -> Result<Vec<OpResult<P>>, RadosError> {
    match results.iter().find(|result| result.result < 0) {
        Some(failed) => Err(RadosError::from_result(failed.result, "this client")),
        None => Ok(results),
    }
}
