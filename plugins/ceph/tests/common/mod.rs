//! What several tests share.
#![allow(dead_code, unreachable_pub, reason = "each test takes a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

pub mod frames;
pub mod mds;
pub mod native;
pub mod pcap;
pub mod script;
