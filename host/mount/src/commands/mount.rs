//! `wasmount mount`: one source by hand.
//!
//! Who types this is the operator: an endpoint they name may be reached wherever it is, without `--allow-net`. For
//! options the plugin host sees to that; here it is done for a SOURCE that is a URL itself.

use crate::cli::MountArgs;
use crate::commands::run::operator_options;
use crate::config::raw::{RawConfig, RawMount};
use crate::config::sources::{ArgOption, Shared};
use crate::fluid::target;
use crate::logging;
use crate::wire::{self, Plan};
use serde_json::json;
use std::collections::BTreeMap;
use wasmount_core::mounts::Layout;

/// Mounts SOURCE and serves until the end.
///
/// # Errors
/// Whatever keeps the mount from being made. A store that cannot be reached does not: the mount waits for it.
pub(crate) async fn run(args: MountArgs) -> anyhow::Result<()> {
    logging::init(&args.common.log)?;
    let target = target::by_hand(&args.target)?;
    let mut options = operator_options(&args.common.option)?;
    for text in &args.o {
        options.extend(ArgOption::parse_list(text).map_err(anyhow::Error::msg)?);
    }
    let mount = RawMount {
        mount_point: args.source.clone(),
        name: Some("source".to_owned()),
        entry: json!({"mountPoint": args.source}),
        ..RawMount::default()
    };
    let implied_rules = origin(&args.source).into_iter().collect();
    let config = RawConfig { mounts: vec![mount], ..RawConfig::default() };
    let shared = Shared::new(None, &BTreeMap::new(), options);
    let plan = Plan { config, target, layout: Layout::Root, shared, implied_rules };
    wire::serve(plan, args.common).await
}

/// `host:port` of an HTTP URL.
fn origin(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let default_port = match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let has_port = match host_port.rfind(']') {
        Some(end) => host_port[end..].contains(':'),
        None => host_port.contains(':'),
    };
    if host_port.is_empty() {
        return None;
    }
    Some(if has_port { host_port.to_owned() } else { format!("{host_port}:{default_port}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmount_net::AllowNet;

    #[test]
    fn a_source_that_is_a_url_may_be_reached() {
        for (source, rule) in [
            ("http://user:pw@files.example/dir", "files.example:80"),
            ("HTTP://127.0.0.1:9000", "127.0.0.1:9000"),
            ("https://[::1]?x", "[::1]:443"),
            ("https://[::1]:8443/x", "[::1]:8443"),
        ] {
            assert_eq!(origin(source).as_deref(), Some(rule));
            AllowNet::parse(rule).unwrap();
        }
        for none in ["s3://bucket/prefix", "http:///x", "bucket"] {
            assert_eq!(origin(none), None, "{none}");
        }
    }
}
