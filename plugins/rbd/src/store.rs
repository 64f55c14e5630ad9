//! The functions of a block store, on top of one pool of a cluster.

use crate::csi::Pool;
use crate::directory::{self, Entry};
use crate::extents;
use crate::failure::{ImageError, Scene, no_pool};
use crate::handle::Handle;
use crate::header;
use crate::image::Image as OpenImage;
use crate::options::{self, Config};
use crate::rados::Place;
use crate::read;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use wasmount_ceph::rados::RadosError;
use wasmount_ceph::types::UTime;
use wasmount_ceph_guest::Client;
use wasmount_ceph_guest::objects::long_body;
use wasmount_ceph_guest::options::key::UserKey;
use wasmount_sdk::task::until_given_up;
use wasmount_sdk::{
    Access, BlockCapabilities, BlockOperations, BlockStore, Body, Description, Error, Extent, ExtentKind,
    Geometry, Image, ImagePage, Info, Mount, Opened, Piece, Result, Snapshot, Timestamp, log,
};

/// Longest wait for the cluster when a mount is opened. The host waits 30 s for the whole of it, and would not know the reason.
const CONNECT_MS: u64 = 20_000;
/// Largest read: some objects of the usual 4 MiB.
const MAX_TRANSFER: u32 = 16 << 20;
/// What offsets and lengths are multiples of.
const SECTOR: u32 = 512;
/// Images that may be open at the same time: the host opens each once.
const MOST_OPEN: usize = 4096;

/// An open pool.
#[derive(Debug)]
pub struct Rbd {
    client: Client,
    place: Place,
    scene: Scene,
    /// Only this image, and of it only this snapshot.
    only: Option<(String, Option<String>)>,
    images: RefCell<BTreeMap<u64, Handle>>,
    next_handle: Cell<u64>,
}

impl BlockStore for Rbd {
    fn describe() -> Description {
        options::description()
    }

    async fn open(mut mount: Mount) -> Result<(Self, Info)> {
        let config = Config::new(&mount)?;
        let user = UserKey::new(&config.access, &mut mount)?;
        let client = Client::connect(config.access.cluster(user.now()?), CONNECT_MS).await?;
        user.follow(&client);
        match Self::new(client.clone(), config).await {
            Ok(opened) => Ok(opened),
            Err(error) => {
                client.close();
                Err(error)
            }
        }
    }

    async fn list_images(&self, continuation: Option<String>, limit: u32) -> Result<ImagePage> {
        until_given_up(async {
            if self.only.is_some() {
                return Ok(ImagePage { images: vec![self.only_image().await?], next: None });
            }
            let page = directory::list(&self.client, &self.place, continuation.as_deref(), limit).await;
            let page = page.map_err(|error| self.scene.error("listing images", &error))?;
            Ok(ImagePage { images: page.entries.into_iter().map(live).collect(), next: page.next })
        })
        .await
    }

    async fn get_image(&self, image: String) -> Result<Image> {
        until_given_up(async {
            if self.only.is_some() {
                let only = self.only_image().await?;
                return if only.name == image { Ok(only) } else { Err(self.missing(&image)) };
            }
            directory::find(&self.client, &self.place, &image)
                .await
                .map(live)
                .map_err(|error| self.failed(&image, &error))
        })
        .await
    }

    async fn list_snapshots(&self, image: String) -> Result<Vec<Snapshot>> {
        until_given_up(async {
            match &self.only {
                Some((only, Some(_))) if *only == image => Ok(Vec::new()),
                Some((only, Some(snapshot))) if image == format!("{only}@{snapshot}") => Ok(Vec::new()),
                Some((only, _)) if *only != image => Err(self.missing(&image)),
                _ => self.snapshots(&image).await.map_err(|error| self.failed(&image, &error)),
            }
        })
        .await
    }

    async fn open_image(&self, image: String, snapshot: Option<String>, how: Access) -> Result<Opened> {
        if !matches!(how, Access::Read) {
            return Err(Error::new(wasmount_sdk::ErrorKind::ReadOnly, "this plugin only reads images"));
        }
        until_given_up(async {
            let (name, snapshot) = match &self.only {
                // The one that is shown under the name of the snapshot.
                Some((only, Some(of))) if snapshot.is_none() && image == format!("{only}@{of}") => {
                    (only.clone(), Some(of.clone()))
                }
                Some((only, of)) if *only != image || of.is_some() => return Err(self.missing(&image)),
                _ => (image.clone(), snapshot),
            };
            let opened = Handle::open(&self.client, &self.place, &name, snapshot.as_deref()).await;
            let opened = opened.map_err(|error| match &snapshot {
                Some(snapshot) => self.failed(&format!("{name}@{snapshot}"), &error),
                None => self.failed(&name, &error),
            })?;
            self.keep(opened)
        })
        .await
    }

    async fn refresh(&self, handle: u64) -> Result<Geometry> {
        let opened = self.handle(handle)?;
        until_given_up(async {
            let looked = opened.refresh(&self.client).await;
            looked.map_err(|error| self.scene.error("looking at the image again", &error))?;
            Ok(geometry(opened.image()))
        })
        .await
    }

    async fn read(&self, handle: u64, offset: u64, length: u32) -> Result<Body> {
        let opened = self.handle(handle)?;
        until_given_up(self.bytes(opened.image(), offset, length.into())).await
    }

    async fn next_extent(&self, handle: u64, offset: u64, length: u64) -> Result<Extent> {
        let opened = self.handle(handle)?;
        until_given_up(async {
            let found = extents::next(&self.client, opened.image(), offset, length).await;
            let found = found.map_err(|error| self.scene.error("looking for holes", &error))?;
            let kind = if found.hole { ExtentKind::Hole } else { ExtentKind::Data };
            Ok(Extent { kind, length: found.length })
        })
        .await
    }

    async fn close_image(&self, handle: u64) -> Result<()> {
        self.images.borrow_mut().remove(&handle);
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.images.borrow_mut().clear();
        self.client.close();
        Ok(())
    }
}

impl Rbd {
    /// Finds the pool, and proves that the user may read what was named.
    async fn new(client: Client, config: Config) -> Result<(Self, Info)> {
        let (fsid, pool, pool_name) = client.with_map(|map| {
            let found = match &config.target.pool {
                Pool::Name(name) => map.pool_by_name(name).map(|(id, _)| (id, name.clone())),
                Pool::Id(id) => map.pool(*id).map(|pool| (*id, pool.name.clone())),
            };
            let (id, name) = found.ok_or_else(|| {
                let wanted = match &config.target.pool {
                    Pool::Name(name) => name.clone(),
                    Pool::Id(id) => format!("with id {id}"),
                };
                let known: Vec<&str> = map.pools().map(|(_, pool)| pool.name.as_str()).collect();
                no_pool(&wanted, &known)
            })?;
            Ok::<_, Error>((map.fsid, id, name))
        })??;
        let namespace = config.target.namespace.clone();
        let scene = Scene { pool: pool_name, namespace: namespace.clone(), user: config.access.user.clone() };
        let store = Self {
            client,
            place: Place { pool, namespace },
            scene,
            only: config.target.only.clone(),
            images: RefCell::default(),
            next_handle: Cell::new(1),
        };
        store.check().await?;
        let shown = match &store.only {
            None => String::new(),
            Some((image, None)) => format!("/{image}"),
            Some((image, Some(snapshot))) => format!("/{image}@{snapshot}"),
        };
        let spec = format!("{}{shown}", store.scene.spec());
        let capabilities = BlockCapabilities {
            operations: BlockOperations::SNAPSHOTS | BlockOperations::EXTENTS,
            max_transfer: MAX_TRANSFER,
            ..BlockCapabilities::read_only()
        };
        let identity = format!("rbd {fsid} {pool}/{}{shown}", store.place.namespace);
        let info = Info::new(identity, format!("{spec} in Ceph cluster {fsid}"), capabilities);
        let info = config.access.warnings.iter().fold(info, |info, sentence| info.warning(sentence));
        log::debug(&format!("{spec}: open"));
        Ok((store, info))
    }

    /// The one image that is shown.
    async fn only_image(&self) -> Result<Image> {
        let Some((name, snapshot)) = &self.only else { return Err(self.missing("")) };
        let failed = |error: ImageError| match error {
            error if error.is_not_found() => Error::not_found(format!(
                "there is no image {name} in pool {}: correct mountPoint or option image (`rbd ls` lists them)",
                self.scene.spec()
            )),
            error => self.failed(name, &error),
        };
        let Some(snapshot) = snapshot else {
            return directory::find(&self.client, &self.place, name).await.map(live).map_err(failed);
        };
        let found = self.snapshots(name).await.map_err(failed)?;
        let found = found.into_iter().find(|one| one.name == *snapshot);
        let found = found.ok_or_else(|| self.no_snapshot(name, snapshot))?;
        Ok(Image {
            name: format!("{name}@{snapshot}"),
            size: found.size,
            modified: found.created,
            version: Some(found.version),
        })
    }

    async fn snapshots(&self, image: &str) -> Result<Vec<Snapshot>, ImageError> {
        let id = header::id_of(&self.client, &self.place, image).await?;
        let found = header::snapshots(&self.client, &self.place, &id).await?;
        let snapshot = |(info, protected): (crate::class::SnapshotInfo, bool)| Snapshot {
            version: version(&id, info.id),
            name: info.name,
            size: info.size,
            created: Some(timestamp(info.created)).filter(|time| time.seconds > 0),
            protected,
        };
        Ok(found.into_iter().map(snapshot).collect())
    }

    /// The bytes of a range as they come from the OSDs; where they are in so many small objects that there are several windows, those
    /// of each are put together in the host before the next ones are asked for.
    async fn bytes(&self, image: &OpenImage, offset: u64, length: u64) -> Result<Body> {
        let mut windows = read::windows(image, offset, length).peekable();
        let mut pieces = Vec::new();
        while let Some((offset, length)) = windows.next() {
            let parts = read::read(&self.client, image, offset, length).await;
            let body = long_body(parts.map_err(|error| self.scene.error("reading", &error))?).await?;
            if pieces.is_empty() && windows.peek().is_none() {
                return Ok(body);
            }
            pieces.push(Piece::Buffer(body.collect(MAX_TRANSFER).await?));
        }
        Body::assemble(pieces)
    }

    /// Gives an open image a handle.
    fn keep(&self, opened: Handle) -> Result<Opened> {
        let mut images = self.images.borrow_mut();
        if images.len() >= MOST_OPEN {
            return Err(Error::new(
                wasmount_sdk::ErrorKind::Busy,
                format!("more than {MOST_OPEN} images are open: close some"),
            ));
        }
        let handle = self.next_handle.get();
        self.next_handle.set(handle.wrapping_add(1));
        let image = opened.image();
        let (geometry, version) = (geometry(image), image.version());
        images.insert(handle, opened);
        Ok(Opened { handle, geometry, version })
    }

    fn handle(&self, handle: u64) -> Result<Handle> {
        let opened = self.images.borrow().get(&handle).cloned();
        opened.ok_or_else(|| Error::stale(format!("handle {handle} is not open")))
    }

    fn missing(&self, image: &str) -> Error {
        self.failed(image, &RadosError::NotFound.into())
    }

    fn no_snapshot(&self, image: &str, snapshot: &str) -> Error {
        Error::not_found(format!(
            "image {image} in pool {} has no snapshot {snapshot}: correct mountPoint or option image (`rbd snap ls` lists them)",
            self.scene.spec()
        ))
    }

    fn failed(&self, image: &str, error: &ImageError) -> Error {
        self.scene.error(&format!("image {image}"), error)
    }
}

/// As [`OpenImage::version`].
fn version(id: &str, snap: u64) -> String {
    format!("{id}:{snap}")
}

fn live(entry: Entry) -> Image {
    Image { name: entry.name, size: entry.size, modified: entry.modified.map(timestamp), version: None }
}

fn timestamp(time: UTime) -> Timestamp {
    Timestamp { seconds: time.seconds.into(), nanoseconds: time.nanoseconds.min(999_999_999) }
}

fn geometry(image: &OpenImage) -> Geometry {
    let optimal = u32::try_from(image.layout().optimal().min(MAX_TRANSFER.into())).unwrap_or(MAX_TRANSFER);
    Geometry { size: image.size(), sector: SECTOR, optimal: optimal.max(SECTOR), discard: 0 }
}
