//! What it costs to place placement groups: `cargo run --release --example placements OSDMAP…`, with files as `ceph
//! osd getmap` writes them.

use std::hint::black_box;
use std::time::{Duration, Instant};
use wasmount_ceph::osdmap::{OsdMap, PgId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in std::env::args().skip(1) {
        let bytes = std::fs::read(&file)?;
        let start = Instant::now();
        let map = OsdMap::decode(&bytes)?;
        let decoding = start.elapsed();
        let pgs: Vec<PgId> = map
            .pools()
            .flat_map(|(pool, info)| (0..info.pg_num).map(move |seed| PgId { pool, seed }))
            .collect();
        let (mut placed, start) = (0_u32, Instant::now());
        while start.elapsed() < Duration::from_secs(1) && !pgs.is_empty() {
            for &pg in &pgs {
                black_box(map.place(black_box(pg)));
                placed += 1;
            }
        }
        let each = start.elapsed() / placed.max(1);
        println!(
            "{file}: epoch {}, {} bytes read in {decoding:?}, {} OSDs, {each:?} per placement",
            map.epoch,
            bytes.len(),
            map.max_osd()
        );
    }
    Ok(())
}
