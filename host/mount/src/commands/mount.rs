//! `wasmount mount`: one source by hand.
//!
//! Who types this is the operator: an endpoint they name may be reached wherever it is, without `--allow-net`. For
//! options the plugin host sees to that; here it is done for a SOURCE that is a URL itself.

use crate::background::Background;
use crate::cli::MountArgs;
use crate::commands::dry_run;
use crate::commands::run::operator_options;
use crate::config::host_volumes::Reserved;
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
    let implied_rules = origins(&args.source);
    let config = RawConfig { mounts: vec![mount], ..RawConfig::default() };
    let shared = Shared::new(None, &BTreeMap::new(), options);
    let background =
        args.background.then(|| Background { source: args.source.clone(), log: args.background_log.clone() });
    let (layout, reserved) = (Layout::Root, Reserved::default());
    let plan = Plan { config, file: None, target, layout, shared, reserved, implied_rules, background };
    match args.common.dry_run {
        Some(format) => dry_run::run(plan, args.common, format).await,
        None => wire::serve(plan, args.common).await,
    }
}

/// `host:port` of what a source names: the server of an HTTP URL; otherwise, of the hosts between commas, those with a port. A name
/// without one is a bucket, or something else that only a plugin understands.
fn origins(text: &str) -> Vec<String> {
    let Some((scheme, rest)) = text.split_once("://") else { return Vec::new() };
    let default_port = match scheme.to_ascii_lowercase().as_str() {
        "http" => Some(80_u16),
        "https" => Some(443),
        _ => None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let rule = |host: &str| {
        // An address of version 6 has colons of its own.
        let port =
            host.get(host.rfind(']').unwrap_or(0)..)?.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match (port, default_port) {
            (Some(Ok(_)), _) => Some(host.to_owned()),
            (None, Some(port)) if !host.is_empty() => Some(format!("{host}:{port}")),
            _ => None,
        }
    };
    hosts.split(',').filter_map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmount_net::AllowNet;

    #[test]
    fn a_source_that_is_a_url_may_be_reached() {
        let cases: [(&str, &[&str]); 8] = [
            ("http://user:pw@files.example/dir", &["files.example:80"]),
            ("HTTP://127.0.0.1:9000", &["127.0.0.1:9000"]),
            ("https://[::1]?x", &["[::1]:443"]),
            ("https://[::1]:8443/x", &["[::1]:8443"]),
            ("rbd://10.0.0.1:3300,[fd00::2]:3300/pool/image@snap", &["10.0.0.1:3300", "[fd00::2]:3300"]),
            ("rbd://mon-a,10.0.0.2:6789/pool", &["10.0.0.2:6789"]),
            ("rbd://[fd00::2]/pool", &[]),
            ("s3://bucket/a:80", &[]),
        ];
        for (source, rules) in cases {
            assert_eq!(origins(source), rules, "{source}");
            rules.iter().for_each(|rule| drop(AllowNet::parse(rule).unwrap()));
        }
        for none in ["http:///x", "bucket", "rbd://mon:x/pool"] {
            assert!(origins(none).is_empty(), "{none}");
        }
    }
}
