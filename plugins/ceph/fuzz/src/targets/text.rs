//! What people write: keys, keyrings, addresses of monitors.

use anyhow::Result;
use wasmount_ceph::auth::{Key, keyring as parser};
use wasmount_ceph::mon::parse_mon_host;

use crate::seeds::{fixture, written};

pub(super) fn mon_host(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match parse_mon_host(&text) {
        Ok(hosts) => drop(std::hint::black_box(format!("{hosts:?}"))),
        Err(error) => drop(std::hint::black_box(error.to_string())),
    }
}

pub(super) fn mon_host_seeds() -> Result<Vec<Vec<u8>>> {
    written(&[
        b"10.0.0.1",
        b"10.0.0.1:6789, 10.0.0.2:3300",
        b"[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0],[v2:[fd00::1]:3300,v1:[fd00::1]:6789]",
        b"v2:127.0.0.1:23300/0 mon.example.org;[::1]:3300",
        b"v1:10.0.0.1:6789/0",
        br#"[{"clusterID":"a","monitors":["10.0.0.1:6789","10.0.0.2"]}]"#,
    ])
}

pub(super) fn keyring(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Err(error) = parser::parse(&text, "client.admin") {
        std::hint::black_box(error.to_string());
    }
    if let Err(error) = Key::parse(&text) {
        std::hint::black_box(error.to_string());
    }
}

pub(super) fn keyring_seeds() -> Result<Vec<Vec<u8>>> {
    let rings =
        [fixture("captured/client.admin.keyring")?, fixture("captured/tentacle.client.admin.keyring")?];
    let keys = rings.iter().filter_map(|ring| {
        let text = String::from_utf8_lossy(ring).into_owned();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("key = "))?;
        Some(line.as_bytes().to_vec())
    });
    let keys: Vec<_> = keys.collect();
    Ok(rings.into_iter().chain(keys).collect())
}
