//! File names as Linux has them: bytes, not text.

use std::fmt;
use std::sync::Arc;

/// Longest name of a directory entry in bytes (`NAME_MAX` of `linux/limits.h`).
pub const NAME_MAX: usize = 255;

/// One path component: 1 to [`NAME_MAX`] bytes, no `/`, no NUL, neither `.` nor `..`.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<[u8]>);

/// Why some bytes are no [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Empty, as between two slashes.
    #[error("the name is empty")]
    Empty,
    /// `.` or `..`, which the kernel resolves itself.
    #[error("the name is `.` or `..`")]
    Dots,
    /// Over [`NAME_MAX`] bytes.
    #[error("the name is longer than 255 bytes")]
    TooLong,
    /// Contains `/` or NUL.
    #[error("the name contains a slash or a NUL byte")]
    ForbiddenByte,
}

impl Name {
    /// Checks and keeps a name.
    ///
    /// # Errors
    /// Says which rule the bytes break.
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidName> {
        match bytes {
            [] => Err(InvalidName::Empty),
            b"." | b".." => Err(InvalidName::Dots),
            _ if bytes.len() > NAME_MAX => Err(InvalidName::TooLong),
            _ if bytes.iter().any(|b| matches!(b, b'/' | 0)) => Err(InvalidName::ForbiddenByte),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as text, if it is UTF-8: object keys are.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl std::borrow::Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        assert_eq!(Name::new(b""), Err(InvalidName::Empty));
        assert_eq!(Name::new(b"."), Err(InvalidName::Dots));
        assert_eq!(Name::new(b".."), Err(InvalidName::Dots));
        assert_eq!(Name::new(b"a/b"), Err(InvalidName::ForbiddenByte));
        assert_eq!(Name::new(b"a\0"), Err(InvalidName::ForbiddenByte));
        assert_eq!(Name::new(&[b'x'; 256]), Err(InvalidName::TooLong));
        assert!(Name::new(&[b'x'; 255]).is_ok());
        assert_eq!(Name::new(b"\xff\xfe").map(|n| n.as_str().is_none()), Ok(true));
        assert!(Name::new(b"...").is_ok());
    }
}
