//! Where time went in one minute, in bounded memory.

use super::top::Top;
use super::{Total, Worst, nanos};
use std::sync::Arc;
use std::time::Duration;
use wasmount_types::Ino;

/// Nodes whose totals are kept. One that takes more than 1/128 of all the time is certainly among them.
const TOTALS: usize = 128;

/// Nodes whose worst operations are kept.
const WORST: usize = 32;

/// What belongs to a node beside its time.
struct Node {
    path: Arc<str>,
    inherited: u64,
    slow: u64,
}

/// One minute.
#[derive(Default)]
pub(super) struct Slice {
    /// By time in nanoseconds.
    totals: Top<Node, TOTALS>,
    /// By the latency of the worst operation in nanoseconds.
    worst: Top<(Arc<str>, Worst), WORST>,
}

impl Slice {
    /// Whether [`add`](Self::add) needs no path for this.
    pub(super) fn knows(&self, ino: Ino, worst: Option<&Worst>) -> bool {
        self.totals.contains(ino)
            && worst.is_none_or(|worst| !self.is_among_worst(worst) || self.worst.contains(ino))
    }

    /// Adds `time` to a node, and the operation that took it if it was slow by itself. The path is used if the node is new.
    pub(super) fn add(&mut self, ino: Ino, time: Duration, worst: Option<Worst>, path: Option<&Arc<str>>) {
        let slow = u64::from(worst.is_some());
        if let Some((total, node)) = self.totals.get_mut(ino) {
            *total = total.saturating_add(nanos(time));
            node.slow += slow;
        } else if let Some(path) = path {
            // The newcomer may have had as much as the one it displaces, before it was displaced itself ("space saving", Metwally,
            // Agrawal and El Abbadi 2005).
            let inherited = self.totals.least().unwrap_or(0);
            let node = Node { path: path.clone(), inherited, slow };
            self.totals.insert(ino, inherited.saturating_add(nanos(time)), node);
        }
        let Some(worst) = worst else { return };
        if !self.is_among_worst(&worst) {
            return;
        }
        let latency = nanos(worst.latency);
        if let Some((size, (_, known))) = self.worst.get_mut(ino) {
            if *size < latency {
                *size = latency;
                *known = worst;
            }
        } else if let Some(path) = path {
            self.worst.insert(ino, latency, (path.clone(), worst));
        }
    }

    pub(super) fn totals(&self) -> impl Iterator<Item = (Ino, Total)> {
        self.totals.iter().map(|(ino, time, node)| {
            let (time, inherited) = (Duration::from_nanos(time), Duration::from_nanos(node.inherited));
            (ino, Total { path: node.path.clone(), time, inherited, slow: node.slow })
        })
    }

    pub(super) fn worst(&self) -> impl Iterator<Item = (Ino, &(Arc<str>, Worst))> {
        self.worst.iter().map(|(ino, _, worst)| (ino, worst))
    }

    /// The worst operations of so many nodes are kept exactly: a node that was displaced comes back only with a worse one.
    fn is_among_worst(&self, worst: &Worst) -> bool {
        self.worst.least().is_none_or(|least| least < nanos(worst.latency))
    }
}
