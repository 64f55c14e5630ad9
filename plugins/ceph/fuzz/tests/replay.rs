//! Every seed, every prefix of it, and everything that fuzzing has found before.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use wasmount_ceph_fuzz::{TARGETS, Target};

/// Prefixes are tried at this many lengths at most.
const PREFIXES: usize = 400;

/// One test, alone in its process: what it allocates is counted.
#[test]
fn every_known_input_is_read_within_its_means() -> Result<()> {
    seeds_and_their_prefixes()?;
    what_fuzzing_has_found()
}

fn seeds_and_their_prefixes() -> Result<()> {
    for target in TARGETS {
        let seeds = (target.seeds)().context(target.name)?;
        ensure!(!seeds.is_empty(), "{} has no seed", target.name);
        for seed in seeds {
            let step = (seed.len() / PREFIXES).max(1);
            for length in (0..=seed.len()).step_by(step).chain([seed.len()]) {
                target.check(seed.get(..length).unwrap_or_default());
            }
        }
    }
    Ok(())
}

fn what_fuzzing_has_found() -> Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut inputs = 0;
    for directory in std::fs::read_dir(&corpus).with_context(|| corpus.display().to_string())? {
        let directory = directory?;
        if !directory.file_type()?.is_dir() {
            continue;
        }
        let name = directory.file_name().to_string_lossy().into_owned();
        let target = Target::named(&name).with_context(|| format!("corpus/{name} belongs to no target"))?;
        for input in std::fs::read_dir(directory.path())? {
            target.check(&std::fs::read(input?.path())?);
            inputs += 1;
        }
    }
    ensure!(inputs > 0, "an empty corpus");
    Ok(())
}
