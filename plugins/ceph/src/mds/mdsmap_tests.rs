use super::*;

/// A map with a rank that serves, one that is taken over, and one that nobody has.
fn map() -> MdsMap {
    let info = |gid: u64, rank, state| {
        let info = MdsInfo {
            gid: Gid(gid),
            name: format!("d{gid}"),
            rank: Rank(rank),
            incarnation: 3,
            state,
            addrs: AddrVec(vec![EntityAddr::msgr2("192.0.2.1:6800".parse().unwrap(), 7)]),
            laggy_since: UTime::default(),
            export_targets: vec![Rank(1)],
        };
        (Gid(gid), info)
    };
    MdsMap {
        epoch: 12,
        flags: 0x12,
        session_timeout: 60,
        session_autoclose: 300,
        max_file_size: 1 << 40,
        max_mds: 3,
        daemons: [info(4100, 0, MdsState::ACTIVE), info(4200, 1, MdsState::REPLAY)].into(),
        data_pools: vec![2, 5],
        metadata_pool: 1,
        ranks: (0..3).map(Rank).collect(),
        up: [(Rank(0), Gid(4100)), (Rank(1), Gid(4200))].into(),
        failed: [Rank(2)].into(),
        damaged: BTreeSet::new(),
        enabled: true,
        name: "cephfs".to_owned(),
        required_client_features: [9, 13].into_iter().collect(),
    }
}

#[test]
fn it_survives_the_wire() {
    let message = MdsMapMessage { fsid: Fsid([7; 16]), epoch: 12, map: map() };
    let bytes = message.encode();
    assert_eq!(MdsMapMessage::decode(&bytes).unwrap(), message);
    for length in 0..bytes.len() - 10 {
        assert!(MdsMapMessage::decode(&bytes[..length]).is_err(), "{length}");
    }
}

#[test]
fn it_knows_who_serves_and_why_not() {
    let mut map = map();
    assert!(map.active().eq([Rank(0)]));
    assert_eq!(map.daemon(Rank(1)).unwrap().address().unwrap().nonce, 7);
    assert_eq!((map.state(Rank(1)), map.state(Rank(2))), (Some(MdsState::REPLAY), None));
    assert_eq!(
        map.trouble(),
        "file system \"cephfs\": mds.0 (d4100) is up:active, mds.1 (d4200) is up:replay, \
         mds.2 has failed and no standby has taken it over"
    );
    map.up.clear();
    map.flags |= NOT_JOINABLE;
    assert!(map.trouble().contains("taken down"), "{}", map.trouble());
    map.flags = 0;
    map.ranks.clear();
    assert!(map.trouble().contains("no MDS"), "{}", map.trouble());
}
