//! The shared part of the option table, and what a plugin for Ceph asks of the network.

use wasmount_sdk::{Description, EndpointRule, Options};

/// Options that say where the cluster is, who asks there, and how connections are protected. A plugin adds its own.
#[must_use]
pub fn options() -> Options {
    let monitors = EndpointRule {
        protocols: vec!["tcp".into()],
        default_port: wasmount_ceph::mon::PORT,
        many: true,
        read_methods: vec![],
    };
    let options = Options::new()
        .endpoint_with(
            "monitors",
            monitors,
            "The cluster's monitors, `HOST` or `HOST:PORT` separated by commas, where `mountPoint` names none. Their port is 3300; where \
             6789 is written, the port of the old protocol, 3300 on the same host is tried, with a warning.",
        )
        .text(
            "mon-host",
            "The monitors in any form that ceph.conf allows for `mon_host`, such as `[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]`; beside a \
             `mountPoint` that names some, too. Several *names* belong into `monitors`: only addresses may be reached without being named \
             there.",
        )
        .alias("mon_host")
        .text(
            "csi-config",
            "The list of clusters that ceph-csi has in `config.json` (`[{\"clusterID\": …, \"monitors\": […]}]`), to take the monitors from. \
             From a file: its name below /etc/fluid/secrets, or `-o csi-config-file=PATH` on the command line.",
        )
        .text("cluster-id", "Which cluster of that list. For a volume of ceph-csi, the volume says it.")
        .alias("clusterID")
        .text(
            "fsid",
            "Id of the cluster (`ceph fsid`). If it is given, a cluster with another one is refused.",
        );
    protection(identity(options))
}

fn identity(options: Options) -> Options {
    options
        .text("user", "Who to be: `admin` for `client.admin`.")
        .alias("id")
        .alias("name")
        .alias("userID")
        .alias("adminID")
        .default_value("admin")
        .secret(
            "key",
            "The user's key (`ceph auth get-key client.NAME`). The plugin has to see it: a cephx key decrypts tickets, which the host cannot \
             do for it. It is sent nowhere. When its file changes, the new key is used with the next session.",
        )
        .reveal()
        .alias("userKey")
        .alias("adminKey")
        .secret(
            "keyring",
            "A keyring with the user's key in it, as in /etc/ceph/ceph.client.NAME.keyring, instead of `key`. The plugin has to see it for the \
             same reason.",
        )
        .reveal()
        .text(
            "auth-client-required",
            "As in ceph.conf: `cephx`, or `none` for a cluster that believes everybody and gives no keys.",
        )
        .alias("auth_client_required")
        .text("auth-cluster-required", "Accepted for manifests made from a ceph.conf: it concerns daemons only.")
        .alias("auth_cluster_required")
        .text("auth-service-required", "Accepted for manifests made from a ceph.conf: it concerns daemons only.")
        .alias("auth_service_required")
        .text(
            "mon-initial-members",
            "Accepted for manifests made from a ceph.conf: names of the first monitors, which no client needs.",
        )
        .alias("mon_initial_members")
}

fn protection(options: Options) -> Options {
    options
        .choice(
            "ms-mode",
            &["auto", "crc", "secure", "prefer-crc", "prefer-secure"],
            "How connections are protected: by checksums, or by encryption, which costs processor time. `auto` is what Ceph's own clients do: \
             encryption with monitors, checksums with all others, whatever the cluster insists on.",
        )
        .alias("ms_mode")
        .default_value("auto")
        .boolean("read-only", "Accepted for manifests that have it: a mount of this plugin only reads.")
        .alias("readOnly")
        .default_value("true")
}

/// Asks for the monitors in mount point and options, and for the daemons they tell of: `why` is the reason that operators see.
#[must_use]
pub fn network(description: Description, why: &str) -> Description {
    description
        .speaks_tcp()
        // With the port that is written, or with the usual one: of each pair, only one is an address.
        .origin_template("tcp://{mount-host}", &[])
        .origin_template("tcp://{mount-host}:3300", &[])
        .origin_template("tcp://{mon-host}", &[])
        .origin_template("tcp://{mon-host}:3300", &[])
        .revealed_addresses(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmount_sdk::OptionKind;

    #[test]
    fn every_name_in_use_is_known() {
        let specs = options().into_specs();
        let names: Vec<&str> = specs
            .iter()
            .flat_map(|spec| spec.aliases.iter().chain([&spec.name]).map(String::as_str))
            .collect();
        let seed = [
            "fsid",
            "mon_initial_members",
            "mon_host",
            "auth_cluster_required",
            "auth_service_required",
            "auth_client_required",
            "key",
        ];
        let others = [
            "id",
            "name",
            "user",
            "keyring",
            "ms_mode",
            "userID",
            "userKey",
            "adminID",
            "adminKey",
            "clusterID",
        ];
        for name in seed.into_iter().chain(others) {
            assert!(names.contains(&name), "{name}");
        }
    }

    #[test]
    fn secrets_are_seen_and_it_is_said_why() {
        for spec in options().into_specs() {
            if let OptionKind::Secret(rule) = spec.kind {
                assert!(rule.reveal && spec.doc.contains("has to see it"), "{}", spec.name);
            }
        }
    }
}
