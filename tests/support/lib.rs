//! What the whole-program tests stand on: real and scripted servers, the program under test, and its inputs.
//!
//! Four kinds of origin: [`minio`] and [`ceph`] are the real things, built or installed once outside the repository; [`s3_embedded`] is an
//! S3 server inside this process, good enough for the demo; [`scripted`] is a server that does exactly what a
//! test tells it, including what no honest server does. [`mount`] runs `target/release/wasmount` as a process of
//! its own, reads its log, and never leaves it or its mount behind. Everything that is started is stopped by its
//! process id, and every wait in here has a bound.

pub mod bounded;
pub mod cache;
pub mod ceph;
pub mod config;
pub mod containers;
pub mod fluid;
pub mod keys;
pub mod kubelet;
pub mod listing;
pub mod live;
pub mod minio;
pub mod mount;
pub mod mountinfo;
pub mod oidc;
pub mod paths;
pub mod plugin_tool;
pub mod port;
pub mod prng;
pub mod process;
pub mod registry;
pub mod s3;
pub mod s3_embedded;
pub mod scripted;
pub mod tls;
pub mod token_service;
pub mod tree;
