//! `ceph-fuzz-seeds DIR` writes the seeds of each target into DIR/TARGET; without an argument it lists the targets.

use std::path::Path;

use anyhow::{Context, Result};
use wasmount_ceph_fuzz::TARGETS;

fn main() -> Result<()> {
    let directory = std::env::args_os().nth(1);
    for target in TARGETS {
        let Some(directory) = &directory else {
            println!("{}", target.name);
            continue;
        };
        let directory = Path::new(directory).join(target.name);
        std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        for (index, seed) in (target.seeds)()?.iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{index}")), seed)?;
        }
    }
    Ok(())
}
