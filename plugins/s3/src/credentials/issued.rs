//! Temporary credentials, as a service has issued them.

use std::fmt;
use wasmount_sdk::sigv4::ClearSecret;
use wasmount_sdk::{Error, Result};

/// Longest part of a set of credentials, in bytes. A session token of AWS has about 1 KiB and no promised limit; a header of more than
/// this is refused by most servers.
const LONGEST: usize = 16 << 10;

/// What a service has answered, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The key's name.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
    /// What proves that the pair is a temporary one. Services that hand out lasting keys leave it out.
    pub token: Option<String>,
    /// Until when they are accepted, in seconds since 1970; `None`: until they are refused.
    pub expires: Option<i64>,
}

impl fmt::Debug for Fetched {
    /// Without what is secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Fetched").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Fetched {
    /// Checks that all parts can be sent in headers.
    ///
    /// # Errors
    /// `corrupt`, without repeating a part.
    pub fn checked(self) -> Result<Self> {
        let token = self.token.filter(|token| !token.is_empty());
        let parts = [
            ("access key", Some(&self.access_key)),
            ("secret key", Some(&self.secret_key)),
            ("token", token.as_ref()),
        ];
        for (name, text) in parts {
            let fine = text.is_none_or(|text| {
                (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
            });
            if !fine {
                return Err(Error::corrupt(format!(
                    "the answer has no usable {name}: it is empty, longer than {LONGEST} bytes, or has characters that no header has"
                )));
            }
        }
        Ok(Self { token, ..self })
    }
}

/// Credentials in use.
#[derive(Debug)]
pub struct Issued {
    /// The key's name, sent in clear.
    pub access_key: String,
    /// The key.
    pub secret: ClearSecret,
    /// Sent with each request.
    pub token: Option<String>,
    /// Seconds since 1970; `None`: until they are refused.
    pub expires: Option<i64>,
    /// Different for different credentials of a mount.
    pub generation: u64,
}

impl Issued {
    /// Takes an answer into use.
    pub fn new(fetched: Fetched, generation: u64) -> Self {
        Self {
            access_key: fetched.access_key,
            secret: ClearSecret::new(fetched.secret_key, generation),
            token: fetched.token,
            expires: fetched.expires,
            generation,
        }
    }

    /// Whether an answer brought the same ones again.
    pub fn is_same(&self, fetched: &Fetched) -> bool {
        self.access_key == fetched.access_key
            && self.token == fetched.token
            && self.secret.is(&fetched.secret_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(access: &str, secret: &str, token: Option<&str>) -> Fetched {
        Fetched {
            access_key: access.into(),
            secret_key: secret.into(),
            token: token.map(Into::into),
            expires: None,
        }
    }

    #[test]
    fn only_what_a_header_can_carry() {
        assert_eq!(fetched("A", "s/+=", Some("t")).checked().unwrap().token.as_deref(), Some("t"));
        assert_eq!(fetched("A", "s", Some("")).checked().unwrap().token, None);
        let long = "x".repeat(LONGEST + 1);
        for (access, secret, token, named) in [
            ("", "s", None, "access key"),
            ("A\r\nx: y", "s", None, "access key"),
            ("A", "", None, "secret key"),
            ("A", "hunter2 ", None, "secret key"),
            ("A", "s", Some("é"), "token"),
            ("A", "s", Some(&*long), "token"),
        ] {
            let error = fetched(access, secret, token).checked().unwrap_err();
            assert!(error.message.contains(&format!("no usable {named}")), "{}", error.message);
            assert!(!error.message.contains("hunter2"));
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let shown = format!("{:?}", Issued::new(fetched("A", "hunter2", None), 1));
        assert!(!shown.contains("hunter2"), "{shown}");
        let shown = format!("{:?}", fetched("A", "hunter2", Some("t0ken")));
        assert!(!shown.contains("hunter2") && !shown.contains("t0ken"), "{shown}");
    }

    #[test]
    fn the_same_ones_are_recognised() {
        let issued = Issued::new(fetched("A", "s", Some("t")), 1);
        assert!(issued.is_same(&fetched("A", "s", Some("t"))));
        for other in [fetched("B", "s", Some("t")), fetched("A", "S", Some("t")), fetched("A", "s", None)] {
            assert!(!issued.is_same(&other));
        }
    }
}
