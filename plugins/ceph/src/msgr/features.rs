//! Feature bits: what an encoding may assume of the other side (`include/ceph_features.h` of Ceph).

use std::fmt;

/// Addresses carry their protocol. Whoever speaks msgr2 has it.
pub const MSG_ADDR2: u64 = 1 << 59;

/// What this crate can read and obey, as the client of Ceph 20.2 announces it, without three bits: `CRUSH_MSR` (rules that retry over
/// several steps), `NVMEOFHA` and `NVMEOFHAMAP` (gateways, which no client talks to). A cluster which uses one of them says so, and
/// the connection fails with its name.
pub const SUPPORTED: u64 = 0x3f07_ffff_fffd_ffff & !((1 << 38) | (1 << 44) | (1 << 45));

/// A set of feature bits that shows itself by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features(pub u64);

/// Names of bits, in the meaning they have in supported releases. Those not here were never required of a client.
const NAMES: &[(u32, &str)] = &[
    (2, "SERVER_NAUTILUS"),
    (10, "SERVER_KRAKEN"),
    (16, "SERVER_OCTOPUS"),
    (18, "CRUSH_TUNABLES"),
    (20, "SERVER_PACIFIC"),
    (21, "SERVER_LUMINOUS"),
    (23, "MSG_AUTH"),
    (25, "CRUSH_TUNABLES2"),
    (28, "SERVER_MIMIC"),
    (30, "OSDHASHPSPOOL"),
    (31, "SERVER_REEF"),
    (32, "STRETCH_MODE"),
    (33, "SERVER_QUINCY"),
    (34, "RANGE_BLOCKLIST"),
    (35, "OSD_CACHEPOOL"),
    (36, "CRUSH_V2"),
    (38, "CRUSH_MSR"),
    (39, "OSDMAP_ENC"),
    (41, "CRUSH_TUNABLES3"),
    (44, "NVMEOFHA"),
    (45, "NVMEOFHAMAP"),
    (48, "CRUSH_V4"),
    (49, "SERVER_SQUID"),
    (50, "SERVER_TENTACLE"),
    (56, "NEW_OSDOP_ENCODING"),
    (57, "SERVER_JEWEL"),
    (58, "CRUSH_TUNABLES5"),
    (59, "MSG_ADDR2"),
    (60, "OSD_RECOVERY_DELETES"),
    (61, "CEPHX_V2"),
];

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("nothing");
        }
        let mut separator = "";
        for bit in (0..u64::BITS).filter(|&bit| self.0 & (1 << bit) != 0) {
            f.write_str(separator)?;
            match NAMES.iter().find(|(known, _)| *known == bit) {
                Some((_, name)) => f.write_str(name)?,
                None => write!(f, "bit {bit}")?,
            }
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_show_their_names() {
        assert_eq!(Features((1 << 38) | (1 << 59) | (1 << 63)).to_string(), "CRUSH_MSR, MSG_ADDR2, bit 63");
        assert_eq!(Features(0).to_string(), "nothing");
    }

    #[test]
    fn what_clusters_require_is_supported() {
        // Seen from monitors and OSDs of 16.2.15 and 20.2.4, and from an MDS.
        for required in [0x0c01_0200_4204_0000, 0x0800_0000_0000_0000] {
            assert_eq!(Features(required & !SUPPORTED).to_string(), "nothing");
        }
    }
}
