//! Bucket and prefix of a mount point such as `s3://bucket/some/prefix`.

use wasmount_sdk::{Error, Result};

/// Where in a store the mount begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The bucket.
    pub bucket: String,
    /// What all keys of the mount begin with: empty, or ending in `/`. Never part of a key the host sees.
    pub prefix: String,
}

impl Location {
    /// Parses what follows `s3://`. A prefix means a directory, so a missing slash at its end is added. It is taken
    /// literally: `?`, `#` and `%` are characters of keys here.
    ///
    /// # Errors
    /// `invalid`: no bucket, or one with characters that no store allows.
    pub fn parse(location: &str) -> Result<Self> {
        let (bucket, prefix) = location.split_once('/').unwrap_or((location, ""));
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        if bucket.is_empty() || bucket.len() > 255 || !bucket.chars().all(allowed) || bucket.starts_with('.')
        {
            return Err(Error::invalid(format!(
                "mountPoint names no bucket that can exist ({bucket:?}): write s3://BUCKET or s3://BUCKET/PREFIX"
            )));
        }
        if bucket.ends_with("--x-s3") {
            return Err(Error::unsupported(format!(
                "bucket {bucket} is an S3 Express directory bucket, which needs a session protocol this plugin does not speak: \
                 use a general purpose bucket"
            )));
        }
        let mut prefix = prefix.to_owned();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        Ok(Self { bucket: bucket.to_owned(), prefix })
    }

    /// The store's key for a key of the mount.
    pub fn key(&self, key: &str) -> String {
        [self.prefix.as_str(), key].concat()
    }

    /// The mount's key for a key of the store; empty for the marker of the mount's own directory.
    ///
    /// # Errors
    /// `corrupt`: the store answered with a key that was not asked for.
    pub fn strip<'a>(&self, key: &'a str) -> Result<&'a str> {
        key.strip_prefix(self.prefix.as_str()).ok_or_else(|| {
            Error::corrupt(format!(
                "the store listed {key:?}, which does not begin with {:?} as asked",
                self.prefix
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (String, String) {
        let location = Location::parse(text).unwrap();
        (location.bucket, location.prefix)
    }

    #[test]
    fn prefixes_are_directories() {
        assert_eq!(parse("b"), ("b".into(), String::new()));
        assert_eq!(parse("b/"), ("b".into(), String::new()));
        assert_eq!(parse("b/p"), ("b".into(), "p/".into()));
        assert_eq!(parse("b/p/q/"), ("b".into(), "p/q/".into()));
        assert_eq!(parse("b//p"), ("b".into(), "/p/".into()));
        assert_eq!(parse("b/a?x=1#50%"), ("b".into(), "a?x=1#50%/".into()));
    }

    #[test]
    fn impossible_buckets_are_refused() {
        for bad in ["", "/p", "a b", "user@b", "..", "b?x", "中"] {
            assert!(Location::parse(bad).unwrap_err().message.contains("mountPoint"), "{bad}");
        }
        assert!(Location::parse("data--use1-az4--x-s3").unwrap_err().message.contains("directory bucket"));
    }

    #[test]
    fn keys_lose_the_prefix_and_nothing_else() {
        let location = Location::parse("b/p").unwrap();
        assert_eq!(location.key("p/x"), "p/p/x");
        assert_eq!(location.strip("p/p/x").unwrap(), "p/x");
        assert_eq!(location.strip("p/").unwrap(), "");
        assert!(location.strip("q/x").is_err());
    }
}
