//! Images whose bytes are computed: what a block store is made of, without a storage system behind it.
//!
//! Each eight bytes hold their own offset, mixed with the name of the image, and every fourth stretch of 256 KiB is a hole. There is
//! one image, `disk`, and its snapshot `first`, which is half as long.

use std::cell::RefCell;
use std::collections::BTreeMap;
use wasmount_sdk::*;

/// Smallest unit of reads.
const SECTOR: u32 = 512;
/// Unit of holes.
const STRETCH: u64 = 256 * 1024;
/// The image and its snapshot.
const IMAGE: &str = "disk";
const SNAPSHOT: &str = "first";

struct PatternDisk {
    size: u64,
    panic_at: u64,
    open: RefCell<Handles>,
}

/// Open images, by numbers that begin anew with each instance.
#[derive(Default)]
struct Handles {
    last: u64,
    disks: BTreeMap<u64, Disk>,
}

/// An image, or its snapshot.
#[derive(Clone, Copy)]
struct Disk {
    size: u64,
    seed: u64,
}

impl Disk {
    fn is_hole(offset: u64) -> bool {
        offset / STRETCH % 4 == 3
    }

    /// The bytes of a range that lies in one stretch.
    fn bytes(self, from: u64, to: u64) -> Vec<u8> {
        (from..to)
            .map(|at| {
                ((at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.seed).to_le_bytes()[(at % 8) as usize]
            })
            .collect()
    }
}

impl PatternDisk {
    fn disk(&self, snapshot: bool) -> Disk {
        if snapshot { Disk { size: self.size / 2, seed: 1 } } else { Disk { size: self.size, seed: 2 } }
    }

    /// An open image, and the end of a range of it.
    fn range(&self, handle: u64, offset: u64, length: u64) -> Result<(Disk, u64)> {
        let disk = self.open.borrow().disks.get(&handle).copied();
        let disk = disk.ok_or_else(|| Error::stale(format!("there is no handle {handle}")))?;
        match offset.checked_add(length) {
            Some(end) if end <= disk.size => Ok((disk, end)),
            _ => Err(Error::out_of_range(format!("{length} bytes from {offset} on of {}", disk.size))),
        }
    }
}

impl BlockStore for PatternDisk {
    fn describe() -> Description {
        let options = Options::new()
            .size("size", "Size of the image.")
            .default_value("16M")
            .size("panic-at", "A read of this byte panics, to see how a host goes on; 0: none does.")
            .default_value("0");
        Description::new("pattern-disk", env!("CARGO_PKG_VERSION"), "An image of computed bytes")
            .scheme("pattern")
            .options(options)
    }

    async fn open(mount: Mount) -> Result<(Self, Info)> {
        let (size, panic_at) = (mount.settings.size("size")?, mount.settings.size("panic-at")?);
        let operations = BlockOperations::SNAPSHOTS | BlockOperations::EXTENTS;
        let capabilities =
            BlockCapabilities { operations, max_transfer: 1 << 20, ..BlockCapabilities::read_only() };
        let info = Info::new(format!("pattern {size}"), format!("{size} computed bytes"), capabilities);
        Ok((Self { size, panic_at, open: RefCell::default() }, info))
    }

    async fn list_images(&self, _: Option<String>, _: u32) -> Result<ImagePage> {
        Ok(ImagePage { images: vec![self.get_image(IMAGE.into()).await?], next: None })
    }

    async fn get_image(&self, image: String) -> Result<Image> {
        if image != IMAGE {
            return Err(Error::not_found(format!("there is no image {image}")));
        }
        Ok(Image { name: image, size: self.size, modified: None, version: None })
    }

    async fn list_snapshots(&self, image: String) -> Result<Vec<Snapshot>> {
        self.get_image(image).await?;
        let (name, size, version) = (SNAPSHOT.into(), self.disk(true).size, format!("first {}", self.size));
        Ok(vec![Snapshot { name, size, created: None, version, protected: true }])
    }

    async fn open_image(&self, image: String, snapshot: Option<String>, _: Access) -> Result<Opened> {
        let version = match &snapshot {
            None => self.get_image(image).await?.version,
            Some(name) => {
                let found = self.list_snapshots(image).await?.into_iter().find(|s| s.name == *name);
                Some(found.ok_or_else(|| Error::not_found(format!("there is no snapshot {name}")))?.version)
            }
        };
        let handle = {
            let mut open = self.open.borrow_mut();
            open.last += 1;
            let handle = open.last;
            open.disks.insert(handle, self.disk(snapshot.is_some()));
            handle
        };
        Ok(Opened { handle, geometry: self.refresh(handle).await?, version })
    }

    async fn refresh(&self, handle: u64) -> Result<Geometry> {
        let (disk, _) = self.range(handle, 0, 0)?;
        Ok(Geometry { size: disk.size, sector: SECTOR, optimal: STRETCH as u32, discard: 0 })
    }

    async fn read(&self, handle: u64, offset: u64, length: u32) -> Result<Body> {
        let (disk, end) = self.range(handle, offset, length.into())?;
        assert!(
            self.panic_at == 0 || !(offset..end).contains(&self.panic_at),
            "a read of the byte of `panic-at`"
        );
        let (mut pieces, mut at) = (Vec::new(), offset);
        while at < end {
            let until = ((at / STRETCH + 1) * STRETCH).min(end);
            pieces.push(if Disk::is_hole(at) {
                Piece::Zeros(until - at)
            } else {
                Piece::Buffer(Buffer::create(&disk.bytes(at, until))?)
            });
            at = until;
        }
        Body::assemble(pieces)
    }

    async fn next_extent(&self, handle: u64, offset: u64, length: u64) -> Result<Extent> {
        // Also where nothing is asked about, the end is beyond the size.
        let (_, end) = self.range(handle, offset, length.max(1))?;
        let until = ((offset / STRETCH + 1) * STRETCH).min(end);
        let kind = if Disk::is_hole(offset) { ExtentKind::Hole } else { ExtentKind::Data };
        Ok(Extent { kind, length: until - offset })
    }

    async fn close_image(&self, handle: u64) -> Result<()> {
        self.open.borrow_mut().disks.remove(&handle);
        Ok(())
    }
}

export_block_store!(PatternDisk);
