//! The one table of metrics: everything that is said about a metric, wherever it is said, comes from here.

use crate::words::{BLAMED, OPS, RESULTS, SOURCES};

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// What its numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things, counted.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// A share or a quotient; 1 is 100 %.
    Ratio,
}

/// What users may build upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// Changes only with a major version.
    Stable,
    /// May change or go with any version.
    Experimental,
}

/// Who knows the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Counted here, as operations end.
    Observed,
    /// Asked for when somebody wants to know: see [`Metrics::collect`](super::Metrics::collect).
    Collected,
    /// Follows from other metrics.
    Computed,
}

/// What tells the series of a metric apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it stands for.
    pub help: &'static str,
    /// All its values; empty if they are not known beforehand.
    pub values: &'static [&'static str],
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, as Prometheus wants names.
    pub name: &'static str,
    /// Its place in documents and summaries.
    pub area: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What its numbers are.
    pub unit: Unit,
    /// What users may build upon.
    pub stability: Stability,
    /// Who knows it.
    pub source: Source,
    /// Labels, in their order.
    pub labels: &'static [Label],
}

const OP: Label = Label { name: "op", help: "what the kernel asked", values: &OPS };
const RESULT: Label =
    Label { name: "result", help: "`ok`, or the kind of error as in SEMANTICS.md", values: &RESULTS };
const BLAME: Label = Label {
    name: "blame",
    help: "who was waited for, or whose fault a failure was: `cache` (memory or disk), `plugin`, `origin` (the storage system and the network to it), `kernel` (it reads the file itself from now on), `caller`, `host` (wasmount)",
    values: &BLAMED,
};
const SOURCE: Label = Label { name: "source", help: "where the bytes came from", values: &SOURCES };
const OWNER: Label = Label {
    name: "owner",
    help: "what memory is used for: `windows` (being fetched, read, or written to the disk cache), `kept` (read, and given up when needed), `guest` (linear memories of plugins), `guest-buffers` (buffers of plugins), `connections` (what connections receive into)",
    values: &["windows", "kept", "guest", "guest-buffers", "connections"],
};
const QUEUE: Label = Label {
    name: "queue",
    help: "what is waited for: `memory` (a part of the budget), `plugin` (an instance), `connection` (a free connection)",
    values: &["memory", "plugin", "connection"],
};
const HEALTH: Label = Label {
    name: "state",
    help: "`healthy`, `full` (no room on the disk: nothing is added), `sick` (the disk fails: it is tried again now and then)",
    values: &["healthy", "full", "sick"],
};
const ACCESS: Label =
    Label { name: "access", help: "what was tried on the cache's files", values: &["read", "write"] };
const OUTCOME: Label = Label {
    name: "outcome",
    help: "`right`, or `wrong`: what was damaged is fetched again",
    values: &["right", "wrong"],
};
const CLASS: Label =
    Label { name: "class", help: "first digit of the status", values: &["1xx", "2xx", "3xx", "4xx", "5xx"] };
const MOUNT: Label = Label { name: "mount", help: "name of the mount in the Dataset", values: &[] };
const STATE: Label = Label {
    name: "state",
    help: "`opening`, `ready`, `failed` (it is tried again by itself)",
    values: &["opening", "ready", "failed"],
};
const VERSION: Label = Label { name: "version", help: "version of wasmount", values: &[] };

/// Makes the table and the names by which code refers to its rows.
macro_rules! table {
    ($( $area:literal { $( $id:ident = $name:literal ($kind:ident, $unit:ident, $stability:ident, $source:ident)
        [$($label:ident),*] $help:literal; )* } )*) => {
        /// A metric of the [`TABLE`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum MetricId {
            $($(#[doc = concat!("`", $name, "`: ", $help)] $id,)*)*
        }

        /// All metrics, in the order in which they are shown.
        pub static TABLE: &[(MetricId, Metric)] = &[
            $($((MetricId::$id, Metric {
                name: $name,
                area: $area,
                help: $help,
                kind: Kind::$kind,
                unit: Unit::$unit,
                stability: Stability::$stability,
                source: Source::$source,
                labels: &[$($label),*],
            }),)*)*
        ];
    };
}

table! {
    "Operations" {
        Operations = "wasmount_operations_total" (Counter, Count, Stable, Observed) [OP, RESULT]
            "Requests of the kernel that were answered.";
        OperationDuration = "wasmount_operation_duration_seconds" (Histogram, Seconds, Stable, Observed) [OP]
            "Time from when a request was read to when its answer was written.";
        OperationBlame = "wasmount_operation_blame_seconds_total" (Counter, Seconds, Experimental, Observed) [OP, BLAME]
            "The same time, by who was waited for or whose fault a failure was.";
        OpenFiles = "wasmount_open_files" (Gauge, Count, Stable, Collected) []
            "Files open at the moment.";
    }
    "Reads" {
        ReadBytes = "wasmount_read_bytes_total" (Counter, Bytes, Stable, Observed) [SOURCE]
            "Bytes given to the kernel by where they came from. What the kernel has in its page cache, or reads itself from a cache file, does not get here.";
        Reads = "wasmount_reads_total" (Counter, Count, Stable, Observed) [SOURCE]
            "Reads that succeeded by where the bytes came from; a read that had to wait for the storage system counts as `origin`.";
        ReadHitRatio = "wasmount_read_hit_ratio" (Gauge, Ratio, Stable, Computed) []
            "Share of the bytes read that were in memory or on disk when they were asked for, since the start.";
        FetchedBytes = "wasmount_fetched_bytes_total" (Counter, Bytes, Stable, Collected) []
            "Bytes received from storage systems for reads, whether or not somebody read them.";
        WindowEfficiency = "wasmount_window_efficiency_ratio" (Gauge, Ratio, Experimental, Computed) []
            "Bytes fetched divided by bytes read that were not on disk, since the start: more than 1 is read-ahead that nobody needed, less is bytes that were read again.";
        UnusedBytes = "wasmount_prefetch_unused_bytes_total" (Counter, Bytes, Experimental, Collected) []
            "Bytes fetched ahead and thrown away unread.";
        SiblingFetches = "wasmount_sibling_fetches_total" (Counter, Count, Experimental, Collected) []
            "Small files fetched because files before them in the same directory were read.";
        JoinedReads = "wasmount_joined_reads_total" (Counter, Count, Experimental, Collected) []
            "Reads whose bytes lay in several blocks of memory and were copied together.";
        KernelBytes = "wasmount_kernel_stored_bytes_total" (Counter, Bytes, Experimental, Collected) []
            "Bytes put into the kernel's page cache unasked.";
        MendedBytes = "wasmount_cache_mended_bytes_total" (Counter, Bytes, Experimental, Collected) []
            "Bytes fetched again while nothing else was, because the disk cache had no room for them when they came first.";
        Fetches = "wasmount_fetches_total" (Counter, Count, Stable, Collected) []
            "Requests for bytes that were sent to plugins.";
        FetchRetries = "wasmount_fetch_retries_total" (Counter, Count, Stable, Collected) []
            "Requests that continued one that had broken.";
        FetchesInFlight = "wasmount_fetches_in_flight" (Gauge, Count, Experimental, Collected) []
            "Requests for bytes under way.";
        PassthroughOpens = "wasmount_passthrough_opens_total" (Counter, Count, Stable, Observed) []
            "Files opened so that the kernel reads the cache file itself.";
        PassthroughAvailable = "wasmount_passthrough_available" (Gauge, Count, Experimental, Collected) []
            "1 if the kernel lets wasmount open files so.";
    }
    "Memory" {
        MemoryLimit = "wasmount_memory_limit_bytes" (Gauge, Bytes, Stable, Collected) []
            "The number given by --memory, or what stands for it.";
        Memory = "wasmount_memory_bytes" (Gauge, Bytes, Stable, Collected) [OWNER]
            "Memory in use, by what it is used for.";
        QueueDepth = "wasmount_queue_depth" (Gauge, Count, Experimental, Collected) [QUEUE]
            "Requests waiting at the moment.";
    }
    "Disk cache" {
        CacheHealth = "wasmount_cache_health" (Gauge, Count, Stable, Collected) [HEALTH]
            "1 for the state the disk cache is in, 0 for the others.";
        CacheBytes = "wasmount_cache_bytes" (Gauge, Bytes, Stable, Collected) []
            "Bytes of the disk in use, by all processes that share the directory.";
        CacheLimit = "wasmount_cache_limit_bytes" (Gauge, Bytes, Stable, Collected) []
            "Bytes of the disk that may be used; only with `--cache-size`.";
        CacheFiles = "wasmount_cache_files" (Gauge, Count, Experimental, Collected) []
            "Files of which something is in the cache.";
        CacheHits = "wasmount_cache_hits_total" (Counter, Count, Stable, Collected) []
            "Reads of the cache that it answered.";
        CacheMisses = "wasmount_cache_misses_total" (Counter, Count, Stable, Collected) []
            "Times that bytes were looked for in the cache and were not there.";
        CacheReadBytes = "wasmount_cache_read_bytes_total" (Counter, Bytes, Stable, Collected) []
            "Bytes read from the cache and found right.";
        CacheWrittenBytes = "wasmount_cache_written_bytes_total" (Counter, Bytes, Stable, Collected) []
            "Bytes written to the cache.";
        CacheQueue = "wasmount_cache_queue_bytes" (Gauge, Bytes, Stable, Collected) []
            "Bytes of memory held by what waits to be written to the cache; they are part of the memory of `windows`.";
        CacheDroppedBytes = "wasmount_cache_dropped_bytes_total" (Counter, Bytes, Stable, Collected) []
            "Bytes that were not cached because the disk was full, sick, or did not keep up.";
        CacheDamagedPages = "wasmount_cache_damaged_pages_total" (Counter, Count, Stable, Collected) []
            "Pages of 4 KiB that did not match their checksum; they were fetched again.";
        CacheErrors = "wasmount_cache_errors_total" (Counter, Count, Stable, Collected) [ACCESS]
            "Reads and writes of the cache's files that failed or took too long; reads were answered by the storage system instead.";
        CacheVerifications = "wasmount_cache_verifications_total" (Counter, Count, Experimental, Collected) [OUTCOME]
            "Cache files that were read in full and compared with their checksums.";
        CacheEvictedFiles = "wasmount_cache_evicted_files_total" (Counter, Count, Stable, Collected) []
            "Files removed to make room.";
        CacheEvictedBytes = "wasmount_cache_evicted_bytes_total" (Counter, Bytes, Stable, Collected) []
            "Bytes removed to make room.";
    }
    "Plugins" {
        PluginCalls = "wasmount_plugin_calls_total" (Counter, Count, Stable, Collected) [MOUNT]
            "Calls of plugins.";
        PluginFailures = "wasmount_plugin_calls_failed_total" (Counter, Count, Stable, Collected) [MOUNT]
            "Calls that gave an error.";
        PluginCallsInFlight = "wasmount_plugin_calls_in_flight" (Gauge, Count, Experimental, Collected) [MOUNT]
            "Calls under way.";
        PluginCpu = "wasmount_plugin_cpu_seconds_total" (Counter, Seconds, Stable, Collected) [MOUNT]
            "Processor time of plugins, and of what the host does for them between two waits.";
        PluginTraps = "wasmount_plugin_traps_total" (Counter, Count, Stable, Collected) [MOUNT]
            "Times a plugin broke off: a fault of it, or a limit.";
        PluginReplacements = "wasmount_plugin_replacements_total" (Counter, Count, Stable, Collected) [MOUNT]
            "Instances that were replaced.";
    }
    "Network" {
        HttpRequests = "wasmount_http_requests_total" (Counter, Count, Stable, Collected) []
            "HTTP requests sent.";
        HttpFailures = "wasmount_http_failures_total" (Counter, Count, Stable, Collected) []
            "HTTP requests without a response: no connection, a broken one, or too late.";
        HttpResponses = "wasmount_http_responses_total" (Counter, Count, Stable, Collected) [CLASS]
            "HTTP responses received.";
        HttpReceivedBytes = "wasmount_http_received_bytes_total" (Counter, Bytes, Stable, Collected) []
            "Bytes of response bodies received.";
        HttpConnections = "wasmount_http_connections" (Gauge, Count, Stable, Collected) []
            "Connections open.";
        HttpConnects = "wasmount_http_connects_total" (Counter, Count, Stable, Collected) []
            "Connections made.";
        TcpConnections = "wasmount_tcp_connections" (Gauge, Count, Stable, Collected) []
            "TCP connections open for plugins' own protocols.";
        TcpConnects = "wasmount_tcp_connects_total" (Counter, Count, Stable, Collected) []
            "TCP connections made for plugins' own protocols.";
        TcpFailures = "wasmount_tcp_connect_failures_total" (Counter, Count, Stable, Collected) []
            "Attempts to make one that failed.";
        TcpReceivedBytes = "wasmount_tcp_received_bytes_total" (Counter, Bytes, Stable, Collected) []
            "Bytes received on them.";
        TcpSentBytes = "wasmount_tcp_sent_bytes_total" (Counter, Bytes, Stable, Collected) []
            "Bytes sent on them.";
    }
    "Mounts" {
        MountState = "wasmount_mount_state" (Gauge, Count, Stable, Collected) [MOUNT, STATE]
            "1 for the state a mount is in, 0 for the others.";
        ConfigGeneration = "wasmount_config_generation" (Gauge, Count, Stable, Collected) []
            "Which configuration is in force: 1 for the one read at the start, one more for each that has taken its place.";
        ConfigRefused = "wasmount_config_refused_total" (Counter, Count, Stable, Collected) []
            "Configurations that were found while running and are not in force, because something is wrong with them.";
    }
    "Observing" {
        LogReaders = "wasmount_access_log_readers" (Gauge, Count, Experimental, Observed) []
            "Readers of .wasmount/accesslog.";
        LogLost = "wasmount_access_log_lost_lines_total" (Counter, Count, Experimental, Observed) []
            "Lines that readers of the access log were too slow for, each reader counted.";
    }
    "Process" {
        BuildInfo = "wasmount_build_info" (Gauge, Count, Stable, Observed) [VERSION]
            "Always 1.";
        StartTime = "process_start_time_seconds" (Gauge, Seconds, Stable, Observed) []
            "When observing began, in seconds since 1970.";
        ProcessCpu = "process_cpu_seconds_total" (Counter, Seconds, Stable, Observed) []
            "Processor time of the whole process.";
        ProcessMemory = "process_resident_memory_bytes" (Gauge, Bytes, Stable, Observed) []
            "Resident memory of the whole process.";
    }
}

impl MetricId {
    /// Its row in the table.
    pub fn metric(self) -> &'static Metric {
        // The macro writes both in one go, so that the index is right; a test holds that.
        &TABLE[self as usize].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rows_follow_the_rules_of_prometheus() {
        let mut names = BTreeSet::new();
        for (index, (id, metric)) in TABLE.iter().enumerate() {
            let name = metric.name;
            assert_eq!(*id as usize, index);
            assert_eq!(id.metric(), metric);
            assert!(names.insert(name), "{name} twice");
            assert!(name.starts_with("wasmount_") || name.starts_with("process_"), "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            let stem = name.trim_end_matches("_total");
            let suffix = match metric.unit {
                Unit::Bytes => "_bytes",
                Unit::Seconds => "_seconds",
                Unit::Ratio => "_ratio",
                Unit::Count => "",
            };
            assert!(stem.ends_with(suffix), "{name}");
            if metric.unit == Unit::Count {
                assert!(!["_bytes", "_seconds", "_ratio"].iter().any(|unit| stem.ends_with(unit)), "{name}");
            }
            for reserved in ["_sum", "_count", "_bucket"] {
                assert!(!stem.ends_with(reserved), "{name}");
            }
            assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{name}");
            for label in metric.labels {
                assert!(label.name != "le" && label.name.bytes().all(|b| b.is_ascii_lowercase()), "{name}");
                let values: BTreeSet<_> = label.values.iter().collect();
                assert_eq!(values.len(), label.values.len(), "{name} {}", label.name);
            }
        }
    }
}
