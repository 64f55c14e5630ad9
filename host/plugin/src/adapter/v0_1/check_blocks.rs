//! The same for block stores: what a plugin says about images.

use super::check::Checker;
use crate::bindings::v0_1::blocks::exports::wasmount::plugin::blocks as wit;
use crate::bindings::v0_1::host::wasmount::plugin::types;
use wasmount_core::ports::{Extent, ExtentKind, Geometry, Image, ImagePage, Snapshot};
use wasmount_types::{Error, Timestamp, Version};

impl Checker<'_> {
    /// A page of images, after `continuation`.
    pub(super) fn images(
        &self,
        page: wit::ImagePage,
        continuation: Option<&str>,
        limit: u32,
    ) -> Result<ImagePage, Error> {
        let (count, limit) = (page.images.len(), limit.min(self.limits.page_entries));
        if count > limit as usize {
            return Err(self.corrupt(format_args!("a page of {count} images, {limit} were asked for")));
        }
        if let Some(next) = &page.next {
            if next.len() > self.limits.continuation {
                return Err(self.corrupt(format_args!("a continuation of {} bytes", next.len())));
            }
            if continuation == Some(next) {
                return Err(self.corrupt("a page that continues with itself"));
            }
        }
        let images = page.images.into_iter().map(|image| self.image(image)).collect::<Result<_, _>>()?;
        Ok(ImagePage { images, next: page.next })
    }

    /// The image that was asked for.
    pub(super) fn image_of(&self, image: wit::Image, name: &str) -> Result<Image, Error> {
        if image.name != name {
            let other = crate::text::printable(&image.name, 200);
            return Err(self.corrupt(format_args!("asked for image {name:?}, it answered about {other:?}")));
        }
        self.image(image)
    }

    fn image(&self, image: wit::Image) -> Result<Image, Error> {
        self.name("image", &image.name)?;
        let version = image.version.map(|version| self.named_version(&image.name, version)).transpose()?;
        Ok(Image {
            size: self.size(&image.name, image.size)?,
            modified: self.time(&image.name, image.modified)?,
            version,
            name: image.name,
        })
    }

    /// The snapshots of an image.
    pub(super) fn snapshots(&self, snapshots: Vec<wit::Snapshot>) -> Result<Vec<Snapshot>, Error> {
        if snapshots.len() > self.limits.page_entries as usize {
            return Err(self.corrupt(format_args!("{} snapshots of one image", snapshots.len())));
        }
        let checked = |snapshot: wit::Snapshot| {
            self.name("snapshot", &snapshot.name)?;
            Ok(Snapshot {
                size: self.size(&snapshot.name, snapshot.size)?,
                created: self.time(&snapshot.name, snapshot.created)?,
                version: self.named_version(&snapshot.name, snapshot.version)?,
                name: snapshot.name,
            })
        };
        snapshots.into_iter().map(checked).collect()
    }

    /// The version of an image that was opened. A snapshot has one.
    pub(super) fn opened_version(
        &self,
        image: &str,
        snapshot: Option<&str>,
        version: Option<String>,
    ) -> Result<Option<Version>, Error> {
        if let (Some(snapshot), None) = (snapshot, &version) {
            return Err(self.corrupt(format_args!("snapshot {snapshot:?} of {image:?} without a version")));
        }
        version.map(|version| self.named_version(image, version)).transpose()
    }

    /// The shape of an image.
    pub(super) fn geometry(&self, image: &str, geometry: wit::Geometry) -> Result<Geometry, Error> {
        if !matches!(geometry.sector, 512 | 4096) {
            return Err(self.corrupt(format_args!("{image:?} has sectors of {} bytes", geometry.sector)));
        }
        let size = self.size(image, geometry.size)?;
        Ok(Geometry { size, sector: geometry.sector, optimal: geometry.optimal.max(geometry.sector) })
    }

    /// An extent of an image, asked for `length` bytes.
    pub(super) fn extent(
        &self,
        image: &str,
        extent: wit::Extent,
        length: u64,
        sector: u32,
    ) -> Result<Extent, Error> {
        let least = u64::from(sector).min(length);
        if extent.length < least || extent.length > length {
            let found = extent.length;
            return Err(self.corrupt(format_args!("{image:?}: an extent of {found} bytes in {length}")));
        }
        let kind = match extent.kind {
            wit::ExtentKind::Data => ExtentKind::Data,
            wit::ExtentKind::Hole => ExtentKind::Hole,
        };
        Ok(Extent { kind, length: extent.length })
    }

    fn name(&self, what: &str, name: &str) -> Result<(), Error> {
        match name.len() {
            0 => Err(self.corrupt(format_args!("an empty name of an {what}"))),
            length if length > self.limits.key => {
                Err(self.corrupt(format_args!("a name of an {what} of {length} bytes")))
            }
            _ => Ok(()),
        }
    }

    fn size(&self, name: &str, size: u64) -> Result<u64, Error> {
        match i64::try_from(size) {
            Ok(_) => Ok(size),
            Err(_) => Err(self.corrupt(format_args!("{name:?} has {size} bytes"))),
        }
    }

    fn named_version(&self, name: &str, version: String) -> Result<Version, Error> {
        if version.is_empty() || version.len() > self.limits.version {
            return Err(self.corrupt(format_args!("{name:?} has a version of {} bytes", version.len())));
        }
        Ok(Version::new(version))
    }

    fn time(&self, name: &str, time: Option<types::Timestamp>) -> Result<Option<Timestamp>, Error> {
        match time {
            Some(time) if time.nanoseconds >= 1_000_000_000 => {
                let found = time.nanoseconds;
                Err(self.corrupt(format_args!("{name:?} has a time with {found} nanoseconds")))
            }
            time => Ok(time.map(|t| Timestamp { seconds: t.seconds, nanoseconds: t.nanoseconds })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imports::LogSink;
    use crate::limits::Limits;
    use wasmount_net::Redactor;
    use wasmount_types::{Blame, ErrorKind};

    fn image(name: &str) -> wit::Image {
        wit::Image { name: name.into(), size: 1, modified: None, version: None }
    }

    fn snapshot(version: &str) -> wit::Snapshot {
        let (name, version) = ("s".to_owned(), version.to_owned());
        wit::Snapshot { name, size: 1, created: None, version, protected: false }
    }

    #[test]
    fn lies_are_corrupt() {
        let limits = Limits { page_entries: 5, ..Limits::default() };
        let log = LogSink::new("p", "m", Redactor::new(), &limits);
        let checker = Checker { limits: &limits, log: &log };
        let page = |images: Vec<wit::Image>, next: Option<&str>| {
            checker.images(wit::ImagePage { images, next: next.map(str::to_owned) }, Some("here"), 3)
        };
        assert_eq!(page(vec![image("a"), image("b")], Some("there")).unwrap().images.len(), 2);
        let time = Some(types::Timestamp { seconds: 0, nanoseconds: 1_000_000_000 });
        let long = "x".repeat(257);
        let geometry = |size, sector| {
            let geometry = wit::Geometry { size, sector, optimal: 0, discard: 0 };
            checker.geometry("a", geometry).map(drop)
        };
        let extent = |length| {
            let extent = wit::Extent { kind: wit::ExtentKind::Hole, length };
            checker.extent("a", extent, 8192, 4096).map(drop)
        };
        let pages = |images, next| page(images, next).map(drop);
        let snapshots = |given: Vec<wit::Snapshot>| checker.snapshots(given).map(drop);
        let lies = [
            (pages(vec![image("")], None), "empty name"),
            (pages(vec![image(&"x".repeat(4097))], None), "a name of an image of 4097 bytes"),
            (pages((0..4).map(|i| image(&i.to_string())).collect(), None), "a page of 4 images"),
            (pages(vec![], Some("here")), "continues with itself"),
            (pages(vec![], Some(&"x".repeat(20_000))), "a continuation of 20000 bytes"),
            (pages(vec![wit::Image { size: u64::MAX, ..image("a") }], None), "bytes"),
            (pages(vec![wit::Image { modified: time, ..image("a") }], None), "nanoseconds"),
            (pages(vec![wit::Image { version: Some(long.clone()), ..image("a") }], None), "version of 257"),
            (checker.image_of(image("b"), "a").map(drop), "it answered about \"b\""),
            (snapshots(vec![snapshot("")]), "version of 0"),
            (snapshots(vec![wit::Snapshot { name: String::new(), ..snapshot("1") }]), "empty name"),
            (snapshots(vec![snapshot("1"); 6]), "6 snapshots"),
            (checker.opened_version("a", Some("s"), None).map(drop), "without a version"),
            (geometry(1, 0), "sectors of 0 bytes"),
            (geometry(1, 513), "sectors of 513 bytes"),
            (geometry(u64::MAX, 512), "bytes"),
            (extent(0), "an extent of 0 bytes"),
            (extent(4095), "an extent of 4095 bytes"),
            (extent(8193), "an extent of 8193 bytes"),
        ];
        for (lie, expected) in lies {
            let error = lie.unwrap_err();
            assert_eq!((error.kind, error.blame), (ErrorKind::Corrupt, Blame::Plugin));
            assert!(error.message.contains(expected), "{}", error.message);
        }
        geometry(0, 512).unwrap();
        extent(4096).unwrap();
        assert_eq!(checker.opened_version("a", None, None).unwrap(), None);
    }
}
