//! Reading: from `read(offset, size)` to a few large requests, ahead of the reader.
//!
//! A `file` is one version of one object or image, whose bytes a `source` gives; all its handles share what is in memory or under way (`part`,
//! `content`). A handle's `window` decides what to fetch next: sequential runs (`stream`) are fetched ahead, up to where another one has begun (`runs`), reads at a constant distance
//! (`stride`) are expected, scattered ones get what they ask for, then growing blocks (`scatter`), then the rest of the file
//! (`fill`). `flight` fetches a part, from the disk cache (`disk`) as far as that has it, and resumes it when it breaks; what the disk cache had no room
//! for is fetched again when nothing else is under way (`mend`).
//! `memory` is the budget of all of them, `blocks` what it is spent on, `kept` what is given up first.

mod blocks;
mod config;
mod content;
mod disk;
mod file;
mod fill;
mod flight;
mod gather;
mod kept;
mod memory;
mod mend;
mod part;
mod piece;
mod plan;
mod reader;
mod reading;
mod runs;
mod scatter;
mod source;
mod stats;
mod stream;
mod stride;
mod window;

pub use config::ReadConfig;
pub(crate) use content::Taking;
pub(crate) use file::File;
pub(crate) use reader::FileReader;
pub(crate) use reading::Reading;
pub(crate) use source::{Fetched, PIECE, Source, Wanted};
pub use stats::ReadStats;
