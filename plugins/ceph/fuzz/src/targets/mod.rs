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
    Target { name: "mon_host", run: text::mon_host, seeds: text::mon_host_seeds },
    Target { name: "keyring", run: text::keyring, seeds: text::keyring_seeds },
    Target { name: "stream", run: session::stream, seeds: session::stream_seeds },
    Target { name: "session", run: session::session, seeds: session::session_seeds },
    Target { name: "cephx", run: auth::cephx, seeds: auth::cephx_seeds },
    Target { name: "monmap", run: maps::monmap, seeds: maps::monmap_seeds },
    Target { name: "osdmap", run: maps::osdmap, seeds: maps::osdmap_seeds },
    Target { name: "incremental", run: maps::incremental, seeds: maps::incremental_seeds },
    Target { name: "crush", run: maps::crush, seeds: maps::crush_seeds },
    Target { name: "mon_messages", run: messages::mon, seeds: messages::mon_seeds },
    Target { name: "osd_messages", run: messages::osd, seeds: messages::osd_seeds },
    Target { name: "mdsmap", run: mds::mdsmap, seeds: mds::mdsmap_seeds },
    Target { name: "mds_reply", run: mds::reply, seeds: mds::reply_seeds },
    Target { name: "mds_messages", run: mds::messages, seeds: mds::messages_seeds },
    Target { name: "mds_sessions", run: mds::sessions, seeds: mds::sessions_seeds },
];
