//! Hashes of object names (`common/ceph_hash.cc`).

use crate::crush::hash::mix;

/// The hash of a name as the pool wants it: 1 is that of Linux' directory cache, 2 is Jenkins', which all pools have.
pub(crate) fn name_hash(kind: u8, name: &[u8]) -> u32 {
    match kind {
        1 => linux(name),
        2 => jenkins(name),
        // Ceph computes -1 for what it does not know.
        _ => u32::MAX,
    }
}

/// Jenkins' hash of a string: <https://burtleburtle.net/bob/hash/evahash.html>.
fn jenkins(name: &[u8]) -> u32 {
    const GOLDEN_RATIO: u32 = 0x9e37_79b9;
    let (mut a, mut b, mut c) = (GOLDEN_RATIO, GOLDEN_RATIO, 0_u32);
    let mut blocks = name.chunks_exact(12);
    let add = |sum: &mut u32, bytes: &[u8]| {
        let word = bytes.iter().rev().fold(0_u32, |word, &byte| (word << 8) | u32::from(byte));
        *sum = sum.wrapping_add(word);
    };
    for block in &mut blocks {
        add(&mut a, &block[..4]);
        add(&mut b, &block[4..8]);
        add(&mut c, &block[8..]);
        mix(&mut a, &mut b, &mut c);
    }
    // The lowest byte of the last word is the length.
    let mut last = [0; 12];
    let rest = blocks.remainder();
    for (index, &byte) in rest.iter().enumerate() {
        last[if index < 8 { index } else { index + 1 }] = byte;
    }
    add(&mut a, &last[..4]);
    add(&mut b, &last[4..8]);
    add(&mut c, &last[8..]);
    c = c.wrapping_add(name.len() as u32);
    mix(&mut a, &mut b, &mut c);
    c
}

/// The hash of Linux' directory cache, of old.
fn linux(name: &[u8]) -> u32 {
    name.iter()
        .map(|&byte| u32::from(byte))
        .fold(0_u32, |hash, byte| hash.wrapping_add(byte << 4).wrapping_add(byte >> 4).wrapping_mul(11))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_ceph() {
        // From `ceph osd map`, see tests/fixtures/golden/live-object-map.json.
        assert_eq!(name_hash(2, b"10000000000.00000000"), 0xf0b5_6f30);
        assert_eq!(name_hash(2, b"ns-1\x1f10000000000.00000000"), 0x181f_15ca);
        // Computed by hand.
        assert_eq!(name_hash(1, b"a"), (0x610 + 6) * 11);
        assert_eq!(name_hash(9, b"a"), u32::MAX);
    }
}
