//! Block stores through a plugin: the SDK's example, whose bytes are computed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;
use std::time::Duration;
use support::{wasm, within};
use wasmount_core::ports::{BlockStore, Body, ExtentKind, ImageHandle, Provider, ProviderSource};
use wasmount_net::{HttpClient, ReachPolicy, TlsSettings};
use wasmount_plugin::{Kind, MountSpec, OptionInput, OptionSource, PluginHost, PluginHostConfig};
use wasmount_types::{Error, ErrorKind, MountId};

const KIB: u64 = 1024;
/// What the example makes holes in: every fourth of these is one.
const STRETCH: u64 = 256 * KIB;

/// A mount of the example with these options.
async fn open(options: &[(&str, &str)]) -> Arc<dyn BlockStore> {
    let host = PluginHost::new(PluginHostConfig::default()).unwrap();
    let plugin = host.load(&wasm("pattern_disk")).unwrap();
    assert_eq!(plugin.kind(), Kind::Blocks);
    let input = |(name, value): &(&str, &str)| OptionInput {
        name: (*name).into(),
        value: (*value).into(),
        source: OptionSource::Mount,
    };
    let spec = MountSpec {
        id: MountId::new("test"),
        mount_point: "pattern://x".into(),
        entry: serde_json::json!({"mountPoint": "pattern://x"}),
        options: options.iter().map(input).collect(),
        persistent_volume: None,
        read_only: true,
        strict_options: true,
        cache_namespace: None,
        secrets_dir: "/nonexistent".into(),
        tls: TlsSettings::default(),
        trust: Vec::new(),
        request_timeout: Duration::from_secs(30),
    };
    let http = HttpClient::new(tokio::runtime::Handle::current());
    let mount = host.mount(plugin, spec, http, ReachPolicy::new(vec![]));
    match mount.open(within(20)).await.unwrap() {
        (Provider::Blocks(store), _) => store,
        (Provider::Objects(_) | Provider::Files(_), _) => panic!("not a block store"),
    }
}

async fn disk(store: &Arc<dyn BlockStore>) -> Arc<dyn ImageHandle> {
    store.open_image(within(10), "disk".into(), None).await.unwrap()
}

async fn read(image: &Arc<dyn ImageHandle>, offset: u64, length: u32) -> Result<Vec<u8>, Error> {
    let mut body: Box<dyn Body> = image.read(within(10), offset, length).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

/// The bytes that the example computes for its image.
fn expected(from: u64, to: u64) -> Vec<u8> {
    let byte = |at: u64| ((at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 2).to_le_bytes()[(at % 8) as usize];
    (from..to).map(|at| if at / STRETCH % 4 == 3 { 0 } else { byte(at) }).collect()
}

#[tokio::test]
async fn images_are_listed_opened_and_read() {
    let store = open(&[("size", "5000001")]).await;
    let page = store.list_images(within(10), None, 10).await.unwrap();
    assert_eq!((page.images.len(), page.images[0].size, page.next), (1, 5_000_001, None));
    assert_eq!(store.get_image(within(10), "disk".into()).await.unwrap(), page.images[0]);
    let snapshots = store.list_snapshots(within(10), "disk".into()).await.unwrap();
    assert_eq!((snapshots[0].name.as_str(), snapshots[0].size), ("first", 2_500_000));
    let image = disk(&store).await;
    assert_eq!((image.geometry().size, image.version()), (5_000_001, None));
    for (offset, length) in [(0, 512), (STRETCH - 512, 1024), (3 * STRETCH - 4096, 1 << 20), (4_999_680, 321)]
    {
        let bytes = read(&image, offset, length).await.unwrap();
        assert!(bytes == expected(offset, offset + u64::from(length)), "{length} from {offset}");
    }
    let snapshot = store.open_image(within(10), "disk".into(), Some("first".into())).await.unwrap();
    assert_eq!(snapshot.version(), Some(&snapshots[0].version));
    assert_ne!(read(&snapshot, 0, 512).await.unwrap(), read(&image, 0, 512).await.unwrap());
}

#[tokio::test]
async fn what_is_not_there_and_what_makes_no_sense_is_an_error() {
    let store = open(&[]).await;
    let missing = |image: &str, snapshot: Option<&str>| {
        store.open_image(within(10), image.to_owned(), snapshot.map(str::to_owned))
    };
    for (image, snapshot) in
        [("other", None), ("disk", Some("other")), ("", None), (&*"x".repeat(5000), None)]
    {
        assert_eq!(missing(image, snapshot).await.err().unwrap().kind, ErrorKind::NotFound);
    }
    let image = disk(&store).await;
    for (offset, length, kind) in [
        (16 << 20, 512, ErrorKind::OutOfRange),
        ((16 << 20) - 512, 1024, ErrorKind::OutOfRange),
        (1, 512, ErrorKind::Invalid),
        (0, 0, ErrorKind::Invalid),
        (0, (1 << 20) + 512, ErrorKind::Invalid),
    ] {
        assert_eq!(read(&image, offset, length).await.unwrap_err().kind, kind, "{length} from {offset}");
    }
}

#[tokio::test]
async fn holes_are_told() {
    let store = open(&[]).await;
    let image = disk(&store).await;
    let extent = async |at: u64| image.next_extent(within(10), at, (16 << 20) - at).await.unwrap();
    assert_eq!(extent(0).await.kind, ExtentKind::Data);
    let hole = extent(3 * STRETCH + 512).await;
    assert_eq!((hole.kind, hole.length), (ExtentKind::Hole, STRETCH - 512));
    let beyond = image.next_extent(within(10), 16 << 20, 512).await;
    assert_eq!(beyond.unwrap_err().kind, ErrorKind::OutOfRange);
}

#[tokio::test]
async fn a_handle_dies_with_its_instance_and_never_means_another_image() {
    let at = 4 << 20;
    let store = open(&[("panic-at", "4194304")]).await;
    let (first, second) = (disk(&store).await, disk(&store).await);
    assert!(read(&first, 0, 512).await.unwrap() == expected(0, 512));
    // The call that kills the instance says that the handle is gone: opening again is worth a try.
    assert_eq!(read(&first, at, 512).await.unwrap_err().kind, ErrorKind::Stale);
    // In the next instance the numbers begin anew.
    let snapshot = store.open_image(within(10), "disk".into(), Some("first".into())).await.unwrap();
    for old in [&first, &second] {
        assert_eq!(read(old, 0, 512).await.unwrap_err().kind, ErrorKind::Stale);
        assert_eq!(old.refresh(within(10)).await.unwrap_err().kind, ErrorKind::Stale);
    }
    drop((first, second));
    assert!(read(&snapshot, 0, 512).await.is_ok(), "closing old handles closes no new one");
    assert!(read(&disk(&store).await, 512, 512).await.unwrap() == expected(512, 1024));
}

#[tokio::test]
async fn many_reads_interleave_in_one_instance() {
    let store = open(&[]).await;
    let image = disk(&store).await;
    let reads = (0..64_u64).map(|index| {
        let image = &image;
        async move {
            let offset = index * STRETCH;
            (offset, read(image, offset, 8192).await.unwrap())
        }
    });
    for (offset, bytes) in futures::future::join_all(reads).await {
        assert!(bytes == expected(offset, offset + 8192), "{offset}");
    }
}
