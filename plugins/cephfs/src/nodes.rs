//! Numbers by which the host knows nodes.
//!
//! A live inode has its own number, and the root of the mount is 1 whatever it is. An inode as of a snapshot has a number of which inode
//! and snapshot are parts, as long as they are not too large for that, else one of a table.
//!
//! A new instance finds a live inode by its number alone. For one of a snapshot the MDS wants the path at which it was found, so one
//! instance leaves these to the next ([`Nodes::save`]).

use std::cell::RefCell;
use std::collections::BTreeMap;
use wasmount_ceph::cephfs::Vino;
use wasmount_ceph::encoding::{DecodeError, Decoder, Encoder};
use wasmount_ceph::mds::{FilePath, ino};
use wasmount_sdk::SavedState;
use wasmount_sdk::files::{Node, ROOT};

/// Name of the format of [`Nodes::save`].
const FORMAT: &str = "cephfs-nodes/1";
/// Most bytes that the host takes of an instance's state.
const MOST_STATE: usize = 16 << 20;
/// Set in numbers of what is not live. MDSs number inodes upwards from `1 << 40` times their rank.
const NOT_LIVE: u64 = 1 << 63;
/// Set in numbers that do not follow from the inode.
const COUNTED: u64 = 1 << 62;
/// Bits for the inode: those of the first 15 ranks.
const INO_BITS: u32 = 44;
/// Bits for the snapshot, of which the largest number stands for `.snap`. A file system counts all it ever had.
const SNAP_BITS: u32 = 62 - INO_BITS;
/// Stands for `.snap`.
const SNAP_DIR: u64 = (1 << SNAP_BITS) - 1;

/// All numbers that are in use.
#[derive(Debug)]
pub struct Nodes {
    root: Vino,
    table: RefCell<Table>,
}

/// What is referenced and is neither live nor the root.
#[derive(Debug, Default)]
struct Table {
    kept: BTreeMap<Node, Kept>,
    numbers: BTreeMap<Vino, Node>,
    /// The next number that does not follow from an inode, never used before.
    next: u64,
}

/// An entry of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    vino: Vino,
    references: u64,
    /// Where an earlier instance found it; `None`: this instance knows it by itself.
    path: Option<FilePath>,
}

impl Nodes {
    /// With this root, and what an instance before has left.
    #[must_use]
    pub fn new(root: Vino, state: Option<&SavedState>) -> Self {
        let known = state.filter(|state| state.format == FORMAT).and_then(|state| decode(&state.data).ok());
        let kept = known.unwrap_or_default();
        let own = NOT_LIVE | COUNTED;
        let counted = |node: Node| (node & own == own).then_some(node & !own);
        let next = kept.keys().filter_map(|node| counted(*node)).max().map_or(0, |last| last + 1);
        let numbers = kept.iter().map(|(node, kept)| (kept.vino, *node)).collect();
        Self { root, table: RefCell::new(Table { kept, numbers, next }) }
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Vino {
        self.root
    }

    /// The number of an inode that is now referenced once more.
    #[must_use]
    pub fn refer(&self, vino: Vino) -> Node {
        let plain = self.plain(vino);
        if let Some(node) = plain.filter(|node| node & NOT_LIVE == 0) {
            return node;
        }
        let table = &mut *self.table.borrow_mut();
        let node = *table.numbers.entry(vino).or_insert_with(|| {
            plain.unwrap_or_else(|| {
                table.next += 1;
                NOT_LIVE | COUNTED | (table.next - 1)
            })
        });
        let kept = table.kept.entry(node).or_insert(Kept { vino, references: 0, path: None });
        kept.references += 1;
        node
    }

    /// The number of an inode without referring to it; `None`: it has none.
    #[must_use]
    pub fn number(&self, vino: Vino) -> Option<Node> {
        self.plain(vino).or_else(|| self.table.borrow().numbers.get(&vino).copied())
    }

    /// The inode of a number; `None`: nobody gave such a number.
    #[must_use]
    pub fn vino(&self, node: Node) -> Option<Vino> {
        if node == ROOT {
            return Some(self.root);
        }
        let vino = match (node & NOT_LIVE != 0, node & COUNTED != 0) {
            (false, _) => Vino::head(node),
            (true, true) => return self.table.borrow().kept.get(&node).map(|kept| kept.vino),
            (true, false) => Vino {
                ino: node & ((1 << INO_BITS) - 1),
                snap: match (node & !NOT_LIVE) >> INO_BITS {
                    SNAP_DIR => ino::SNAP_DIR,
                    snap => snap,
                },
            },
        };
        // The root and what cannot be an inode have other numbers, or none.
        (self.plain(vino) == Some(node)).then_some(vino)
    }

    /// Where an earlier instance found an inode that this one has not looked for yet. Told once.
    #[must_use]
    pub fn take_path(&self, vino: Vino) -> Option<FilePath> {
        let table = &mut *self.table.borrow_mut();
        table.kept.get_mut(table.numbers.get(&vino)?)?.path.take()
    }

    /// Takes references back.
    pub fn forget(&self, node: Node, count: u64) {
        let table = &mut *self.table.borrow_mut();
        if let Some(kept) = table.kept.get_mut(&node) {
            kept.references = kept.references.saturating_sub(count);
            if kept.references == 0 {
                table.numbers.remove(&kept.vino);
                table.kept.remove(&node);
            }
        }
    }

    /// The number that applications see: of live inodes the one that all clients show.
    #[must_use]
    pub fn shown(&self, vino: Vino) -> u64 {
        if vino.is_head() { vino.ino } else { self.plain(vino).unwrap_or_else(|| mixed(vino)) }
    }

    /// What the next instance has to know; `path` is where this one has found an inode.
    #[must_use]
    pub fn save(&self, path: impl Fn(Vino) -> Option<FilePath>) -> Option<SavedState> {
        let table = self.table.borrow();
        let found = table.kept.iter().map(|(node, kept)| {
            let path = kept.path.clone().or_else(|| path(kept.vino)).unwrap_or_default();
            (node, kept, path)
        });
        let mut room = MOST_STATE - 64;
        // Who is left out is stale afterwards.
        let found: Vec<_> = found
            .take_while(|(.., path)| {
                let taken = room.checked_sub(64 + path.path.len());
                room = taken.unwrap_or(0);
                taken.is_some()
            })
            .collect();
        let mut encoder = Encoder::new();
        encoder.list(found.iter(), |encoder, (node, kept, path)| {
            encoder.u64(**node).u64(kept.vino.ino).u64(kept.vino.snap).u64(kept.references);
            encoder.u64(path.ino).blob(&path.path);
        });
        (!found.is_empty()).then(|| SavedState { format: FORMAT.into(), data: encoder.finish() })
    }

    /// A number that follows from the inode.
    fn plain(&self, vino: Vino) -> Option<Node> {
        let Vino { ino, snap } = vino;
        match snap {
            _ if vino == self.root => Some(ROOT),
            // The root of the file system, if that is not the mount's.
            _ if ino <= ROOT => None,
            ino::NO_SNAP => Some(ino).filter(|ino| ino & NOT_LIVE == 0),
            _ if ino >> INO_BITS != 0 => None,
            ino::SNAP_DIR => Some(NOT_LIVE | SNAP_DIR << INO_BITS | ino),
            snap => (snap < SNAP_DIR).then_some(NOT_LIVE | snap << INO_BITS | ino),
        }
    }
}

/// A number for what has none that follows from it, most likely one of its own (the finaliser of SplitMix64).
fn mixed(vino: Vino) -> u64 {
    let mut mixed = vino.ino ^ vino.snap.rotate_left(32);
    for factor in [0xbf58_476d_1ce4_e5b9_u64, 0x94d0_49bb_1331_11eb] {
        mixed = (mixed ^ mixed >> 30).wrapping_mul(factor);
    }
    mixed | NOT_LIVE | COUNTED
}

fn decode(data: &[u8]) -> Result<BTreeMap<Node, Kept>, DecodeError> {
    let mut decoder = Decoder::new("node numbers", data);
    let entries = decoder.list(|decoder| {
        let node = decoder.u64()?;
        let vino = Vino { ino: decoder.u64()?, snap: decoder.u64()? };
        let references = decoder.u64()?;
        let path = FilePath { ino: decoder.u64()?, path: decoder.blob()?.to_vec() };
        let path = Some(path).filter(|path| path.ino != 0);
        Ok((node, Kept { vino, references, path }))
    })?;
    Ok(entries.into_iter().filter(|(node, _)| node & NOT_LIVE != 0 && *node != u64::MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FS_ROOT: Vino = Vino::ROOT;
    const DIRECTORY: Vino = Vino::head(0x100_0000_0005);

    fn at(ino: u64, snap: u64) -> Vino {
        Vino { ino, snap }
    }

    #[test]
    fn the_root_is_one() {
        let whole = Nodes::new(FS_ROOT, None);
        assert_eq!((whole.refer(FS_ROOT), whole.vino(1)), (1, Some(FS_ROOT)));
        assert_eq!(whole.shown(FS_ROOT), 1);
        let part = Nodes::new(DIRECTORY, None);
        assert_eq!((part.refer(DIRECTORY), part.vino(1)), (1, Some(DIRECTORY)));
        assert_eq!(part.shown(DIRECTORY), DIRECTORY.ino);
        assert_eq!(part.vino(DIRECTORY.ino), None, "it has another number");
        let above = part.refer(FS_ROOT);
        assert_ne!(above, 1);
        assert_eq!((part.vino(above), part.shown(FS_ROOT)), (Some(FS_ROOT), 1));
    }

    #[test]
    fn what_an_instance_gave_the_next_one_knows() {
        let (huge, many) = (at(1 << 50, 7), at(DIRECTORY.ino, 1 << 40));
        let nodes = Nodes::new(FS_ROOT, None);
        let plain = [DIRECTORY, at(DIRECTORY.ino, 3), at(DIRECTORY.ino, ino::SNAP_DIR)];
        let told = [huge, many];
        let numbers: Vec<Node> = plain.iter().chain(&told).map(|vino| nodes.refer(*vino)).collect();
        let after_trap = Nodes::new(FS_ROOT, None);
        let path = |vino: Vino| Some(FilePath { ino: 1, path: format!("a/.snap/{vino}").into() });
        let after_swap = Nodes::new(FS_ROOT, nodes.save(path).as_ref());
        for (vino, number) in plain.into_iter().chain(told).zip(numbers) {
            assert_eq!(after_swap.vino(number), Some(vino));
            assert_eq!(after_trap.vino(number), Some(vino).filter(|vino| !told.contains(vino)));
        }
        assert_eq!(after_swap.take_path(huge), path(huge));
        assert_eq!((after_swap.take_path(huge), after_swap.take_path(plain[1])), (None, path(plain[1])));
        assert_eq!(after_swap.refer(huge), nodes.refer(huge));
        let other = after_swap.refer(at(1 << 50, 8));
        assert_eq!(nodes.vino(other), None, "a new number");
        let damaged = SavedState { format: FORMAT.into(), data: vec![1] };
        assert!(Nodes::new(FS_ROOT, Some(&damaged)).save(|_| None).is_none());
    }

    #[test]
    fn the_table_is_as_long_as_it_is_needed() {
        let nodes = Nodes::new(FS_ROOT, None);
        let huge = at(1 << 50, 7);
        assert_eq!(nodes.number(huge), None);
        let number = nodes.refer(huge);
        assert_eq!((nodes.refer(huge), nodes.number(huge)), (number, Some(number)));
        nodes.forget(number, 1);
        assert_eq!(nodes.vino(number), Some(huge));
        nodes.forget(number, 5);
        assert!(nodes.vino(number).is_none() && nodes.save(|_| None).is_none());
        assert_ne!(nodes.refer(huge), number, "never used again");
    }

    proptest! {
        /// Whatever it is, a number leads back to it, and applications see one number for one inode.
        #[test]
        fn numbers_lead_back(
            ino in prop_oneof![1..10_u64, (1 << 40)..(1_u64 << 45), 1..u64::MAX],
            snap in prop_oneof![0..1000_u64, 0..u64::MAX, Just(ino::NO_SNAP), Just(ino::SNAP_DIR)],
            other in 0..1000_u64,
        ) {
            let nodes = Nodes::new(DIRECTORY, None);
            let vino = at(ino, snap);
            let number = nodes.refer(vino);
            prop_assert_eq!(nodes.vino(number), Some(vino));
            prop_assert_eq!(nodes.number(vino), Some(number));
            if other != snap {
                prop_assert_ne!(nodes.refer(at(ino, other)), number);
                prop_assert_ne!(nodes.shown(at(ino, other)), nodes.shown(vino));
            }
        }

        /// No number of the host's makes anything but what has that number.
        #[test]
        fn wrong_numbers_are_nothing(number in any::<u64>()) {
            let nodes = Nodes::new(DIRECTORY, None);
            if let Some(vino) = nodes.vino(number) {
                prop_assert_eq!(nodes.number(vino), Some(number));
            }
        }
    }
}
