//! Reading: from `read(offset, size)` to a few large requests, ahead of the reader.
//!
//! `plan` is the arithmetic, `window` decides what to fetch for which handle, `flight` fetches a part and resumes it when
//! it breaks, `part` holds the bytes, `memory` the budget and the blocks of all handles. A cache of blocks belongs between
//! `window` and `flight`: it would answer `flight::Source::fetch` without a request.

mod config;
mod flight;
mod memory;
mod part;
mod plan;
mod reader;
mod window;

pub use config::ReadConfig;
pub use memory::ReadMemory;
pub use reader::FileReader;
