//! How many names are known not to exist.

use super::Vino;
use std::collections::BTreeMap;

/// Directories that know such names, and how many; and how many these are together, which is asked whenever anything has happened.
#[derive(Debug, Default)]
pub(super) struct Absent {
    of: BTreeMap<Vino, usize>,
    all: usize,
}

impl Absent {
    /// A directory knows so many now.
    pub(super) fn note(&mut self, dir: Vino, count: usize) {
        let before = if count > 0 { self.of.insert(dir, count) } else { self.of.remove(&dir) };
        self.all = self.all + count - before.unwrap_or(0);
    }

    /// All together.
    pub(super) fn all(&self) -> usize {
        self.all
    }

    /// Directories that know any.
    pub(super) fn directories(&self) -> Vec<Vino> {
        self.of.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_the_sum() {
        let mut absent = Absent::default();
        for step in 0..1_000_u64 {
            absent.note(Vino::head(step * 7 % 13), (step * 31 % 5) as usize);
            assert_eq!(absent.all(), absent.of.values().sum::<usize>(), "{step}");
        }
        for dir in absent.directories() {
            absent.note(dir, 0);
        }
        assert_eq!((absent.all(), absent.of.len()), (0, 0));
    }
}
