//! What a new configuration means for each mount.

use crate::config::resolved::Resolved;
use crate::plugins::load::Loaded;
use wasmount_plugin::{Description, MountSpec, OptionInput, OptionSource};
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
        Self::with(active, next, |plugin| (plugin.digest().to_string(), plugin.description()))
    }

    fn with<'a, P>(
        active: &'a [Resolved<P>],
        next: &'a [Resolved<P>],
        about: impl Fn(&'a P) -> (String, &'a Description),
    ) -> Self {
        let named = |mounts: &'a [Resolved<P>], id: &MountId| mounts.iter().find(|mount| mount.id == *id);
        let mut diff = Self::default();
        for (index, mount) in next.iter().enumerate() {
            let before = named(active, &mount.id);
            let stays = before.is_some_and(|before| same(before, mount, &about));
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

fn same<'a, P>(
    a: &'a Resolved<P>,
    b: &'a Resolved<P>,
    about: impl Fn(&'a P) -> (String, &'a Description),
) -> bool {
    let alike = match (&a.serves, &b.serves) {
        (Ok(a), Ok(b)) => {
            let ((digest, described), (other, _)) = (about(&a.plugin), about(&b.plugin));
            digest == other && effective(described, &a.spec) == effective(described, &b.spec)
        }
        (Err(a), Err(b)) => a == b,
        _ => false,
    };
    alike && a.place == b.place && a.written == b.written
}

/// The options that make a difference to a mount: `runtimeOptions` are written for all mounts together, and one that the plugin does not know, or that a
/// stronger place overrides, is nothing to this one.
fn effective<'a>(described: &'a Description, spec: &'a MountSpec) -> Vec<&'a OptionInput> {
    let unknown = |input: &&OptionInput| !described.knows(input);
    // The plugin is warned of these, or refused for them.
    let own = |input: &&OptionInput| matches!(input.source, OptionSource::Mount | OptionSource::Args);
    let in_force = described.in_force(&spec.options).into_iter().map(|written| written.input);
    in_force.chain(spec.options.iter().filter(unknown).filter(own)).collect()
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
