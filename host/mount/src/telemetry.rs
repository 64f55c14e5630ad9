//! What the parts count, under the names of the metric table.

use crate::live::ConfigStatus;
use crate::memory::Memory;
use std::sync::Arc;
use wasmount_cache::{DiskCache, Health};
use wasmount_core::mounts::{MountState, MountTable};
use wasmount_net::HttpClient;
use wasmount_observe::Metrics;
use wasmount_observe::metrics::{MetricId as Id, Samples};
use wasmount_plugin::PluginHost;

/// The parts that count for themselves.
pub(crate) struct Parts {
    pub(crate) table: Arc<MountTable>,
    pub(crate) cache: Option<Arc<DiskCache>>,
    /// `--cache-size`
    pub(crate) cache_limit: Option<u64>,
    pub(crate) plugins: Arc<PluginHost>,
    pub(crate) client: HttpClient,
    pub(crate) memory: Memory,
    /// Which configuration is in force.
    pub(crate) config: Arc<ConfigStatus>,
}

impl Parts {
    /// Lets all of them be asked.
    pub(crate) fn register(self, metrics: &Metrics) {
        metrics.collect(move |out| {
            out.add(Id::MemoryLimit, &[], self.memory.total);
            mounts(&self.table, out);
            out.add(Id::ConfigGeneration, &[], self.config.generation());
            out.add(Id::ConfigRefused, &[], self.config.refused());
            reads(&self.table, out);
            plugins(&self.plugins, out);
            network(&self.client, out);
            if let Some(cache) = &self.cache {
                disk(cache, out);
            }
            if let Some(limit) = self.cache_limit {
                out.add(Id::CacheLimit, &[], limit);
            }
        });
    }
}

fn mounts(table: &MountTable, out: &mut Samples) {
    for (mount, now) in table.mount_states() {
        let now = match now {
            MountState::Opening => "opening",
            MountState::Ready => "ready",
            MountState::Failed(_) => "failed",
        };
        for state in ["opening", "ready", "failed"] {
            out.add(Id::MountState, &[mount.as_str(), state], now == state);
        }
    }
}

fn reads(table: &MountTable, out: &mut Samples) {
    let s = table.read_stats();
    out.add(Id::OpenFiles, &[], s.open_files);
    out.add(Id::FetchedBytes, &[], s.bytes_fetched);
    out.add(Id::UnusedBytes, &[], s.bytes_prefetched_unused);
    out.add(Id::KernelBytes, &[], s.bytes_stored);
    out.add(Id::MendedBytes, &[], s.bytes_mended);
    out.add(Id::JoinedReads, &[], s.reads_joined);
    out.add(Id::SiblingFetches, &[], s.siblings);
    out.add(Id::Fetches, &[], s.fetches);
    out.add(Id::FetchRetries, &[], s.fetch_retries);
    out.add(Id::FetchesInFlight, &[], s.parts_in_flight);
    out.add(Id::Memory, &["windows"], s.memory_in_use_windows);
    out.add(Id::Memory, &["kept"], s.memory_kept);
    out.add(Id::QueueDepth, &["memory"], s.memory_waiters);
}

fn disk(cache: &DiskCache, out: &mut Samples) {
    let s = cache.stats();
    for state in [Health::Healthy, Health::Full, Health::Sick] {
        out.add(Id::CacheHealth, &[state.as_str()], s.health == state);
    }
    out.add(Id::CacheBytes, &[], s.used_bytes);
    out.add(Id::CacheFiles, &[], s.entries);
    out.add(Id::CacheHits, &[], s.hits);
    out.add(Id::CacheMisses, &[], s.misses);
    out.add(Id::CacheReadBytes, &[], s.read_bytes);
    out.add(Id::CacheWrittenBytes, &[], s.written_bytes);
    out.add(Id::CacheQueue, &[], s.queued_bytes);
    out.add(Id::CacheDroppedBytes, &[], s.dropped_bytes);
    out.add(Id::CacheDamagedPages, &[], s.damaged_pages);
    out.add(Id::CacheErrors, &["read"], s.read_errors);
    out.add(Id::CacheErrors, &["write"], s.write_errors);
    out.add(Id::CacheVerifications, &["right"], s.verified_files);
    out.add(Id::CacheVerifications, &["wrong"], s.failed_verifications);
    out.add(Id::CacheEvictedFiles, &[], s.evicted_files);
    out.add(Id::CacheEvictedBytes, &[], s.evicted_bytes);
}

fn plugins(host: &PluginHost, out: &mut Samples) {
    for (mount, s) in host.stats_by_mount() {
        let mount = [mount.as_str()];
        out.add(Id::PluginCalls, &mount, s.calls);
        out.add(Id::PluginFailures, &mount, s.calls_failed);
        out.add(Id::PluginCallsInFlight, &mount, s.in_flight);
        out.add(Id::PluginCpu, &mount, s.cpu);
        out.add(Id::PluginTraps, &mount, s.traps);
        out.add(Id::PluginReplacements, &mount, s.replacements);
        out.add(Id::QueueDepth, &["plugin"], s.queue_depth);
        out.add(Id::Memory, &["guest"], s.linear_memory);
        out.add(Id::Memory, &["guest-buffers"], s.buffers);
    }
}

fn network(client: &HttpClient, out: &mut Samples) {
    let s = client.stats();
    out.add(Id::HttpRequests, &[], s.requests);
    out.add(Id::HttpFailures, &[], s.failures);
    for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(s.responses) {
        out.add(Id::HttpResponses, &[class], count);
    }
    out.add(Id::HttpReceivedBytes, &[], s.bytes_received);
    out.add(Id::HttpConnections, &[], s.connections_open);
    out.add(Id::HttpConnects, &[], s.connects);
    out.add(Id::TcpConnections, &[], s.tcp_connections_open);
    out.add(Id::TcpConnects, &[], s.tcp_connects);
    out.add(Id::TcpFailures, &[], s.tcp_failures);
    out.add(Id::TcpReceivedBytes, &[], s.tcp_bytes_received);
    out.add(Id::TcpSentBytes, &[], s.tcp_bytes_sent);
    out.add(Id::QueueDepth, &["connection"], s.waiting_for_connection);
    out.add(Id::Memory, &["connections"], s.body_buffer_bytes);
}
