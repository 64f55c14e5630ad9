//! The keys of a mount, which may be replaced in their files at any time.

use crate::options::missing_keys;
use std::cell::RefCell;
use std::rc::Rc;
use wasmount_sdk::sigv4::{Identity, Signer, Unsigned};
use wasmount_sdk::{Error, Result, Secret, Settings, Timestamp};

/// Who signs the requests of a mount.
#[derive(Debug)]
pub enum Credentials {
    /// Nobody.
    Anonymous,
    /// The owner of a pair of keys.
    Keys(Keys),
}

/// A pair of keys, and the token that belongs to it if it is temporary.
#[derive(Debug)]
pub struct Keys {
    access: Secret,
    secret: Secret,
    token: Option<Secret>,
    clear: RefCell<Option<Rc<Clear>>>,
}

/// What is sent in clear, and the generations of the secrets it was read from.
#[derive(Debug)]
struct Clear {
    generations: (u64, Option<u64>),
    access: String,
    token: Option<String>,
}

/// The generations of all secrets at the time of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generations {
    access: u64,
    secret: u64,
    token: Option<u64>,
}

impl Credentials {
    /// Takes the secrets out of the settings.
    ///
    /// # Errors
    /// `invalid`: a pair that is not complete, or a key with characters that cannot be sent; `denied`: the operator refuses to
    /// show a key to the plugin.
    pub fn new(settings: &mut Settings, anonymous: bool) -> Result<Self> {
        if anonymous {
            return Ok(Self::Anonymous);
        }
        let access = settings.optional_secret("access-key")?;
        let secret = settings.optional_secret("secret-key")?;
        let token = settings.optional_secret("session-token")?;
        match (access, secret) {
            (Some(access), Some(secret)) => {
                let keys = Keys { access, secret, token, clear: RefCell::default() };
                keys.clear()?;
                Ok(Self::Keys(keys))
            }
            (access, secret) => Err(missing_keys(access.is_some(), secret.is_some())),
        }
    }

    /// The headers that make a request authentic.
    ///
    /// # Errors
    /// As [`Self::new`], when a file has changed to something unusable.
    pub fn sign(
        &self,
        signer: &Signer,
        request: &Unsigned<'_>,
        now: Timestamp,
    ) -> Result<Vec<(String, String)>> {
        let Self::Keys(keys) = self else { return Ok(Vec::new()) };
        let clear = keys.clear()?;
        let identity = Identity {
            access_key: &clear.access,
            secret: &keys.secret,
            session_token: clear.token.as_deref(),
        };
        signer.sign(&identity, request, now)
    }

    /// Which secrets the next request will be signed with.
    pub fn generations(&self) -> Option<Generations> {
        let Self::Keys(keys) = self else { return None };
        Some(Generations {
            access: keys.access.generation(),
            secret: keys.secret.generation(),
            token: keys.token.as_ref().map(Secret::generation),
        })
    }

    /// Reads the files again after the store refused a request. Whether anything is new, so that it is worth signing again.
    ///
    /// # Errors
    /// `unauthenticated` or what else keeps the host from reading the files.
    pub async fn refresh(&self, rejected: Option<Generations>) -> Result<bool> {
        let (Self::Keys(keys), Some(rejected)) = (self, rejected) else { return Ok(false) };
        // All of them: a rotation replaces the pair, and half of it is worth nothing.
        let access = keys.access.refresh(rejected.access).await?;
        let secret = keys.secret.refresh(rejected.secret).await?;
        let token = match (&keys.token, rejected.token) {
            (Some(token), Some(generation)) => Some(token.refresh(generation).await?),
            _ => None,
        };
        Ok(Generations { access, secret, token } != rejected)
    }
}

impl Keys {
    /// Access key and token, revealed once for each generation.
    fn clear(&self) -> Result<Rc<Clear>> {
        let generations = (self.access.generation(), self.token.as_ref().map(Secret::generation));
        if let Some(clear) = self.clear.borrow().as_ref().filter(|clear| clear.generations == generations) {
            return Ok(clear.clone());
        }
        let access = header_value("access-key", self.access.reveal())?;
        if access.is_empty() {
            return Err(Error::invalid("option access-key is empty: put the access key ID into its file"));
        }
        let token =
            self.token.as_ref().map(|token| header_value("session-token", token.reveal())).transpose()?;
        let clear = Rc::new(Clear { generations, access, token: token.filter(|token| !token.is_empty()) });
        self.clear.replace(Some(clear.clone()));
        Ok(clear)
    }
}

/// A revealed secret as part of a header.
fn header_value(option: &str, revealed: Result<Vec<u8>>) -> Result<String> {
    let bytes = revealed.map_err(|error| error.context(format!("option {option}")))?;
    match String::from_utf8(bytes) {
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text),
        _ => Err(Error::invalid(format!(
            "option {option} has characters that no key has: look for spaces, line ends or quotes in its file"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_header_can_carry() {
        assert_eq!(header_value("access-key", Ok(b"AKIA/+=".to_vec())).unwrap(), "AKIA/+=");
        for bad in [&b"a b"[..], b"a\n", b"\"a\"\r\n", b"\xff", "é".as_bytes()] {
            let error = header_value("access-key", Ok(bad.to_vec())).unwrap_err();
            assert!(error.message.starts_with("option access-key has characters"), "{}", error.message);
        }
    }

    #[test]
    fn a_refusal_to_reveal_names_the_option() {
        let error = header_value("session-token", Err(Error::denied("the operator refused"))).unwrap_err();
        assert_eq!(error.message, "option session-token: the operator refused");
    }
}
