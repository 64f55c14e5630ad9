//! What a component is, read from its type before any of it runs.
//!
//! A component built from a world of `wit/` imports and exports interfaces with names like
//! `wasmount:plugin/objects@0.1.0`. The exports tell the kind and the version of the contract, the imports what the
//! host must offer. What this host does not offer is refused here, by name, instead of by a linker's message.

use std::fmt;
use std::path::Path;
use wasmount_types::{Blame, Error, ErrorKind};

/// Package of the contract.
const PACKAGE: &str = "wasmount:plugin/";

/// Version of the contract that this host speaks.
pub const CONTRACT: &str = "0.1";

/// Interfaces of the contract that a component of any kind may import.
const OFFERED: [&str; 10] =
    ["types", "buffers", "secrets", "options", "capabilities", "http", "tcp", "crypto", "log", "system"];

/// Those that a file system may import besides.
const OFFERED_TO_FILES: [&str; 1] = ["notify"];

/// Packages of WASI 0.2 that are linked; what they offer is empty but for clocks and random numbers.
const WASI: [&str; 6] =
    ["wasi:io/", "wasi:clocks/", "wasi:random/", "wasi:cli/", "wasi:filesystem/", "wasi:sockets/"];

/// Shape of the storage a plugin serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object store.
    Objects,
    /// A file system.
    Files,
    /// A store of block images.
    Blocks,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Objects => f.write_str("object store"),
            Self::Files => f.write_str("file system"),
            Self::Blocks => f.write_str("block store"),
        }
    }
}

/// `NAME@VERSION` taken apart; the version is empty if there is none.
fn split(full: &str) -> (&str, &str) {
    full.split_once('@').unwrap_or((full, ""))
}

fn spoken(version: &str) -> bool {
    version
        .strip_prefix(CONTRACT)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|patch| patch.parse::<u32>().is_ok())
}

/// Finds the kind of a component from the names of its imports and exports.
///
/// # Errors
/// `unsupported` or `invalid`, saying what is wrong with this file and what to do.
pub(crate) fn of<'a>(
    path: &Path,
    imports: impl Iterator<Item = &'a str>,
    exports: impl Iterator<Item = &'a str>,
) -> Result<Kind, Error> {
    let refuse = |kind, what: String| {
        Err(Error::new(kind, Blame::Plugin, format!("plugin {}: {what}", path.display())))
    };
    let mut found = Vec::new();
    for export in exports {
        let Some(name) = export.strip_prefix(PACKAGE) else { continue };
        let (name, version) = split(name);
        if !spoken(version) {
            return refuse(
                ErrorKind::Unsupported,
                format!(
                    "built for wasmount:plugin@{version}, this host speaks {CONTRACT}.x; use a plugin or a host of the other version"
                ),
            );
        }
        found.push(name);
    }
    let exported = |name: &str| found.contains(&name);
    let kind = match (exported("objects"), exported("files"), exported("blocks")) {
        (true, false, false) => Kind::Objects,
        (false, true, false) => Kind::Files,
        (false, false, true) => Kind::Blocks,
        (false, false, false) => {
            return refuse(
                ErrorKind::Invalid,
                "this component is not a wasmount plugin: it exports none of `objects`, `files` and `blocks` of wasmount:plugin@0.1.0".into(),
            );
        }
        _ => {
            return refuse(
                ErrorKind::Invalid,
                format!(
                    "it must export exactly one of `objects`, `files` and `blocks`, and exports {}",
                    found.join(", ")
                ),
            );
        }
    };
    let (kind_name, world, needed): (_, _, &[&str]) = match kind {
        // The world demands the write half too; a store that can only be read answers `unsupported` there.
        Kind::Objects => ("objects", "object-store", &["lifecycle", "objects-write"]),
        Kind::Files => ("files", "file-system", &["lifecycle"]),
        Kind::Blocks => ("blocks", "block-store", &["lifecycle"]),
    };
    if let Some(missing) = needed.iter().find(|needed| !exported(needed)) {
        return refuse(
            ErrorKind::Invalid,
            format!("it exports `{kind_name}` but not `{missing}`; build it from the world `{world}`"),
        );
    }
    for import in imports {
        if let Err(what) = check_import(kind, import) {
            return refuse(ErrorKind::Unsupported, what);
        }
    }
    Ok(kind)
}

fn check_import(kind: Kind, import: &str) -> Result<(), String> {
    if let Some(name) = import.strip_prefix(PACKAGE) {
        let (name, version) = split(name);
        let offered = OFFERED.contains(&name) || (kind == Kind::Files && OFFERED_TO_FILES.contains(&name));
        return if !spoken(version) {
            Err(format!("it imports `{import}`, this host speaks {CONTRACT}.x"))
        } else if offered {
            Ok(())
        } else {
            Err(format!(
                "it needs `{name}` (imports {import}), which this version of wasmount does not offer to a plugin that is a {kind}"
            ))
        };
    }
    let (_, version) = split(import);
    if WASI.iter().any(|package| import.starts_with(package)) {
        return if version.starts_with("0.2.") {
            Ok(())
        } else {
            Err(format!("it imports `{import}`; of WASI, this host offers version 0.2"))
        };
    }
    if import.starts_with("wasi:http/") {
        return Err(format!(
            "it imports `{import}`; a plugin reaches the network through wasmount:plugin/http only"
        ));
    }
    Err(format!("it imports `{import}`, which this host does not offer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: [&str; 3] = [
        "wasmount:plugin/lifecycle@0.1.0",
        "wasmount:plugin/objects@0.1.0",
        "wasmount:plugin/objects-write@0.1.0",
    ];

    const FILES: [&str; 2] = ["wasmount:plugin/lifecycle@0.1.0", "wasmount:plugin/files@0.1.0"];

    const BLOCKS: [&str; 2] = ["wasmount:plugin/lifecycle@0.1.0", "wasmount:plugin/blocks@0.1.0"];

    fn of(imports: &[&str], exports: &[&str]) -> Result<Kind, String> {
        super::of(Path::new("p.wasm"), imports.iter().copied(), exports.iter().copied())
            .map_err(|e| e.message)
    }

    #[test]
    fn each_kind_is_accepted_with_what_it_may_import() {
        assert_eq!(
            of(&["wasmount:plugin/http@0.1.0", "wasi:clocks/wall-clock@0.2.6"], &STORE),
            Ok(Kind::Objects)
        );
        assert_eq!(of(&["wasmount:plugin/types@0.1.7"], &STORE), Ok(Kind::Objects));
        assert_eq!(of(&["wasmount:plugin/types@0.1.0"], &BLOCKS), Ok(Kind::Blocks));
        assert_eq!(of(&["wasmount:plugin/notify@0.1.0"], &FILES), Ok(Kind::Files));
        let own_protocol = ["wasmount:plugin/tcp@0.1.0", "wasmount:plugin/crypto@0.1.0"];
        assert_eq!(of(&own_protocol, &STORE), Ok(Kind::Objects));
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        let cases: &[(&[&str], &[&str], &str)] = &[
            (&[], &[], "not a wasmount plugin"),
            (&[], &["wasi:cli/run@0.2.0"], "not a wasmount plugin"),
            (
                &[],
                &["wasmount:plugin/objects@0.2.0"],
                "built for wasmount:plugin@0.2.0, this host speaks 0.1.x",
            ),
            (&[], &["wasmount:plugin/objects@0.10.0"], "built for wasmount:plugin@0.10.0"),
            (&[], &["wasmount:plugin/files@0.1.0"], "exports `files` but not `lifecycle`"),
            (&[], &["wasmount:plugin/blocks@0.1.0"], "exports `blocks` but not `lifecycle`"),
            (&["wasmount:plugin/notify@0.1.0"], &BLOCKS, "it needs `notify`"),
            (&[], &["wasmount:plugin/blocks@0.1.0", "wasmount:plugin/objects@0.1.0"], "exactly one"),
            (&[], &STORE[..2], "not `objects-write`"),
            (&["wasmount:plugin/cache@0.1.0"], &STORE, "it needs `cache`"),
            (&["wasmount:plugin/cache@0.1.0"], &FILES, "to a plugin that is a file system"),
            (&["wasmount:plugin/notify@0.1.0"], &STORE, "it needs `notify`"),
            (&["wasmount:plugin/http@0.3.0"], &STORE, "this host speaks 0.1.x"),
            (&["wasi:http/outgoing-handler@0.2.0"], &STORE, "wasmount:plugin/http only"),
            (&["wasi:clocks/wall-clock@0.3.0"], &STORE, "version 0.2"),
            (&["evil:thing/x@1.0.0"], &STORE, "`evil:thing/x@1.0.0`, which this host does not offer"),
        ];
        for (imports, exports, expected) in cases {
            let message = of(imports, exports).unwrap_err();
            assert!(message.starts_with("plugin p.wasm: ") && message.contains(expected), "{message}");
        }
    }
}
