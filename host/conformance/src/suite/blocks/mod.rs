//! The checks of block stores. Nobody but the storage system itself can play one, so they run against a real one and only read.

mod extents;
mod list;
mod open;
mod read;
mod tree;

use super::RuleFor;
use crate::bench::{MakeSource, PATIENCE, within};
use crate::report::{Outcome, Report};
use std::sync::Arc;
use wasmount_core::ports::{BlockStore, Image, ImageHandle, Provider, ProviderSource, Snapshot};
use wasmount_types::{Error, ErrorKind, Version};

type Rule = RuleFor<BlockBench>;

/// Bytes at the beginning and at the end of an image that the suite reads.
const SAMPLE: u64 = 16 << 20;

/// Images that the suite looks into.
const IMAGES: usize = 8;

/// The parts of a run.
pub(crate) struct BlockBench {
    /// Opens the plugin.
    source: MakeSource,
    /// The open store that most checks use.
    store: Arc<dyn BlockStore>,
    /// Every image, by a listing at the start.
    images: Vec<Image>,
    /// Snapshots of the first few of them, each with the name of its image.
    snapshots: Vec<(String, Snapshot)>,
}

/// Something to read: an image, or a snapshot of one.
#[derive(Clone, Debug)]
struct Subject {
    image: String,
    snapshot: Option<String>,
    size: u64,
    version: Option<Version>,
}

impl BlockBench {
    /// Opens the plugin and lists what there is.
    ///
    /// # Errors
    /// When the plugin does not open, or does not list.
    pub(crate) async fn new(source: MakeSource) -> Result<Self, Error> {
        let store =
            open_store(&*source(Vec::new())?).await.map_err(|e| e.context("the plugin does not open"))?;
        let images = list::all(&*store, 1000).await.map_err(|e| e.context("the plugin does not list"))?;
        let mut snapshots = Vec::new();
        if store.capabilities().snapshots {
            for image in images.iter().take(IMAGES) {
                let found = store.list_snapshots(within(PATIENCE), image.name.clone()).await?;
                snapshots.extend(found.into_iter().map(|snapshot| (image.name.clone(), snapshot)));
            }
        }
        Ok(Self { source, store, images, snapshots })
    }

    /// What can be read, what cannot change first.
    fn subjects(&self) -> Vec<Subject> {
        let snapshots = self.snapshots.iter().map(|(image, snapshot)| Subject {
            image: image.clone(),
            snapshot: Some(snapshot.name.clone()),
            size: snapshot.size,
            version: Some(snapshot.version.clone()),
        });
        let images = self.images.iter().take(IMAGES).map(|image| Subject {
            image: image.name.clone(),
            snapshot: None,
            size: image.size,
            version: image.version.clone(),
        });
        let mut subjects = snapshots.chain(images).filter(|subject| subject.size > 0).collect::<Vec<_>>();
        subjects.sort_by_key(|subject| subject.version.is_none());
        subjects
    }

    /// Opens what is to be read.
    async fn open(&self, subject: &Subject) -> Result<Arc<dyn ImageHandle>, Error> {
        let (image, snapshot) = (subject.image.clone(), subject.snapshot.clone());
        self.store.open_image(within(PATIENCE), image, snapshot).await
    }
}

/// Opens a source as a block store.
async fn open_store(source: &dyn ProviderSource) -> Result<Arc<dyn BlockStore>, Error> {
    match source.open(within(PATIENCE)).await? {
        (Provider::Blocks(store), _) => Ok(store),
        (Provider::Objects(_) | Provider::Files(_), _) => {
            Err(Error::new(ErrorKind::Corrupt, wasmount_types::Blame::Host, "an object store was opened"))
        }
    }
}

/// The bytes of a range that is aligned as the handle wants it, in as many reads as its limit takes.
async fn bytes(
    store: &dyn BlockStore,
    image: &dyn ImageHandle,
    offset: u64,
    length: u64,
) -> Result<Vec<u8>, Error> {
    let sector = u64::from(image.geometry().sector);
    let most = u64::from(store.capabilities().max_transfer) / sector * sector;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let at = offset + bytes.len() as u64;
        let now = u32::try_from(most.min(length - bytes.len() as u64)).unwrap_or(u32::MAX);
        let mut body = image.read(within(PATIENCE), at, now).await?;
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece?);
        }
    }
    Ok(bytes)
}

/// Runs all checks, one after the other.
pub(crate) async fn run(bench: &BlockBench) -> Report {
    let mut report = Report::default();
    for area in [open::RULES, list::RULES, read::RULES, extents::RULES, tree::RULES] {
        for rule in area {
            report.checks.push(super::timed(rule, bench).await);
        }
    }
    report
}

/// For checks that need something to read.
fn nothing() -> Outcome {
    Outcome::Skipped("the mount has no image with content; make one, and a snapshot of it".into())
}
