//! What is in force, for people: the file `.wasmount/config`.

use crate::config::resolved::{Resolved, Served};
use crate::config::size;
use crate::logging;
use crate::plugins::load::Loaded;
use crate::wire::process::Process;
use serde_json::{Map, Value, json};
use std::path::Path;
use wasmount_plugin::{OptionKind, WrittenOption};

/// The configuration as JSON. `file`: where it was read from.
pub(crate) fn config(process: &Process, file: Option<&Path>, mounts: &[Resolved<Loaded>]) -> Value {
    let (args, memory) = (&process.args, process.memory);
    let cache = args.cache_dir.as_ref().map(|dir| {
        json!({
            "dir": dir,
            "size": args.cache_size.map(size::show),
            "minFreePercent": args.cache_min_free,
        })
    });
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "file": file,
        "target": process.target,
        "memory": {
            "total": size::show(memory.total),
            "reads": size::show(memory.reads),
            "plugins": size::show(memory.guests),
            "bodies": size::show(memory.bodies),
        },
        "cache": cache,
        "allowNet": args.allow_net,
        "network": { "connectionsPerOrigin": process.client.connections_per_origin() },
        "mounts": mounts.iter().map(mount).collect::<Vec<_>>(),
    })
}

/// The text of the file, without secrets. `generation`: which configuration it is; `refused`: why what is in its file by now is not in
/// force.
pub(crate) fn text(config: &Value, generation: u64, refused: Option<&str>) -> String {
    let mut all = config.clone();
    if let Value::Object(map) = &mut all {
        map.insert("generation".to_owned(), json!(generation));
        map.insert("refused".to_owned(), json!(refused));
    }
    // What was a secret when it was read is one here, wherever else it was written.
    logging::redact_json(&mut all);
    format!("{all:#}\n")
}

fn mount(mount: &Resolved<Loaded>) -> Value {
    let mut shown = json!({
        "name": mount.id.as_str(),
        "place": mount.place.to_string(),
        "mountPoint": mount.mount_point,
        "uid": mount.files.uid,
        "gid": mount.files.gid,
        "attrTtlSeconds": mount.files.attr_ttl.as_secs_f64(),
        "consistency": format!("{:?}", mount.files.consistency).to_lowercase(),
    });
    match &mount.serves {
        Ok(served) => {
            shown["plugin"] = json!({
                "name": served.plugin.description().name,
                "version": served.plugin.description().version,
                "digest": served.plugin.digest().to_string(),
            });
            shown["requestTimeoutSeconds"] = json!(served.request_timeout.as_secs_f64());
            shown["options"] = Value::Object(options(served));
        }
        Err(error) => shown["error"] = json!(error.message),
    }
    shown
}

/// The options that hold: values, or the files they stand in; of secrets and of what the plugin does not know only that they are there.
fn options(served: &Served<Loaded>) -> Map<String, Value> {
    let (described, written) = (served.plugin.description(), &served.spec.options);
    let value = |option: &WrittenOption<'_>| match (option.file(), &option.spec.kind) {
        (Some(file), _) => json!(format!("(the content of {file})")),
        (None, OptionKind::Secret { .. } | OptionKind::FileContent) => json!("(hidden)"),
        // An endpoint with a password in it is refused, and not shown before.
        (None, OptionKind::Endpoint(_)) if option.input.value.contains('@') => json!("(hidden)"),
        (None, _) => json!(option.shown()),
    };
    let in_force = described.in_force(written);
    let known = in_force.iter().map(|option| (option.spec.name.clone(), value(option)));
    let unknown = written.iter().filter(|option| !described.knows(option));
    unknown
        .map(|option| (option.name.clone(), json!("(unknown to the plugin, hidden)")))
        .chain(known)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmount_net::SecretsDir;

    #[test]
    fn a_secret_that_json_spells_otherwise_is_hidden() {
        let secrets = SecretsDir::with_redactor("/nonexistent", logging::redactor());
        let word = "pa\"ss\\wo\nrd-canary";
        let secret = secrets.secret("secret-key", word).unwrap();
        let config = json!({"mounts": [{"options": {"region": format!("eu {word}"), word: "x"}}]});
        let text = text(&config, 7, Some(&format!("refused for {word}")));
        assert!(!text.contains("canary"), "{text}");
        let shown: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(shown["mounts"][0]["options"], json!({"region": "eu [redacted]", "[redacted]": "x"}));
        assert_eq!((&shown["generation"], &shown["refused"]), (&json!(7), &json!("refused for [redacted]")));
        drop(secret);
    }
}
