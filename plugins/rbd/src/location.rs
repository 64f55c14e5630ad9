//! What a mount point such as `rbd://10.0.0.1,10.0.0.2/pool/namespace/image@snapshot` names.

use wasmount_sdk::{Error, Result};

/// Monitors, pool and image, each as far as it is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// Monitors, as they are written.
    pub monitors: Option<String>,
    /// Name of the pool.
    pub pool: Option<String>,
    /// Name of the namespace in it.
    pub namespace: Option<String>,
    /// Name of the only image to show.
    pub image: Option<String>,
    /// Name of the only snapshot to show of it.
    pub snapshot: Option<String>,
}

/// How mount points are written.
const FORM: &str = "write rbd://MON[,MON]/POOL, then /IMAGE or /NAMESPACE/IMAGE for one image (with @SNAPSHOT for one of its \
                    snapshots), or /NAMESPACE/ for a namespace";

impl Location {
    /// Parses what follows `rbd://`. One name after the pool is an image as with `rbd`, or, with a slash behind it, a namespace. Names are
    /// taken literally.
    ///
    /// # Errors
    /// `invalid`: too many names, or an empty one.
    pub fn parse(location: &str) -> Result<Self> {
        let (monitors, path) = location.split_once('/').unwrap_or((location, ""));
        let malformed = |what: &str| Error::invalid(format!("mountPoint rbd://{location} {what}: {FORM}"));
        let (names, directory) = match path.strip_suffix('/') {
            Some(names) => (names, true),
            None => (path, false),
        };
        let names: Vec<&str> = if names.is_empty() { Vec::new() } else { names.split('/').collect() };
        if names.iter().any(|name| name.is_empty()) {
            return Err(malformed("has an empty name in it"));
        }
        let (pool, namespace, image) = match (names.as_slice(), directory) {
            ([], _) => (None, None, None),
            ([pool], _) => (Some(*pool), None, None),
            ([pool, namespace], true) => (Some(*pool), Some(*namespace), None),
            ([pool, image], false) => (Some(*pool), None, Some(*image)),
            ([pool, namespace, image], _) => (Some(*pool), Some(*namespace), Some(*image)),
            _ => return Err(malformed("has too many names")),
        };
        let (image, snapshot) = match image {
            Some(image) => {
                let (image, snapshot) =
                    split_image(image).ok_or_else(|| malformed("has an empty name in it"))?;
                (Some(image), snapshot)
            }
            None => (None, None),
        };
        Ok(Self {
            monitors: Some(monitors.to_owned()).filter(|monitors| !monitors.is_empty()),
            pool: pool.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
            image,
            snapshot,
        })
    }
}

/// `IMAGE` or `IMAGE@SNAPSHOT`; `None` if one of them is empty.
pub fn split_image(text: &str) -> Option<(String, Option<String>)> {
    let (image, snapshot) = match text.split_once('@') {
        Some((image, snapshot)) => (image, Some(snapshot)),
        None => (text, None),
    };
    (!image.is_empty() && snapshot != Some("")).then(|| (image.to_owned(), snapshot.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> [Option<String>; 5] {
        let found = Location::parse(text).unwrap();
        [found.monitors, found.pool, found.namespace, found.image, found.snapshot]
    }

    fn names<const N: usize>(names: [&str; N]) -> [Option<String>; N] {
        names.map(|name| Some(name.to_owned()).filter(|name| name != "-"))
    }

    #[test]
    fn every_form() {
        for (text, expected) in [
            ("10.0.0.1,10.0.0.2:3300/pool", ["10.0.0.1,10.0.0.2:3300", "pool", "-", "-", "-"]),
            ("mon/pool/", ["mon", "pool", "-", "-", "-"]),
            ("mon/pool/img", ["mon", "pool", "-", "img", "-"]),
            ("mon/pool/img@snap", ["mon", "pool", "-", "img", "snap"]),
            ("mon/pool/ns/", ["mon", "pool", "ns", "-", "-"]),
            ("mon/pool/ns/img", ["mon", "pool", "ns", "img", "-"]),
            ("[fd00::1]:3300/pool/ns/img@s", ["[fd00::1]:3300", "pool", "ns", "img", "s"]),
            ("/pool/img", ["-", "pool", "-", "img", "-"]),
            ("/", ["-", "-", "-", "-", "-"]),
            ("", ["-", "-", "-", "-", "-"]),
        ] {
            assert_eq!(parse(text), names(expected), "{text}");
        }
    }

    #[test]
    fn mistakes_are_refused_with_the_form() {
        for bad in ["mon/p/n/i/x", "mon//i", "mon/p//i", "mon/p/i@", "mon/p/@s", "mon/p/n/@s"] {
            let error = Location::parse(bad).unwrap_err();
            assert!(error.message.contains("write rbd://MON"), "{bad}: {}", error.message);
        }
    }
}
