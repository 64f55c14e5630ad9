//! The images of a pool.

use crate::class;
use crate::failure::ImageError;
use crate::header;
use crate::rados::{Place, Rados, bytes};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use wasmount_ceph::encoding::Decoder;
use wasmount_ceph::osd::snap;
use wasmount_ceph::rados::RadosError;
use wasmount_ceph::types::UTime;

/// The object with the names of all images of a namespace.
const DIRECTORY: &str = "rbd_directory";
/// Images whose headers are asked at the same time.
const AT_ONCE: usize = 32;
/// Most images in a page.
const MOST: u32 = 1024;

/// An image in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its size.
    pub size: u64,
    /// When it was last changed, as far as its writers tell.
    pub modified: Option<UTime>,
}

/// Images of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In order of their names.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<String>,
}

/// A page of the images after the one of this name, at most `limit` of them.
///
/// # Errors
/// The requests failed.
pub async fn list<R: Rados>(
    rados: &R,
    place: &Place,
    start_after: Option<&str>,
    limit: u32,
) -> Result<Page, ImageError> {
    let limit = limit.clamp(1, MOST);
    let found = names(rados, place, start_after.unwrap_or(""), limit).await?;
    // Less than a page may be all that the OSD gives at a time, so only an empty one is surely the last.
    let next = found.last().map(|(name, _)| name.clone()).filter(|_| found.len() >= limit as usize);
    let entries = stream::iter(found)
        .map(|(name, id)| async move { entry(rados, place, name, &id).await })
        .buffered(AT_ONCE)
        .try_filter_map(async |entry| Ok(entry))
        .try_collect()
        .await?;
    Ok(Page { entries, next })
}

/// Names of images and their ids.
async fn names<R: Rados>(
    rados: &R,
    place: &Place,
    start_after: &str,
    limit: u32,
) -> Result<Vec<(String, String)>, ImageError> {
    let ask = header::exec(rados, place, DIRECTORY, [class::dir_list(start_after, limit.into())]);
    match ask.await {
        Ok([output]) => Ok(class::read("dir_list", bytes(&output), |decoder| {
            decoder.pairs(Decoder::string, Decoder::string)
        })?),
        // A pool in which no image has ever been has no directory.
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// About one image; `None` if it was removed meanwhile, or is being made or removed.
async fn entry<R: Rados>(
    rados: &R,
    place: &Place,
    name: String,
    id: &str,
) -> Result<Option<Entry>, ImageError> {
    match header::size_and_time(rados, place, id, snap::HEAD).await {
        Ok((size, modified)) => Ok(Some(Entry { name, size, modified })),
        Err(ImageError::Rados(RadosError::NotFound)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// About one image by its name.
///
/// # Errors
/// `NotFound`: there is none.
pub async fn find<R: Rados>(rados: &R, place: &Place, name: &str) -> Result<Entry, ImageError> {
    let id = header::id_of(rados, place, name).await?;
    let (size, modified) = header::size_and_time(rados, place, &id, snap::HEAD).await?;
    Ok(Entry { name: name.to_owned(), size, modified })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Purpose;
    use crate::fake::{Fake, place};
    use crate::features::Features;
    use crate::header::Header;
    use futures::executor::block_on;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_recorded_pool_has_three_images() {
        let (fake, rbd) = (Fake::recorded(), place(4, ""));
        let page = block_on(list(&fake, &rbd, None, 1024)).unwrap();
        let seen: Vec<_> = page.entries.iter().map(|entry| (entry.name.as_str(), entry.size)).collect();
        assert_eq!(seen, [("child", 128 * MIB), ("ext4img", 128 * MIB), ("plain", 128 * MIB)]);
        assert_eq!(page.entries[0].modified.unwrap().seconds, 0x6b00_cb25);
        assert_eq!(page.next, None);
        assert_eq!(block_on(find(&fake, &rbd, "child")).unwrap(), page.entries[0]);
        assert!(block_on(find(&fake, &rbd, "nothing")).unwrap_err().is_not_found());
    }

    #[test]
    fn a_pool_without_images_is_empty() {
        assert_eq!(block_on(list(&Fake::default(), &place(4, ""), None, 10)).unwrap(), Page::default());
    }

    #[test]
    fn the_recorded_headers_are_understood() {
        let (fake, rbd) = (Fake::recorded(), place(4, ""));
        let load = |id: &str| block_on(Header::load(&fake, &rbd, id, snap::HEAD)).unwrap();
        let child = load(&block_on(header::id_of(&fake, &rbd, "child")).unwrap());
        let parent = child.parent.unwrap();
        assert_eq!(
            (parent.pool, &*parent.image, parent.snap, child.overlap),
            (4, "105ea15aff12", 4, 128 * MIB)
        );
        assert_eq!((child.size, child.layout.object_size()), (128 * MIB, 4 * MIB));
        assert_eq!((child.prefix.as_str(), child.data_pool), ("rbd_data.106450450cfe", None));
        let full = load("105c568b4dda");
        assert_eq!((full.features, full.parent), (Features(0x3d), None));
        let snapshots = block_on(header::snapshots(&fake, &rbd, "105ea15aff12")).unwrap();
        let [(base, protected)] = snapshots.as_slice() else { panic!("{snapshots:?}") };
        assert_eq!((base.name.as_str(), base.purpose, *protected), ("base", Purpose::User, true));
    }
}
