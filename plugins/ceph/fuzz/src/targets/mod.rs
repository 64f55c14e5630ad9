//! What is fuzzed.

mod auth;
mod maps;
mod mds;
mod messages;
mod session;
mod text;

use crate::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "mon_host", run: text::mon_host, seeds: text::mon_host_seeds, tables: 0 },
    Target { name: "keyring", run: text::keyring, seeds: text::keyring_seeds, tables: 0 },
    Target { name: "stream", run: session::stream, seeds: session::stream_seeds, tables: 0 },
    Target { name: "session", run: session::session, seeds: session::session_seeds, tables: 0 },
    Target { name: "cephx", run: auth::cephx, seeds: auth::cephx_seeds, tables: 0 },
    Target { name: "monmap", run: maps::monmap, seeds: maps::monmap_seeds, tables: 0 },
    Target { name: "osdmap", run: maps::osdmap, seeds: maps::osdmap_seeds, tables: 0 },
    Target {
        name: "incremental",
        run: maps::incremental,
        seeds: maps::incremental_seeds,
        tables: maps::OSD_TABLES,
    },
    Target { name: "crush", run: maps::crush, seeds: maps::crush_seeds, tables: 0 },
    Target { name: "mon_messages", run: messages::mon, seeds: messages::mon_seeds, tables: 0 },
    Target { name: "osd_messages", run: messages::osd, seeds: messages::osd_seeds, tables: 0 },
    Target { name: "mdsmap", run: mds::mdsmap, seeds: mds::mdsmap_seeds, tables: 0 },
    Target { name: "mds_reply", run: mds::reply, seeds: mds::reply_seeds, tables: 0 },
    Target { name: "mds_messages", run: mds::messages, seeds: mds::messages_seeds, tables: 0 },
    Target { name: "mds_sessions", run: mds::sessions, seeds: mds::sessions_seeds, tables: 0 },
];
