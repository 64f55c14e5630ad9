//! Cyclic redundancy checks: CRC-32C by the processor's own instruction where it has one, since storage protocols send one with
//! all payload; the others bytewise by table.

/// A reflected CRC of up to 64 bits.
pub(crate) struct Crc {
    table: [u64; 256],
}

impl Crc {
    const fn new(reflected_polynomial: u64) -> Self {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut register = byte as u64;
            let mut bit = 0;
            while bit < 8 {
                register = (register >> 1) ^ if register & 1 == 1 { reflected_polynomial } else { 0 };
                bit += 1;
            }
            table[byte] = register;
            byte += 1;
        }
        Self { table }
    }

    /// The register after these bytes, with no inversion before or after.
    pub(crate) fn register(&self, register: u64, bytes: &[u8]) -> u64 {
        bytes.iter().fold(register, |r, byte| {
            let index = usize::from((r as u8) ^ byte);
            // A table of 256 has an entry for every byte.
            (r >> 8) ^ self.table.get(index).copied().unwrap_or(0)
        })
    }
}

/// IEEE 802.3.
pub(crate) static CRC32: Crc = Crc::new(0xedb8_8320);
/// NVM Express base specification 2.0, 64-bit CRC (reflected form of 0xad93d23594c93659).
pub(crate) static CRC64NVME: Crc = Crc::new(0x9a6c_9329_ac4b_c9b5);

/// The CRC-32C register (Castagnoli, RFC 3720 section 12.1) after these bytes, with no inversion before or after.
pub(crate) fn crc32c(register: u32, bytes: &[u8]) -> u32 {
    !::crc32c::crc32c_append(!register, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_raw_register_of_crc32c_can_be_chained() {
        let (bytes, table) = ([0x5a; 1000], Crc::new(0x82f6_3b78));
        for start in [0, 1, u32::MAX] {
            assert_eq!(u64::from(crc32c(start, &bytes)), table.register(start.into(), &bytes));
            assert_eq!(crc32c(crc32c(start, &bytes[..77]), &bytes[77..]), crc32c(start, &bytes));
        }
    }

    #[test]
    fn check_values() {
        // "Check" values of the catalogue of parametrised CRC algorithms.
        let check = |crc: &Crc, ones: u64| crc.register(ones, b"123456789") ^ ones;
        assert_eq!(check(&CRC32, 0xffff_ffff), 0xcbf4_3926);
        assert_eq!(!crc32c(u32::MAX, b"123456789"), 0xe306_9283);
        assert_eq!(check(&CRC64NVME, u64::MAX), 0xae8b_1486_0a79_9888);
    }
}
