//! `system`: time, random numbers, and how much memory there is.

use super::interruptible;
use super::wit::system as wit;
use super::wit::types::Timestamp;
use crate::instance::{GuestState, HasGuest};
use std::time::{Duration, SystemTime};
use wasmtime::component::Accessor;

/// Most random bytes in one call (`system.random`).
const MAX_RANDOM: u32 = 4096;

impl wit::Host for GuestState {
    fn now(&mut self) -> wasmtime::Result<Timestamp> {
        let now = wasmount_types::Timestamp::from(SystemTime::now());
        Ok(Timestamp { seconds: now.seconds, nanoseconds: now.nanoseconds })
    }

    fn monotonic_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn memory(&mut self) -> wasmtime::Result<u64> {
        Ok(self.tenant.fair().min(self.rights.limits.linear_memory as u64))
    }

    fn random(&mut self, length: u32) -> wasmtime::Result<Vec<u8>> {
        if length > MAX_RANDOM {
            wasmtime::bail!("it asked for {length} random bytes at once, the limit is {MAX_RANDOM}");
        }
        let mut bytes = vec![0; length as usize];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(bytes)
    }
}

impl<T: Send + 'static> wit::HostWithStore<T> for HasGuest {
    async fn sleep(acc: &Accessor<T, Self>, duration_ms: u64) -> wasmtime::Result<()> {
        // Ends early when the call is given up; the guest's next import then says why.
        let _ = interruptible(acc, tokio::time::sleep(Duration::from_millis(duration_ms))).await;
        Ok(())
    }
}
