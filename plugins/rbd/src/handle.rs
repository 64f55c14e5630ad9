//! An image as it was opened: by a name, which may come to mean another one.

use crate::failure::ImageError;
use crate::header;
use crate::image::Image;
use crate::rados::{Place, Rados};
use futures::future::join;
use std::rc::Rc;
use wasmount_ceph::osd::snap;
use wasmount_ceph::rados::RadosError;

/// An open image or snapshot, and the name of the image.
#[derive(Clone, Debug)]
pub struct Handle {
    name: String,
    image: Rc<Image>,
}

impl Handle {
    /// Opens an image, or the snapshot of it that has this name.
    ///
    /// # Errors
    /// `NotFound`: there is no such image or snapshot; those of [`Image::open`].
    pub async fn open<R: Rados>(
        rados: &R,
        place: &Place,
        name: &str,
        snapshot: Option<&str>,
    ) -> Result<Self, ImageError> {
        let id = header::id_of(rados, place, name).await?;
        let snap = match snapshot {
            None => snap::HEAD,
            Some(snapshot) => {
                let found = header::snapshots(rados, place, &id).await?;
                let found = found.into_iter().find(|(info, _)| info.name == snapshot);
                found.ok_or(RadosError::NotFound)?.0.id
            }
        };
        let image = Image::open(rados, place.clone(), id, snap).await?;
        Ok(Self { name: name.to_owned(), image })
    }

    /// The image.
    #[must_use]
    pub fn image(&self) -> &Rc<Image> {
        &self.image
    }

    /// Looks at the shape of the image, and at what its name means.
    ///
    /// # Errors
    /// [`ImageError::Renamed`], [`ImageError::Removed`]: it has to be opened again, if there is one; those of the requests.
    pub async fn refresh<R: Rados>(&self, rados: &R) -> Result<(), ImageError> {
        let (place, id) = (self.image.place(), self.image.id());
        let (named, looked) = join(header::id_of(rados, place, &self.name), self.image.confirm(rados)).await;
        let renamed = match &named {
            Ok(named) => named != id,
            Err(error) => error.is_not_found(),
        };
        if renamed {
            return Err(ImageError::Renamed);
        }
        named?;
        match looked {
            Err(error) if error.is_not_found() => Err(ImageError::Renamed),
            looked => looked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, Spec, place};
    use futures::executor::block_on;

    fn add(fake: &Fake, id: &str, size: u64) {
        fake.add_image(&place(1, ""), id, snap::HEAD, &Spec { size, ..Spec::default() });
    }

    #[test]
    fn a_name_that_means_another_image_is_noticed() {
        let (fake, here) = (Fake::default(), place(1, ""));
        add(&fake, "first", 4096);
        add(&fake, "second", 8192);
        fake.name(&here, "disk", Some("first"));
        let open = || block_on(Handle::open(&fake, &here, "disk", None)).unwrap();
        let handle = open();
        block_on(handle.refresh(&fake)).unwrap();
        // rbd rename disk old; then rbd rename new disk.
        fake.name(&here, "disk", None);
        assert_eq!(block_on(handle.refresh(&fake)), Err(ImageError::Renamed));
        fake.name(&here, "disk", Some("second"));
        assert_eq!(block_on(handle.refresh(&fake)), Err(ImageError::Renamed));
        assert_eq!((handle.image().size(), open().image().size()), (4096, 8192));
        // Removed, and a new one made under its name.
        fake.remove_image(&here, "second");
        let handle = Handle { image: handle.image, name: "first".into() };
        fake.name(&here, "first", Some("first"));
        block_on(handle.refresh(&fake)).unwrap();
        fake.remove_image(&here, "first");
        assert_eq!(block_on(handle.refresh(&fake)), Err(ImageError::Renamed));
    }

    #[test]
    fn a_live_image_has_its_size_of_now() {
        let (fake, here) = (Fake::default(), place(1, ""));
        add(&fake, "a", 4096);
        fake.name(&here, "disk", Some("a"));
        let handle = block_on(Handle::open(&fake, &here, "disk", None)).unwrap();
        add(&fake, "a", 8192);
        block_on(handle.refresh(&fake)).unwrap();
        assert_eq!(handle.image().size(), 8192);
    }
}
