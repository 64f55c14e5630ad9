//! A pair of keys that options name, and whose files may be replaced at any time.

use crate::options::missing_keys;
use std::cell::RefCell;
use std::rc::Rc;
use wasmount_sdk::{Error, ErrorKind, Result, Secret, Settings, system};

/// For how long a request waits for new files when the store has begun to refuse keys that it used to accept: whoever rotates keys
/// does not replace both sides at the same moment.
const GRACE_MS: u64 = 20 * 1000;
/// How often the files are looked at meanwhile; the host looks at most once per second.
const LOOK_MS: u64 = 1000;

/// The pair, and the token that belongs to it if it is temporary.
#[derive(Debug)]
pub struct Keys {
    access: Secret,
    secret: Secret,
    token: Option<Secret>,
    clear: RefCell<Option<Rc<Clear>>>,
    grace: RefCell<Grace>,
}

/// What is sent in clear, and the generations of the secrets it was read from.
#[derive(Debug)]
pub struct Clear {
    /// Of all secrets at the time.
    pub generations: Generations,
    /// The access key.
    pub access: String,
    /// The session token.
    pub token: Option<String>,
}

/// Which state of its files a request was signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generations {
    access: u64,
    secret: u64,
    token: Option<u64>,
}

impl Keys {
    /// Takes the secrets out of the settings.
    ///
    /// # Errors
    /// `invalid`: a pair that is not complete, or a key with characters that cannot be sent; `denied`: the operator refuses to
    /// show a key to the plugin.
    pub fn new(settings: &mut Settings) -> Result<Self> {
        let access = settings.optional_secret("access-key")?;
        let secret = settings.optional_secret("secret-key")?;
        let token = settings.optional_secret("session-token")?;
        match (access, secret) {
            (Some(access), Some(secret)) => {
                let keys =
                    Self { access, secret, token, clear: RefCell::default(), grace: RefCell::default() };
                keys.clear()?;
                Ok(keys)
            }
            (access, secret) => Err(missing_keys(access.is_some(), secret.is_some())),
        }
    }

    /// The secret key.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Access key and token, revealed once for each generation.
    ///
    /// # Errors
    /// As [`Self::new`], when a file has changed to something unusable.
    pub fn clear(&self) -> Result<Rc<Clear>> {
        let generations = self.generations();
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

    fn generations(&self) -> Generations {
        Generations {
            access: self.access.generation(),
            secret: self.secret.generation(),
            token: self.token.as_ref().map(Secret::generation),
        }
    }

    /// The store has accepted these.
    pub fn accepted(&self, generations: Generations) {
        self.grace.borrow_mut().accepted(generations);
    }

    /// Reads the files again after the store refused a request, or may have (not `certain`). Whether anything is new, so that it is worth
    /// signing again. Where keys have worked before, others are waited for, once.
    ///
    /// # Errors
    /// What keeps the host from reading the files; `interrupted`.
    pub async fn renewed(&self, refused: Generations, certain: bool) -> Result<bool> {
        if self.read_again(refused).await? != refused {
            return Ok(true);
        }
        let (began, accepted) = (system::monotonic_ms(), self.grace.borrow().accepted);
        // Who accepts them meanwhile says that it is not the keys: one of several servers does not know them (yet).
        while certain && self.grace.borrow().waits(refused) && self.grace.borrow().accepted == accepted {
            let before = system::monotonic_ms();
            if before.saturating_sub(began) >= GRACE_MS {
                self.grace.borrow_mut().is_over(refused);
                break;
            }
            system::sleep(LOOK_MS).await;
            if system::monotonic_ms().saturating_sub(before) < LOOK_MS / 2 {
                return Err(Error::new(ErrorKind::Interrupted, "the host has given this call up"));
            }
            if self.generations() != refused {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All of them: a rotation replaces the pair, and half of it is worth nothing.
    async fn read_again(&self, refused: Generations) -> Result<Generations> {
        let access = self.access.refresh(refused.access).await?;
        let secret = self.secret.refresh(refused.secret).await?;
        let token = match (&self.token, refused.token) {
            (Some(token), Some(generation)) => Some(token.refresh(generation).await?),
            _ => None,
        };
        Ok(Generations { access, secret, token })
    }
}

/// Whether others are worth waiting for when keys are refused.
#[derive(Debug, Default)]
struct Grace {
    /// How often the store has accepted keys of this mount. Not never: it is not the options that are wrong.
    accepted: u64,
    /// These were waited with in vain since.
    over: Option<Generations>,
}

impl Grace {
    /// What was waited with in vain is not waited with again, although some server takes it.
    fn accepted(&mut self, generations: Generations) {
        self.accepted += 1;
        self.over.take_if(|over| *over != generations);
    }

    fn waits(&self, refused: Generations) -> bool {
        self.accepted > 0 && self.over != Some(refused)
    }

    fn is_over(&mut self, refused: Generations) {
        self.over = Some(refused);
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

    #[test]
    fn others_are_waited_for_once_and_where_keys_have_worked() {
        let key = |access| Generations { access, secret: 1, token: None };
        let mut grace = Grace::default();
        assert!(!grace.waits(key(1)), "nothing ever worked");
        grace.accepted(key(1));
        assert!(grace.waits(key(1)) && grace.waits(key(2)), "half of a pair may have been replaced");
        grace.is_over(key(1));
        assert!(!grace.waits(key(1)) && grace.waits(key(2)));
        grace.accepted(key(1));
        assert!(!grace.waits(key(1)), "by another server");
        grace.accepted(key(2));
        assert!(grace.waits(key(1)) && grace.waits(key(2)));
    }
}
