//! What the kernel knows about this process.

use super::snapshot::Samples;
use super::table::MetricId;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Adds processor time and memory. What cannot be found out is left out.
pub(super) fn collect(samples: &mut Samples) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    if let (Ok(seconds), Ok(nanos)) = (u64::try_from(cpu.tv_sec), u32::try_from(cpu.tv_nsec)) {
        samples.push(MetricId::ProcessCpu, vec![], Duration::new(seconds, nanos));
    }
    if let Some(bytes) = resident() {
        samples.push(MetricId::ProcessMemory, vec![], bytes);
    }
}

fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
