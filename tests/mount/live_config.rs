//! The configuration changes under a live mount, as kubelet does it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wasmount_tests::bounded::{SOON, names, read, wait_for};
use wasmount_tests::live::{
    Cluster, Reader, SEEN, STALE, bucket, config_of, in_force, soon_gone, soon_in_force, soon_reads,
    soon_stale,
};
use wasmount_tests::minio::Minio;
use wasmount_tests::paths::fixture;
use wasmount_tests::prng::Prng;

/// A configuration that real Fluid wrote, with the addresses of this test. Fluid's example names no secret key for the second bucket.
fn fixture_of(name: &str, own: &Minio, other: &Minio) -> Result<String> {
    let text = std::fs::read_to_string(fixture(&format!("fluid/dynamic/{name}.config.json")))?;
    let mut config: Value = serde_json::from_str(&text)?;
    config["targetPath"] = json!("TARGET");
    for mount in config["mounts"].as_array_mut().context("mounts")? {
        let options = &mut mount["options"];
        let url = options["minio-url"].as_str().unwrap_or_default();
        options["minio-url"] = json!(if url.contains("other") { other.endpoint() } else { own.endpoint() });
        options["minio-access-secret"] = json!("/etc/fluid/secrets/minio-secret/minio-access-secret");
    }
    let end = if text.ends_with('\n') { "\n" } else { "" };
    Ok(format!("{config}{end}"))
}

#[test]
fn what_fluid_does_to_a_dataset_is_followed_and_disturbs_nobody_else() -> Result<()> {
    let (own, other) = (Minio::start()?, Minio::start()?);
    let big = Prng::new(7).bytes(24 << 20);
    own.client()?.make_bucket("my-first-bucket")?;
    own.client()?.put("my-first-bucket", "testfile", b"of the first bucket")?;
    own.client()?.put("my-first-bucket", "big", &big)?;
    own.client()?.make_bucket("second")?;
    own.client()?.put("second", "where", b"own")?;
    other.client()?.make_bucket("second")?;
    other.client()?.put("second", "where", b"other")?;
    other.client()?.put("second", "big", &big)?;
    let step = |name| fixture_of(name, &own, &other);

    let first = step("1-before")?;
    assert!(first.ends_with('\n'), "Helm's text");
    let cluster = Cluster::new(&first)?;
    cluster.files.write_secret("minio-secret", "minio-access-key", "minioadmin")?;
    cluster.files.write_secret("minio-secret", "minio-access-secret", "minioadmin")?;
    let mount = cluster.launch()?.start()?;
    wait_for("the first bucket", SOON, || names(mount.target()).ok()?.ok().filter(|names| names.len() == 2))?;
    let reader = Reader::start(File::open(mount.path("big"))?, big.clone());

    // Fluid writes the same without Helm's newline within seconds, and kubelet may exchange the volume without any change.
    for _ in 0..3 {
        cluster.publish(first.trim_end())?;
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(in_force(&mount)?, (1, None));
    for nothing in ["a new configuration is in force", "plugin was closed", "opened again"] {
        assert!(
            mount.log().lines_with(&[nothing]).is_empty(),
            "duplicate events do nothing\n{}",
            mount.log().text()
        );
    }

    // Its secret is new, and no volume of the pod: the mount is there, says what is wrong, and waits.
    cluster.publish(&step("2-after-add")?)?;
    wait_for("its directory", SEEN, || {
        names(mount.target()).ok()?.ok().filter(|names| *names == ["big", "sec", "testfile"])
    })?;
    soon_in_force(&mount, 2)?;
    assert!(names(mount.path("sec"))?.is_err());
    mount.log().wait_for(&["mount failed", "brand-new-secret"], SOON)?;
    assert_eq!(read(mount.path("testfile"))??, b"of the first bucket");
    // It comes, and nobody has to say so.
    cluster.files.write_secret("brand-new-secret", "k", "minioadmin")?;
    wait_for("the mount heals", Duration::from_secs(5), || read(mount.path("sec/where")).ok()?.ok())?;
    let open = File::open(mount.path("sec/where"))?;
    assert_eq!(open.read_at(&mut [0; 3], 0)?, 3);

    cluster.publish(&step("3-option-changed")?)?;
    soon_reads(mount.path("sec/where"), b"other")?;
    soon_stale(&open)?;
    soon_in_force(&mount, 3)?;
    reader.was_not_disturbed()?;

    let (left, open) = (mount.path("testfile"), File::open(mount.path("testfile"))?);
    let reader = Reader::start(File::open(mount.path("sec/big"))?, big.clone());
    cluster.publish(&step("4-first-removed")?)?;
    soon_gone(&left)?;
    soon_stale(&open)?;
    assert_eq!(names(mount.target())??, ["sec"]);
    soon_in_force(&mount, 4)?;

    cluster.publish(&step("5-after-runtime-options-same-controller")?)?;
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(in_force(&mount)?, (4, None), "nothing has changed");
    cluster.publish(&step("7-accessmodes-changed")?)?;
    soon_in_force(&mount, 5)?;
    mount.log().wait_for(&["ask for writing", "second"], SOON)?;
    reader.was_not_disturbed()?;

    // Fluid's example has an option that means nothing to this plugin: who reads is not disturbed.
    let reader = Reader::start(File::open(mount.path("sec/big"))?, big);
    cluster.publish(&step("8-runtime-options-after-controller-restart")?)?;
    soon_in_force(&mount, 6)?;
    reader.was_not_disturbed()?;
    assert!(mount.log().lines_with(&["plugin died"]).is_empty(), "{}", mount.log().text());
    Ok(())
}

#[test]
fn a_configuration_that_makes_no_sense_changes_nothing_and_is_named_once() -> Result<()> {
    let minio = Minio::start()?;
    minio.client()?.make_bucket("bucket-a")?;
    minio.client()?.put("bucket-a", "f", b"content")?;
    let one = bucket(&minio, "one", "a", None);
    let good = config_of(&[one.clone(), bucket(&minio, "two", "a", None)]);
    let cluster = Cluster::new(&good)?;
    let mount = cluster.launch()?.start()?;
    let open = File::open(mount.path("one/f"))?;

    let typed = json!({"name": "two", "mountPoint": "s3://bucket-a", "options": {"region": ["eu"]}});
    let broken = [
        (good[..good.len() / 2].to_owned(), vec!["not JSON", "line 1"]),
        (config_of(&[one.clone(), typed]), vec!["mounts[1].options.region", "found a list"]),
        (json!({"mounts": {}, "targetPath": "TARGET"}).to_string(), vec!["mounts: expected a list"]),
        (config_of(&[one.clone(), bucket(&minio, "two", "a", Some("/one"))]), vec!["/one", "`path`"]),
    ];
    for (text, named) in broken {
        let before = mount.log().lines_with(&["not put in force"]).len();
        cluster.publish(&text)?;
        let parts: Vec<_> = named.iter().copied().chain(["not put in force", "config.json"]).collect();
        mount.log().wait_for(&parts, SEEN)?;
        cluster.publish(&text)?;
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(
            mount.log().lines_with(&["not put in force"]).len(),
            before + 1,
            "once\n{}",
            mount.log().text()
        );
        let (generation, refused) = in_force(&mount)?;
        assert_eq!(generation, 1);
        assert!(refused.is_some_and(|why| named.iter().all(|part| why.contains(part))), "{named:?}");
        for path in ["one/f", "two/f"] {
            assert_eq!(read(mount.path(path))??, b"content");
        }
        assert_eq!(open.read_at(&mut [0; 7], 0)?, 7);
    }

    cluster.publish(&good)?;
    wait_for("the complaint is over", SEEN, || in_force(&mount).ok().filter(|now| *now == (1, None)))?;
    cluster.publish(&config_of(std::slice::from_ref(&one)))?;
    soon_gone(&mount.path("two"))?;
    soon_in_force(&mount, 2)?;
    assert_eq!(read(mount.path("one/f"))??, b"content", "the last one stays where it is");

    let elsewhere = json!({"mounts": [one], "targetPath": "/elsewhere"}).to_string();
    cluster.publish(&elsewhere)?;
    mount.log().wait_for(&["targetPath has changed", "/elsewhere", "until the next start"], SEEN)?;
    assert_eq!(read(mount.path("one/f"))??, b"content");
    Ok(())
}

#[test]
fn a_mount_that_is_taken_away_ends_in_order() -> Result<()> {
    let minio = Minio::start()?;
    for name in ["a", "b"] {
        minio.client()?.make_bucket(&format!("bucket-{name}"))?;
        minio.client()?.put(&format!("bucket-{name}"), "dir/f", name.as_bytes())?;
    }
    let (a, b) = (bucket(&minio, "a", "a", Some("/deep/a")), bucket(&minio, "b", "b", Some("/deep/b")));
    let cluster = Cluster::new(&config_of(&[a, b.clone()]))?;
    let mount = cluster.launch()?.arg("--log-level").arg("info,plugin=debug").start()?;
    let (file, directory) = (File::open(mount.path("deep/a/dir/f"))?, File::open(mount.path("deep/a/dir"))?);
    let pages = |file: &File| file.read_at(&mut [0; 1], 0);
    assert_eq!(pages(&file)?, 1);

    cluster.publish(&config_of(std::slice::from_ref(&b)))?;
    soon_gone(&mount.path("deep/a"))?;
    soon_stale(&file)?;
    assert_eq!(names(mount.path("deep"))??, ["b"]);
    let inside = rustix::fs::openat(&directory, "f", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
    assert_eq!(inside.err(), Some(rustix::io::Errno::STALE), "a directory that somebody is in");
    // While both are still open.
    mount.log().wait_for(&["plugin was closed"], SOON)?;
    assert!(mount.log().lines_with(&["plugin died"]).is_empty());
    assert_eq!(read(mount.path("deep/b/dir/f"))??, b"b");
    drop((file, directory));

    // Nobody is left, and one comes.
    cluster.publish(&config_of(&[]))?;
    soon_gone(&mount.path("deep"))?;
    assert_eq!(names(mount.target())??, [""; 0]);
    cluster.publish(&config_of(&[b]))?;
    soon_reads(mount.path("deep/b/dir/f"), b"b")?;
    Ok(())
}

/// What should be seen.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    /// Place and bucket by name.
    mounts: BTreeMap<String, (String, usize)>,
}

impl Model {
    /// Another set: some stay, some go, some come, some change.
    fn next(&self, random: &mut Prng, buckets: usize) -> Self {
        let mut next = Self::default();
        for name in ["a", "b", "c", "d", "e", "f"] {
            let before = self.mounts.get(name);
            let mount = match (random.below(8), before) {
                (0..5, before) => before.cloned(),
                (5, _) => None,
                _ => {
                    let places = [format!("/{name}"), format!("/deep/{name}"), format!("/x/y/{name}")];
                    let place = random.pick(&places).cloned().unwrap_or_default();
                    Some((place, random.below(buckets)))
                }
            };
            next.mounts.extend(mount.map(|mount| (name.to_owned(), mount)));
        }
        next
    }

    fn config(&self, minio: &Minio, random: &mut Prng) -> String {
        let mut mounts: Vec<_> = self
            .mounts
            .iter()
            .map(|(name, (place, number))| bucket(minio, name, &number.to_string(), Some(place)))
            .collect();
        for index in (1..mounts.len()).rev() {
            mounts.swap(index, random.below(index + 1));
        }
        config_of(&mounts)
    }

    /// The first thing that is not as it should be.
    fn fault(&self, target: &Path) -> Option<String> {
        let mut expected = BTreeMap::<String, Vec<String>>::from([(String::new(), Vec::new())]);
        for (place, number) in self.mounts.values() {
            let path = format!("{}/id", target.join(place.trim_start_matches('/')).display());
            match read(&path) {
                Ok(Ok(text)) if text == number.to_string().into_bytes() => {}
                other => return Some(format!("{path}: {other:?}, not {number}")),
            }
            let mut at = String::new();
            for part in place.split('/').filter(|part| !part.is_empty()) {
                let names = expected.entry(at.clone()).or_default();
                if !names.contains(&part.to_owned()) {
                    names.push(part.to_owned());
                }
                at = format!("{at}/{part}");
            }
        }
        expected.into_iter().find_map(|(directory, mut wanted)| {
            wanted.sort();
            let found = names(target.join(directory.trim_start_matches('/'))).ok()?;
            (found.as_ref().ok() != Some(&wanted)).then(|| format!("{directory}: {found:?}, not {wanted:?}"))
        })
    }
}

#[test]
fn random_configurations_are_what_is_seen() -> Result<()> {
    const BUCKETS: usize = 3;
    const STEPS: usize = 30;
    let seed = Prng::seed_from_env(20_261_121);
    eprintln!("WASMOUNT_SEED={seed}");
    let mut random = Prng::new(seed);
    let minio = Minio::start()?;
    for number in 0..BUCKETS {
        minio.client()?.make_bucket(&format!("bucket-{number}"))?;
        minio.client()?.put(&format!("bucket-{number}"), "id", number.to_string().as_bytes())?;
    }
    // Two at the start, so that each has a directory.
    let mut model = Model::default();
    for name in ["a", "b"] {
        model.mounts.insert(name.to_owned(), (format!("/{name}"), 0));
    }
    let cluster = Cluster::new(&model.config(&minio, &mut random))?;
    let mount = cluster.launch()?.start()?;
    let mut open = BTreeMap::<String, File>::new();
    for step in 0..STEPS {
        let before = model.clone();
        if random.below(5) == 0 {
            let text = model.next(&mut random, BUCKETS).config(&minio, &mut random);
            cluster.publish(text.get(..random.below(text.len())).unwrap_or("{"))?;
            std::thread::sleep(Duration::from_millis(random.below(200) as u64));
        }
        model = model.next(&mut random, BUCKETS);
        cluster.publish(&model.config(&minio, &mut random))?;
        // Sometimes another one follows at once.
        if random.below(4) == 0 {
            model = model.next(&mut random, BUCKETS);
            cluster.publish(&model.config(&minio, &mut random))?;
        }
        let mut last = None;
        wait_for("what is configured", 2 * SEEN, || {
            last = model.fault(mount.target());
            last.is_none().then_some(())
        })
        .with_context(|| format!("step {step} of seed {seed}: {last:?}"))?;
        // Between two configurations it may have been another one for a moment: then the file is stale, and not wrong.
        for (name, file) in std::mem::take(&mut open) {
            let mut id = [0; 1];
            let (was, is) = (before.mounts.get(&name), model.mounts.get(&name));
            match file.read_at(&mut id, 0) {
                Ok(1) if was == is => assert_eq!(Some(id[0]), is.map(|(_, number)| b'0' + *number as u8)),
                Ok(_) => soon_stale(&file).with_context(|| format!("step {step} of seed {seed}: {name}"))?,
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(STALE), "step {step} of seed {seed}: {name}")
                }
            }
            if was == is {
                open.insert(name, file);
            }
        }
        open.retain(|_, file| file.read_at(&mut [0], 0).is_ok());
        for (name, (place, _)) in &model.mounts {
            if !open.contains_key(name) {
                let path = mount.path(place.trim_start_matches('/')).join("id");
                open.insert(name.clone(), File::open(&path).with_context(|| format!("step {step}"))?);
            }
        }
    }
    assert!(mount.log().lines_with(&["plugin died"]).is_empty(), "{}", mount.log().text());
    Ok(())
}
