//! What an MDS tells of a fragment of a directory, and of the lease of a name.

use super::{Frag, Rank};
use crate::encoding::{DecodeError, Decoder, Encoder, Section};

/// Bits of [`LeaseStat::mask`] (`CEPH_LEASE_*`).
pub mod lease_mask {
    /// There is a lease: one bit of old, one of today.
    pub const VALID: u16 = 1 | 2;
    /// The name is the inode's own, and not a further link to it.
    pub const PRIMARY_LINK: u16 = 4;
}

/// What an MDS tells of a fragment (`DirStat`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirStat {
    /// Which.
    pub frag: Frag,
    /// The rank that is responsible, if it is another one than that of the directory's inode; else -1 (or -2: unknown).
    pub auth: Rank,
    /// Ranks that have a copy.
    pub replicas: Vec<Rank>,
}

impl DirStat {
    /// Reads one.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut d = decoder.section("DirStat", 1)?.body;
        let (frag, auth) = (Frag::from_raw(d.u32()?), Rank(d.i32()?));
        Ok(Self { frag, auth, replicas: d.list(|d| d.i32().map(Rank))? })
    }

    /// Writes it.
    pub fn encode(&self, encoder: &mut Encoder) {
        encoder.section(1, 1, |e| {
            e.u32(self.frag.raw()).i32(self.auth.0).list(self.replicas.iter(), |e, rank| {
                e.i32(rank.0);
            });
        });
    }
}

/// The lease of a name: for how long it means what it means (`LeaseStat`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseStat {
    /// As in [`lease_mask`].
    pub mask: u16,
    /// From when the request was sent on.
    pub duration_ms: u32,
    /// Its number.
    pub seq: u32,
    /// Another form of the name.
    pub alternate_name: Vec<u8>,
}

impl LeaseStat {
    /// Reads one.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let Section { version, body: mut d, .. } = decoder.section("LeaseStat", 2)?;
        let (mask, duration_ms, seq) = (d.u16()?, d.u32()?, d.u32()?);
        let alternate_name = if version >= 2 { d.blob()?.to_vec() } else { Vec::new() };
        Ok(Self { mask, duration_ms, seq, alternate_name })
    }

    /// Writes it.
    pub fn encode(&self, encoder: &mut Encoder) {
        encoder.section(2, 1, |e| {
            e.u16(self.mask).u32(self.duration_ms).u32(self.seq).blob(&self.alternate_name);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_survive_the_wire() {
        let dir = DirStat { frag: Frag::new(0, 1), auth: Rank(-1), replicas: vec![Rank(1)] };
        let lease = LeaseStat { mask: 3, duration_ms: 30_000, seq: 4, alternate_name: b"x".to_vec() };
        let mut encoder = Encoder::new();
        dir.encode(&mut encoder);
        lease.encode(&mut encoder);
        let bytes = encoder.finish();
        let mut d = Decoder::new("test", &bytes);
        assert_eq!(DirStat::decode(&mut d).unwrap(), dir);
        assert_eq!(LeaseStat::decode(&mut d).unwrap(), lease);
        assert!(d.is_empty());
        // Ceph 15 knows no other form of a name.
        let mut encoder = Encoder::new();
        encoder.section(1, 1, |e| {
            e.u16(3).u32(30_000).u32(4);
        });
        let bytes = encoder.finish();
        let old = LeaseStat { alternate_name: Vec::new(), ..lease };
        assert_eq!(LeaseStat::decode(&mut Decoder::new("test", &bytes)).unwrap(), old);
    }
}
