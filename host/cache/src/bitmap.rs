//! Which pages are there: one bit each, read and set by many threads.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bits are allocated when the first one is set: a file that is opened and never cached costs nothing.
pub(crate) struct Bitmap {
    pages: u64,
    words: OnceLock<Box<[AtomicU64]>>,
    present: AtomicU64,
}

impl Bitmap {
    pub(crate) fn new(pages: u64) -> Self {
        Self { pages, words: OnceLock::new(), present: AtomicU64::new(0) }
    }

    fn words(&self) -> &[AtomicU64] {
        self.words.get_or_init(|| (0..self.pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    /// How many pages are there.
    pub(crate) fn present(&self) -> u64 {
        // Bits go before the sum: one that is set and cleared by two threads at once may be taken off before it is added.
        (self.present.load(Ordering::Relaxed) as i64).max(0) as u64
    }

    /// Whether all are.
    pub(crate) fn complete(&self) -> bool {
        self.present() >= self.pages
    }

    /// Marks `from..to`; how many of them are new.
    pub(crate) fn set(&self, from: u64, to: u64) -> u64 {
        let mut new = 0;
        self.each(from, to, |word, mask| {
            new += u64::from((mask & !word.fetch_or(mask, Ordering::Release)).count_ones());
        });
        self.present.fetch_add(new, Ordering::Release);
        new
    }

    /// Takes `from..to` away; how many of them were there.
    pub(crate) fn clear(&self, from: u64, to: u64) -> u64 {
        if self.words.get().is_none() {
            return 0;
        }
        let mut gone = 0;
        self.each(from, to, |word, mask| {
            gone += u64::from((mask & word.fetch_and(!mask, Ordering::AcqRel)).count_ones());
        });
        self.present.fetch_sub(gone, Ordering::Release);
        gone
    }

    fn each(&self, from: u64, to: u64, mut visit: impl FnMut(&AtomicU64, u64)) {
        let words = self.words();
        let (mut at, to) = (from, to.min(self.pages));
        while at < to {
            let end = (at / 64 * 64 + 64).min(to);
            let mask = (u64::MAX >> (64 - (end - at))) << (at % 64);
            visit(&words[(at / 64) as usize], mask);
            at = end;
        }
    }

    /// End of the run of pages that are there from `from` on, at most `to`.
    pub(crate) fn run(&self, from: u64, to: u64) -> u64 {
        let Some(words) = self.words.get() else { return from };
        let (mut at, to) = (from, to.min(self.pages));
        while at < to {
            let word = words[(at / 64) as usize].load(Ordering::Acquire) >> (at % 64);
            let run = u64::from(word.trailing_ones());
            at += run;
            if run == 0 || at % 64 != 0 {
                break;
            }
        }
        at.min(to).max(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn like_a_list_of_booleans(
            pages in 1u64..400,
            steps in proptest::collection::vec((any::<bool>(), 0u64..420, 0u64..420), 1..40),
        ) {
            let bitmap = Bitmap::new(pages);
            let mut model = vec![false; pages as usize];
            for (set, a, b) in steps {
                let (from, to) = (a.min(b).min(pages), a.max(b));
                let range = from as usize..to.min(pages) as usize;
                let changed = model[range.clone()].iter().filter(|&&there| there != set).count() as u64;
                model[range].fill(set);
                prop_assert_eq!(if set { bitmap.set(from, to) } else { bitmap.clear(from, to) }, changed);
                let run = model[from as usize..].iter().take_while(|&&there| there).count() as u64;
                prop_assert_eq!(bitmap.run(from, pages + 9), from + run);
                prop_assert_eq!(bitmap.present(), model.iter().filter(|&&there| there).count() as u64);
                prop_assert_eq!(bitmap.complete(), model.iter().all(|&there| there));
            }
        }
    }
}
