//! Words of the contract into words of the host. Nothing is judged here but form; see `check` for meaning.

use super::{lifecycle, types};
use crate::bindings::v0_1::host::wasmount::plugin::{capabilities, options};
use crate::description::{Description, EndpointRule, EndpointTemplate, NetworkNeeds, OptionKind, OptionSpec};
use crate::imports::LogSink;
use wasmount_core::ports::{BlockCapabilities, Listing, ObjectCapabilities, Pinning};
use wasmount_types::{Blame, Effect, Error, ErrorKind, Retry};

/// Longest code of a store that is kept.
const ORIGIN_CODE: usize = 64;

/// An error of the plugin, fit to be shown.
pub(super) fn error(error: types::Error, log: &LogSink) -> Error {
    Error {
        kind: kind(error.kind),
        retry: match error.retry {
            types::RetryAdvice::Never => Retry::Never,
            types::RetryAdvice::AfterMs(ms) => Retry::AfterMs(ms),
            types::RetryAdvice::Reopen => Retry::Reopen,
        },
        blame: match error.blame {
            types::Blame::Caller => Blame::Caller,
            types::Blame::Plugin => Blame::Plugin,
            types::Blame::Origin => Blame::Origin,
            types::Blame::Host => Blame::Host,
        },
        effect: match error.effect {
            types::Effect::None => Effect::None,
            types::Effect::Unknown => Effect::Unknown,
            types::Effect::Partial => Effect::Partial,
        },
        origin_code: error.origin_code.map(|code| crate::text::printable(&log.clean(&code), ORIGIN_CODE)),
        message: log.clean(&error.message),
    }
}

fn kind(kind: types::ErrorKind) -> ErrorKind {
    match kind {
        types::ErrorKind::NotFound => ErrorKind::NotFound,
        types::ErrorKind::Exists => ErrorKind::Exists,
        types::ErrorKind::NotDirectory => ErrorKind::NotDirectory,
        types::ErrorKind::IsDirectory => ErrorKind::IsDirectory,
        types::ErrorKind::NotEmpty => ErrorKind::NotEmpty,
        types::ErrorKind::Denied => ErrorKind::Denied,
        types::ErrorKind::Unauthenticated => ErrorKind::Unauthenticated,
        types::ErrorKind::ReadOnly => ErrorKind::ReadOnly,
        types::ErrorKind::Stale => ErrorKind::Stale,
        types::ErrorKind::NoSpace => ErrorKind::NoSpace,
        types::ErrorKind::QuotaExceeded => ErrorKind::QuotaExceeded,
        types::ErrorKind::TooLarge => ErrorKind::TooLarge,
        types::ErrorKind::NameTooLong => ErrorKind::NameTooLong,
        types::ErrorKind::OutOfRange => ErrorKind::OutOfRange,
        types::ErrorKind::Invalid => ErrorKind::Invalid,
        types::ErrorKind::Unsupported => ErrorKind::Unsupported,
        types::ErrorKind::Busy => ErrorKind::Busy,
        types::ErrorKind::WouldBlock => ErrorKind::WouldBlock,
        types::ErrorKind::Interrupted => ErrorKind::Interrupted,
        types::ErrorKind::TimedOut => ErrorKind::TimedOut,
        types::ErrorKind::Unavailable => ErrorKind::Unavailable,
        types::ErrorKind::Throttled => ErrorKind::Throttled,
        types::ErrorKind::Corrupt => ErrorKind::Corrupt,
        types::ErrorKind::Fenced => ErrorKind::Fenced,
        types::ErrorKind::NoAttribute => ErrorKind::NoAttribute,
        types::ErrorKind::CrossDevice => ErrorKind::CrossDevice,
        types::ErrorKind::TooManyLinks => ErrorKind::TooManyLinks,
        types::ErrorKind::Other => ErrorKind::Other,
    }
}

/// A description as plain data.
pub(super) fn description(d: lifecycle::Description) -> Description {
    Description {
        name: d.name,
        version: d.version,
        summary: d.summary,
        schemes: d.schemes,
        csi_drivers: d.csi_drivers,
        options: d.options.into_iter().map(option).collect(),
        network: NetworkNeeds {
            http: d.network.http,
            tcp: d.network.tcp,
            templates: d
                .network
                .templates
                .into_iter()
                .map(|t| EndpointTemplate { origin: t.origin, read_methods: t.read_methods })
                .collect(),
            revealed_addresses: d.network.revealed_addresses,
        },
    }
}

fn option(spec: options::OptionSpec) -> OptionSpec {
    let kind = match spec.kind {
        options::OptionKind::Text => OptionKind::Text,
        options::OptionKind::Integer(rule) => OptionKind::Integer { min: rule.min, max: rule.max },
        options::OptionKind::Boolean => OptionKind::Boolean,
        options::OptionKind::Size => OptionKind::Size,
        options::OptionKind::Duration => OptionKind::Duration,
        options::OptionKind::Choice(words) => OptionKind::Choice(words),
        options::OptionKind::Endpoint(rule) => OptionKind::Endpoint(EndpointRule {
            protocols: rule.protocols,
            default_port: rule.default_port,
            many: rule.many,
            read_methods: rule.read_methods,
        }),
        options::OptionKind::Secret(rule) => {
            OptionKind::Secret { reveal: rule.reveal, sent_to: rule.sent_to }
        }
        options::OptionKind::FileContent => OptionKind::FileContent,
    };
    OptionSpec {
        name: spec.name,
        aliases: spec.aliases,
        kind,
        required: spec.required,
        default: spec.default,
        doc: spec.doc,
    }
}

/// The capabilities of an object store; `None` for those of another kind.
pub(super) fn object_capabilities(given: capabilities::ProviderCapabilities) -> Option<ObjectCapabilities> {
    let capabilities::ProviderCapabilities::Objects(given) = given else { return None };
    Some(ObjectCapabilities {
        listing: Listing {
            ordered: given.listing.ordered,
            delimiter: given.listing.delimiter,
            start_after: given.listing.start_after,
            page: given.listing.page,
            consistent: given.listing.consistent,
        },
        pinning: match given.pinning {
            capabilities::Pinning::None => Pinning::None,
            capabilities::Pinning::Current => Pinning::Current,
            capabilities::Pinning::History => Pinning::History,
        },
        ranges: given.ranges,
        max_key: given.max_key,
    })
}

/// The capabilities of a block store; `None` for those of another kind.
pub(super) fn block_capabilities(given: capabilities::ProviderCapabilities) -> Option<BlockCapabilities> {
    let capabilities::ProviderCapabilities::Blocks(given) = given else { return None };
    let promised = |operation| given.operations.contains(operation);
    Some(BlockCapabilities {
        snapshots: promised(capabilities::BlockOperations::SNAPSHOTS),
        extents: promised(capabilities::BlockOperations::EXTENTS),
        max_transfer: given.max_transfer,
    })
}
