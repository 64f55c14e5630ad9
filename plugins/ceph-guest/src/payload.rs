//! Bytes of objects, which stay in the host.

use wasmount_ceph::Payload;
use wasmount_sdk::Buffer;

/// A buffer in the host.
#[derive(Debug)]
pub struct HostBytes(pub Buffer);

impl Payload for HostBytes {
    fn len(&self) -> usize {
        self.0.len() as usize
    }

    fn slice(&self, offset: usize, length: usize) -> Option<Self> {
        let (offset, length) = (u32::try_from(offset).ok()?, u32::try_from(length).ok()?);
        self.0.slice(offset, length).ok().map(Self)
    }

    fn share(&self) -> Self {
        Self(self.0.share())
    }

    fn copy_out(&self, offset: usize, length: usize) -> Option<Vec<u8>> {
        self.0.copy_out(u32::try_from(offset).ok()?, u32::try_from(length).ok()?).ok()
    }

    fn crc32c(&self, register: u32) -> u32 {
        self.0.crc32c(register)
    }
}
