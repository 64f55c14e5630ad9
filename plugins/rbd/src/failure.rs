//! Why an image cannot be opened or read, and what a person can do about it.

use crate::features::Features;
use wasmount_ceph::encoding::DecodeError;
use wasmount_ceph::rados::RadosError;
use wasmount_sdk::{Blame, Error, ErrorKind};

/// What is wrong with an image, or with a request about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// A request to the cluster failed.
    #[error(transparent)]
    Rados(#[from] RadosError),
    /// An answer of the OSD class cannot be understood.
    #[error("the cluster's answer is malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// It has features with which it cannot be read.
    #[error("it has features that this plugin cannot read: {0}")]
    Unreadable(Features),
    /// It is cut into objects in a way that is impossible.
    #[error("its header names {0}, which no image has")]
    Layout(String),
    /// It is a clone of a clone, and so on.
    #[error("it is the last of more than {0} clones of each other: flatten one of them (rbd flatten)")]
    TooDeep(usize),
    /// The snapshot it is a clone of cannot be opened.
    #[error("its parent, image id {image} in pool id {pool}, cannot be opened: {why}")]
    Parent {
        /// Pool of the parent.
        pool: i64,
        /// Id of the parent.
        image: String,
        /// Why not.
        why: Box<ImageError>,
    },
    /// A snapshot whose bytes were needed was removed meanwhile.
    #[error("snapshot id {snap} of image id {image} was removed")]
    Removed {
        /// Id of its image.
        image: String,
        /// Its id.
        snap: u64,
    },
    /// The name by which it was opened is another image's now, or nobody's.
    #[error("it was renamed or removed: its name leads to it no longer")]
    Renamed,
    /// The range is not inside the image.
    #[error("bytes {offset} to {end} are beyond its size of {size} bytes")]
    Beyond {
        /// Begin of the range.
        offset: u64,
        /// End of the range.
        end: u64,
        /// Size of the image.
        size: u64,
    },
}

impl ImageError {
    /// Whether it, or what was asked of it, does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Rados(RadosError::NotFound))
    }
}

/// Who asks where: for sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// Name of the pool.
    pub pool: String,
    /// Namespace in the pool; empty: the default one.
    pub namespace: String,
    /// User, as in `client.USER`.
    pub user: String,
}

impl Scene {
    /// `pool` or `pool/namespace`, as `rbd` writes it.
    #[must_use]
    pub fn spec(&self) -> String {
        if self.namespace.is_empty() {
            self.pool.clone()
        } else {
            format!("{}/{}", self.pool, self.namespace)
        }
    }

    /// The error for the host: `what` is the image, or what else was asked for.
    #[must_use]
    pub fn error(&self, what: &str, error: &ImageError) -> Error {
        let say = |kind, sentence: String| Error::new(kind, format!("{what}: {sentence}"));
        match error {
            ImageError::Rados(error) => self.rados(what, error),
            ImageError::Malformed(_) | ImageError::Layout(_) => say(ErrorKind::Corrupt, error.to_string()),
            // What is stored there is the reason, not what the application asked for: an administrator has to hear of it.
            ImageError::Unreadable(features) => {
                say(ErrorKind::Unsupported, format!("{error}; {}", remedy(*features))).blame(Blame::Origin)
            }
            ImageError::TooDeep(_) => say(ErrorKind::Unsupported, error.to_string()).blame(Blame::Origin),
            ImageError::Parent { why, .. } => {
                let inner = self.error("", why);
                Error { message: format!("{what}: {error}"), ..inner }
            }
            ImageError::Removed { .. } | ImageError::Renamed => say(ErrorKind::Stale, error.to_string()),
            ImageError::Beyond { .. } => say(ErrorKind::OutOfRange, error.to_string()),
        }
    }

    /// The same for a request that failed.
    #[must_use]
    pub fn rados(&self, what: &str, error: &RadosError) -> Error {
        let sentence = match error {
            RadosError::NotFound => format!("there is no such image in pool {}", self.spec()),
            RadosError::Denied => format!(
                "client.{user} may not read pool {pool}: allow it with `ceph auth caps client.{user} mon 'profile rbd' osd 'profile \
                 rbd-read-only pool={pool}{namespace}'`, or correct option user",
                user = self.user,
                pool = self.pool,
                namespace = if self.namespace.is_empty() {
                    String::new()
                } else {
                    format!(" namespace={}", self.namespace)
                },
            ),
            RadosError::PoolNotFound { .. } => {
                format!("{error}; correct the pool in mountPoint or option pool")
            }
            _ => error.to_string(),
        };
        wasmount_ceph_guest::error(error, format!("{what}: {sentence}"))
    }
}

/// What to do about features.
fn remedy(features: Features) -> &'static str {
    if features.has(Features::MIGRATING) {
        "finish the migration first (rbd migration commit)"
    } else if features.has(Features::DIRTY_CACHE) {
        "let the machine that wrote it flush its cache first (rbd persistent-cache flush)"
    } else {
        "use a newer version of this plugin, or disable them (rbd feature disable)"
    }
}

/// There is no pool of that name.
#[must_use]
pub fn no_pool(pool: &str, known: &[&str]) -> Error {
    let list = if known.is_empty() {
        "this cluster has no pools".to_owned()
    } else {
        format!("this cluster has {}", known.join(", "))
    };
    Error::not_found(format!("there is no pool {pool}: correct it in mountPoint or option pool ({list})"))
        .blame(Blame::Plugin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(namespace: &str) -> Scene {
        Scene { pool: "rbd".into(), namespace: namespace.into(), user: "u".into() }
    }

    #[test]
    fn sentences_name_the_remedy() {
        let error = |error: ImageError| scene("").error("image a", &error);
        let missing = error(RadosError::NotFound.into());
        assert_eq!(missing.message, "image a: there is no such image in pool rbd");
        assert_eq!(missing.kind, ErrorKind::NotFound);
        let refused = error(ImageError::Unreadable(Features::MIGRATING));
        assert_eq!((refused.kind, refused.blame), (ErrorKind::Unsupported, Blame::Origin));
        assert!(refused.message.contains("migrating") && refused.message.contains("rbd migration commit"));
        let refused = error(ImageError::Unreadable(Features(1 << 40)));
        assert!(refused.message.contains("unknown feature (bit 40)"), "{}", refused.message);
        let beyond = ImageError::Beyond { offset: 1, end: 2, size: 1 };
        assert_eq!(error(beyond).kind, ErrorKind::OutOfRange);
        assert_eq!(error(ImageError::Renamed).kind, ErrorKind::Stale);
        assert_eq!(error(ImageError::Removed { image: "abc".into(), snap: 5 }).kind, ErrorKind::Stale);
    }

    #[test]
    fn what_is_wrong_with_a_parent_keeps_its_kind() {
        let why = Box::new(ImageError::from(RadosError::Denied));
        let parent = ImageError::Parent { pool: 9, image: "abc".into(), why };
        let error = scene("").error("image a", &parent);
        assert_eq!(error.kind, ErrorKind::Denied);
        assert!(
            error.message.starts_with("image a: its parent, image id abc in pool id 9"),
            "{}",
            error.message
        );
    }

    #[test]
    fn missing_capabilities_are_spelled_out() {
        let denied = scene("ns").rados("image a", &RadosError::Denied);
        assert!(
            denied.message.contains("client.u may not read pool rbd: allow it with"),
            "{}",
            denied.message
        );
        assert!(denied.message.contains("pool=rbd namespace=ns'"), "{}", denied.message);
        let pool = no_pool("x", &["a", "b"]);
        assert_eq!(
            pool.message,
            "there is no pool x: correct it in mountPoint or option pool (this cluster has a, b)"
        );
    }
}
