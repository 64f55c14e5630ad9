//! Recorded TCP sessions.

use flate2::read::GzDecoder;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;

/// A connection, as both ends saw it.
#[derive(Debug)]
pub struct Recording {
    /// Who connected.
    pub client: SocketAddr,
    /// Who listened.
    pub server: SocketAddr,
    /// What the client sent.
    pub to_server: Vec<u8>,
    /// What the server sent.
    pub to_client: Vec<u8>,
}

/// The recorded connections of a fixture, in the order in which they were made. Those that existed before the recording began
/// are left out: nobody can tell where their frames begin.
pub fn recordings(name: &str) -> Vec<Recording> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captured").join(name);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    connections(&bytes)
}

/// A text beside the recordings.
pub fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captured").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One direction: where its bytes begin, and its pieces by distance from there.
#[derive(Default)]
struct Direction {
    first: u32,
    pieces: BTreeMap<u32, Vec<u8>>,
}

impl Direction {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (at, piece) in self.pieces {
            let known = bytes.len() - at as usize;
            assert!(at as usize <= bytes.len(), "the recording lacks bytes");
            bytes.extend_from_slice(piece.get(known..).unwrap_or_default());
        }
        bytes
    }
}

struct Segment<'a> {
    from: SocketAddr,
    to: SocketAddr,
    sequence: u32,
    flags: u8,
    payload: &'a [u8],
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn connections(pcap: &[u8]) -> Vec<Recording> {
    let mut open: HashMap<(SocketAddr, SocketAddr), usize> = HashMap::new();
    let mut found: Vec<(SocketAddr, SocketAddr, [Direction; 2])> = Vec::new();
    for segment in packets(pcap).into_iter().filter_map(segment) {
        let Segment { from, to, sequence, flags, payload } = segment;
        if flags & SYN != 0 && flags & ACK == 0 {
            let repeated = open.get(&(from, to)).is_some_and(|&at| found[at].2[0].pieces.is_empty());
            if !repeated {
                open.insert((from, to), found.len());
                found.push((from, to, Default::default()));
            }
        }
        let (at, direction) = match (open.get(&(from, to)), open.get(&(to, from))) {
            (Some(&at), _) => (at, 0),
            (None, Some(&at)) => (at, 1),
            (None, None) => continue,
        };
        let direction = &mut found[at].2[direction];
        if flags & SYN != 0 {
            direction.first = sequence.wrapping_add(1);
        } else if !payload.is_empty() {
            let distance = sequence.wrapping_sub(direction.first);
            // Keepalive probes repeat the byte before.
            if distance < u32::MAX / 2 {
                let piece = direction.pieces.entry(distance).or_default();
                if piece.len() < payload.len() {
                    *piece = payload.to_vec();
                }
            }
        }
    }
    found
        .into_iter()
        .map(|(client, server, [to_server, to_client])| Recording {
            client,
            server,
            to_server: to_server.bytes(),
            to_client: to_client.bytes(),
        })
        .collect()
}

/// The packets of a file in the classic format, little-endian.
fn packets(pcap: &[u8]) -> Vec<&[u8]> {
    assert_eq!(pcap[..4], [0xd4, 0xc3, 0xb2, 0xa1], "not a pcap file");
    let mut packets = Vec::new();
    let mut rest = &pcap[24..];
    while rest.len() >= 16 {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        packets.push(&rest[16..16 + length]);
        rest = &rest[16 + length..];
    }
    packets
}

/// The TCP segment in an Ethernet frame; `None` if there is none.
fn segment(packet: &[u8]) -> Option<Segment<'_>> {
    let ip = packet.get(14..).filter(|_| packet[12..14] == [8, 0])?;
    if ip[9] != 6 {
        return None;
    }
    let total = u16::from_be_bytes([ip[2], ip[3]]) as usize;
    let tcp = ip.get(usize::from(ip[0] & 0xf) * 4..if total == 0 { ip.len() } else { total })?;
    let address = |at: usize, port: usize| {
        let ip = Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
        SocketAddrV4::new(ip, u16::from_be_bytes([tcp[port], tcp[port + 1]])).into()
    };
    Some(Segment {
        from: address(12, 0),
        to: address(16, 2),
        sequence: u32::from_be_bytes(tcp[4..8].try_into().ok()?),
        flags: tcp[13],
        payload: &tcp[usize::from(tcp[12] >> 4) * 4..],
    })
}
