//! What a new configuration means for each mount.

use crate::config::resolved::Resolved;
use crate::plugins::load::Loaded;
use wasmount_types::MountId;

/// From the mounts in force to the next ones.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Diff {
    /// Of each of the next mounts, in their order, whether it is there already, exactly like this.
    pub(crate) stays: Vec<bool>,
    /// Names of those that nobody knew.
    pub(crate) added: Vec<String>,
    /// Names of those that are to go.
    pub(crate) removed: Vec<String>,
    /// Names of those that are replaced.
    pub(crate) changed: Vec<String>,
    /// Index of one that is wrong in itself, or wants the place of another, and did not do so before.
    pub(crate) broken: Option<usize>,
}

impl Diff {
    /// Compares what was written, where mounts are, and which plugins serve them.
    pub(crate) fn new(active: &[Resolved<Loaded>], next: &[Resolved<Loaded>]) -> Self {
        Self::with(active, next, |plugin| plugin.digest().to_string())
    }

    fn with<P>(active: &[Resolved<P>], next: &[Resolved<P>], digest: impl Fn(&P) -> String) -> Self {
        let named = |mounts: &[Resolved<P>], id: &MountId| mounts.iter().position(|mount| mount.id == *id);
        let mut diff = Self::default();
        for (index, mount) in next.iter().enumerate() {
            let before = named(active, &mount.id).and_then(|at| active.get(at));
            let stays = before.is_some_and(|before| same(before, mount, &digest));
            let name = mount.id.to_string();
            match before {
                Some(_) if stays => {}
                Some(_) => diff.changed.push(name),
                None => diff.added.push(name),
            }
            if mount.misplaced && !stays {
                diff.broken.get_or_insert(index);
            }
            diff.stays.push(stays);
        }
        let gone = active.iter().filter(|mount| named(next, &mount.id).is_none());
        diff.removed = gone.map(|mount| mount.id.to_string()).collect();
        diff
    }
}

fn same<P>(a: &Resolved<P>, b: &Resolved<P>, digest: impl Fn(&P) -> String) -> bool {
    let alike = match (&a.serves, &b.serves) {
        (Ok(a), Ok(b)) => digest(&a.plugin) == digest(&b.plugin),
        (Err(a), Err(b)) => a == b,
        _ => false,
    };
    alike && a.place == b.place && a.written == b.written
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
