//! HTTP through the host's connection pools.
//!
//! The host owns DNS, TLS, proxies and time limits and decides which origins may be reached; the plugin owns what it says there.
//! Every status is an `Ok` response: [`Response::success`] turns those that are not wanted into errors with the right advice.
//!
//! ```no_run
//! use wasmount_sdk::{Result, http::Request};
//!
//! async fn motd() -> Result<String> {
//!     let response = Request::get("https://files.example.com/motd").send().await?;
//!     response.success("cannot read /motd")?.text(64 << 10).await
//! }
//! ```

mod entity;
mod range;
mod request;
mod response;

pub use entity::{parse_etag, quote_etag};
pub use range::{ContentRange, range_header};
pub use request::Request;
pub use response::Response;
