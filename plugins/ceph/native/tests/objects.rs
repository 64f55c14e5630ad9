//! Requests to a real cluster: what they give, and how they are refused.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::Bytes;
use common::{Cluster, DEADLINE_MS, cluster, pattern, payload, read, small};
use wasmount_ceph::auth::Key;
use wasmount_ceph::mon::parse_mon_host;
use wasmount_ceph::msgr::Mode;
use wasmount_ceph::osd::{Extent, OmapKeys, OmapVals, Op, Output, Stat};
use wasmount_ceph::rados::{Config, OpRequest, RadosError};
use wasmount_ceph::types::{EntityAddr, Fsid};
use wasmount_ceph_native::{Client, ClientError};

fn one(client: &Client, pool: i64, object: &str, op: Op<Bytes>) -> OpRequest<Bytes> {
    OpRequest::new(pool, object, vec![op]).deadline(client.deadline(DEADLINE_MS))
}

/// Why a client cannot begin.
fn refusal(config: Config, milliseconds: u64) -> String {
    match Client::connect(config, milliseconds).err().unwrap() {
        ClientError::Refused(reason) | ClientError::TimedOut(reason) => reason,
        other => panic!("{other}"),
    }
}

fn changed(cluster: &Cluster, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = cluster.config();
    change(&mut config);
    config
}

#[test]
fn objects_are_what_cephs_own_tools_wrote_and_read() {
    let Some(cluster) = cluster() else { return };
    let client = cluster.client();
    let pool = cluster.pool(&client, "objects", &["8"]);
    let bytes = pattern(1, 0, 1 << 20);
    let file = cluster.path("theirs");
    std::fs::write(&file, &bytes).unwrap();
    let file = file.to_string_lossy().into_owned();
    cluster.run(&["rados", "-p", "objects", "put", "theirs", &file]);
    assert!(payload(client.execute(read(&client, pool, "theirs", 0, 0)).unwrap()) == bytes);
    let middle = payload(client.execute(read(&client, pool, "theirs", 4096, 8)).unwrap());
    assert_eq!(middle, bytes.slice(4096..4104));
    let end = payload(client.execute(read(&client, pool, "theirs", (1 << 20) - 8, 100)).unwrap());
    assert_eq!(end.len(), 8, "the object ends there");
    let stat = client.execute(one(&client, pool, "theirs", Op::Stat)).unwrap();
    assert_eq!(Stat::decode(&small(stat)).unwrap().size, 1 << 20);

    client.execute(one(&client, pool, "ours", Op::WriteFull(bytes.clone()))).unwrap();
    let tail = Op::Write { offset: 2 << 20, data: Bytes::from_static(b"tail") };
    client.execute(one(&client, pool, "ours", tail)).unwrap();
    cluster.run(&["rados", "-p", "objects", "get", "ours", &file]);
    let got = std::fs::read(&file).unwrap();
    assert!(
        got.len() == (2 << 20) + 4
            && got[..1 << 20] == bytes
            && got[1 << 20..2 << 20].iter().all(|b| *b == 0)
    );
    let sparse = client.execute(one(&client, pool, "ours", Op::SparseRead(Extent::new(0, 4 << 20)))).unwrap();
    let Output::Sparse { extents, data } = &sparse.results[0].output else { panic!("{sparse:?}") };
    let written: u64 = extents.iter().map(|(_, length)| length).sum();
    assert!(written < 2 << 20, "the hole is left out: {extents:?}");
    assert_eq!(data.as_ref().map(Bytes::len), Some(usize::try_from(written).unwrap()));

    client.execute(one(&client, pool, "ours", Op::Delete)).unwrap();
    assert_eq!(client.execute(one(&client, pool, "ours", Op::Stat)), Err(RadosError::NotFound));
}

#[test]
fn attributes_maps_and_classes() {
    let Some(cluster) = cluster() else { return };
    let client = cluster.client();
    let pool = cluster.pool(&client, "attributes", &["8"]);
    let rados = |arguments: &[&str]| cluster.run(&[&["rados", "-p", "attributes"], arguments].concat());
    rados(&["create", "object"]);
    rados(&["setxattr", "object", "color", "blue"]);
    for key in ["a1", "a2", "b1"] {
        rados(&["setomapval", "object", key, &format!("value of {key}")]);
    }
    let ask = |op| small(client.execute(one(&client, pool, "object", op)).unwrap());
    assert_eq!(ask(Op::GetXattr(b"color".to_vec())), b"blue");
    let keys = OmapKeys::decode(&ask(Op::OmapGetKeys { start_after: b"a1".to_vec(), max: 10 })).unwrap();
    assert_eq!(keys, OmapKeys { keys: vec![b"a2".to_vec(), b"b1".to_vec()], more: false });
    let page = Op::OmapGetVals { start_after: Vec::new(), max: 1, prefix: b"a".to_vec() };
    let page = OmapVals::decode(&ask(page)).unwrap();
    assert_eq!(page, OmapVals { values: vec![(b"a1".to_vec(), b"value of a1".to_vec())], more: true });
    let chosen = Op::OmapGetByKeys(vec![b"b1".to_vec(), b"c1".to_vec()]);
    let chosen = OmapVals::decode(&ask(chosen)).unwrap();
    assert_eq!(chosen.values, [(b"b1".to_vec(), b"value of b1".to_vec())]);

    // Several at once; the class answers for an object that nobody has locked.
    let call = |method: &str| Op::Call { class: "lock".into(), method: method.into(), input: Vec::new() };
    let ops = vec![Op::Stat, call("list_locks"), Op::Read(Extent::new(0, 0))];
    let request = OpRequest { ops, ..one(&client, pool, "object", Op::Stat) };
    let reply = client.execute(request).unwrap();
    assert_eq!(reply.results.len(), 3);
    let Output::Bytes(locks) = &reply.results[1].output else { panic!("{reply:?}") };
    assert_eq!(locks[..2], [1, 1], "version 1 of a list");
    assert_eq!(reply.results[2].output, Output::Payload(None));
    assert_eq!(client.execute(one(&client, pool, "object", call("no_such"))), Err(RadosError::Unsupported));
}

#[test]
fn namespaces_snapshots_and_erasure_coded_pools() {
    let Some(cluster) = cluster() else { return };
    let client = cluster.client();
    let pool = cluster.pool(&client, "spaces", &["8"]);
    let put = |arguments: &[&str], content: &[u8]| {
        let file = cluster.path("content");
        std::fs::write(&file, content).unwrap();
        cluster.run(&[&["rados"], arguments, &["put", "object", &file.to_string_lossy()]].concat());
    };
    put(&["-p", "spaces", "-N", "one"], b"in one");
    let inside = read(&client, pool, "object", 0, 0).namespace("one");
    assert_eq!(payload(client.execute(inside).unwrap()), "in one");
    assert_eq!(client.execute(read(&client, pool, "object", 0, 0)), Err(RadosError::NotFound));

    put(&["-p", "spaces"], b"before");
    cluster.run(&["rados", "-p", "spaces", "mksnap", "first"]);
    put(&["-p", "spaces"], b"after");
    let then = read(&client, pool, "object", 0, 0).snap(1);
    assert_eq!(payload(client.execute(then).unwrap()), "before");
    assert_eq!(payload(client.execute(read(&client, pool, "object", 0, 0)).unwrap()), "after");

    cluster.run(&[
        "ceph",
        "osd",
        "erasure-code-profile",
        "set",
        "two-one",
        "k=2",
        "m=1",
        "crush-failure-domain=osd",
    ]);
    let erasure = cluster.pool(&client, "erasure", &["8", "8", "erasure", "two-one"]);
    for object in 0..16 {
        let name = format!("object-{object}");
        let bytes = pattern(object, 0, 100_000);
        client.execute(one(&client, erasure, &name, Op::WriteFull(bytes.clone()))).unwrap();
        assert!(payload(client.execute(read(&client, erasure, &name, 0, 0)).unwrap()) == bytes);
    }
}

#[test]
fn both_modes_carry_the_same_bytes() {
    let Some(cluster) = cluster() else { return };
    for (name, mode) in [("crc", Mode::Crc), ("secure", Mode::Secure)] {
        let config = changed(cluster, |config| {
            config.monitor_modes = vec![mode];
            config.osd_modes = vec![mode];
        });
        let client = Client::connect(config, 30_000).unwrap();
        let pool = cluster.pool(&client, &format!("mode-{name}"), &["8"]);
        for (object, length) in [(1, 8), (2, 4096), (3, 4 << 20)] {
            let (name, bytes) = (format!("object-{object}"), pattern(object, 0, length));
            client.execute(one(&client, pool, &name, Op::WriteFull(bytes.clone()))).unwrap();
            assert!(payload(client.execute(read(&client, pool, &name, 0, 0)).unwrap()) == bytes);
        }
    }
}

#[test]
fn who_may_not_is_told_why() {
    let Some(cluster) = cluster() else { return };
    let admin = cluster.client();
    let pool = cluster.pool(&admin, "forbidden", &["8"]);
    let key = cluster.run(&[
        "ceph",
        "auth",
        "get-or-create-key",
        "client.guest",
        "mon",
        "allow r",
        "osd",
        "allow r pool=other",
    ]);
    let key = Key::parse(key.trim()).unwrap();

    let guest = Client::connect(cluster.config_of("client.guest", key.clone()), 30_000).unwrap();
    assert_eq!(guest.execute(read(&guest, pool, "object", 0, 0)), Err(RadosError::Denied));

    let reason = refusal(cluster.config_of("client.admin", key.clone()), 30_000);
    assert!(reason.contains("user client.admin") && reason.contains("key is wrong"), "{reason}");
    let reason = refusal(cluster.config_of("client.nobody", key), 30_000);
    assert!(reason.contains("user client.nobody: it is unknown"), "{reason}");
    let other = Fsid([7; 16]);
    let reason = refusal(changed(cluster, |config| config.fsid = Some(other)), 30_000);
    assert!(reason.contains(&other.to_string()) && reason.contains(cluster.export("CEPH_FSID")), "{reason}");
    // Nobody listens at port 1.
    let nowhere = parse_mon_host("127.0.0.1:1").unwrap();
    let reason = refusal(changed(cluster, |config| config.monitors = nowhere), 5_000);
    assert!(reason.contains("no monitor can be reached: 127.0.0.1:1: "), "{reason}");
}

#[test]
fn who_is_locked_out_knows_at_once() {
    let Some(cluster) = cluster() else { return };
    let client = cluster.client();
    let pool = cluster.pool(&client, "locked", &["8"]);
    client.execute(one(&client, pool, "object", Op::WriteFull(Bytes::from_static(b"x")))).unwrap();
    let address = client.address().unwrap();
    cluster.run(&["ceph", "osd", "blocklist", "add", &address]);
    let (socket, nonce) = address.rsplit_once('/').unwrap();
    let own = EntityAddr::msgr2(socket.parse().unwrap(), nonce.parse().unwrap());
    Cluster::sees(&client, move |map| map.is_blocklisted(&own).then_some(()));
    let begin = std::time::Instant::now();
    let error = client.execute(read(&client, pool, "object", 0, 0)).unwrap_err();
    assert_eq!(error, RadosError::Blocklisted { address: address.clone() });
    assert!(begin.elapsed().as_secs() < 30, "it was waited for");
    cluster.run(&["ceph", "osd", "blocklist", "rm", &address]);
    let again = cluster.client();
    assert_eq!(payload(again.execute(read(&again, pool, "object", 0, 0)).unwrap()), "x");
}
