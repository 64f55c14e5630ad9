//! The nodes with the largest numbers, in bounded memory.
//!
//! Numbers lie side by side, since looking through a hundred of them costs less than hashing one.

use wasmount_types::Ino;

/// At most `N` nodes, each with a number by which they are ranked and something that belongs to them.
pub(super) struct Top<T, const N: usize> {
    inos: Vec<Ino>,
    sizes: Vec<u64>,
    values: Vec<T>,
}

impl<T, const N: usize> Default for Top<T, N> {
    fn default() -> Self {
        Self { inos: Vec::new(), sizes: Vec::new(), values: Vec::new() }
    }
}

impl<T, const N: usize> Top<T, N> {
    /// Number and value of a node.
    pub(super) fn get_mut(&mut self, ino: Ino) -> Option<(&mut u64, &mut T)> {
        let index = self.inos.iter().position(|other| *other == ino)?;
        Some((self.sizes.get_mut(index)?, self.values.get_mut(index)?))
    }

    pub(super) fn contains(&self, ino: Ino) -> bool {
        self.inos.contains(&ino)
    }

    /// The smallest number, if there is no room for another node.
    pub(super) fn least(&self) -> Option<u64> {
        if self.inos.len() < N { None } else { self.sizes.iter().copied().min() }
    }

    /// Adds a node that is not there, in place of the one with the smallest number if there is no room.
    pub(super) fn insert(&mut self, ino: Ino, size: u64, value: T) {
        if let Some(least) = self.least()
            && let Some(index) = self.sizes.iter().position(|size| *size == least)
        {
            self.inos.swap_remove(index);
            self.sizes.swap_remove(index);
            self.values.swap_remove(index);
        }
        self.inos.push(ino);
        self.sizes.push(size);
        self.values.push(value);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Ino, u64, &T)> {
        let sized = self.inos.iter().zip(&self.sizes);
        sized.zip(&self.values).map(|((ino, size), value)| (*ino, *size, value))
    }
}
