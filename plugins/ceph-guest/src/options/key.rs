//! The user's key, which may be exchanged while the mount is used.

use super::Access;
use crate::client::Client;
use crate::driver::HostMachine;
use wasmount_ceph::auth::{Key, keyring};
use wasmount_sdk::{Error, Mount, Result, Secret, log, system};

/// How often the file of the key is looked at. Readers wait so much longer when a session has to be begun anew just after the key was
/// exchanged; for the host it is one `stat`.
const LOOK_MS: u64 = 2_000;

/// Where the user's key comes from.
#[derive(Debug)]
pub struct UserKey {
    /// `None`: the cluster asks for none.
    written: Option<Written>,
    /// `client.admin`.
    entity: String,
}

/// The option that has it.
#[derive(Debug)]
enum Written {
    Key(Secret),
    Keyring(Secret),
}

impl UserKey {
    /// Takes the option that has it.
    ///
    /// # Errors
    /// `invalid`: there is none, or there are two.
    pub fn new(access: &Access, mount: &mut Mount) -> Result<Self> {
        let volume = mount.persistent_volume.is_some();
        let own_user = mount.settings.is_explicit("user");
        let key = mount.settings.optional_secret("key")?;
        let keyring = mount.settings.optional_secret("keyring")?;
        let written = match (key, keyring) {
            _ if !access.authenticates => None,
            (Some(_), Some(_)) => {
                return Err(Error::invalid("options key and keyring mean the same: remove one"));
            }
            (Some(key), None) => Some(Written::Key(key)),
            (None, Some(keyring)) => Some(Written::Keyring(keyring)),
            (None, None) => return Err(missing(volume, own_user)),
        };
        Ok(Self { written, entity: format!("client.{}", access.user) })
    }

    /// The key as it is now; `None` if the cluster asks for none.
    ///
    /// # Errors
    /// `invalid`: it is none.
    pub fn now(&self) -> Result<Option<Key>> {
        self.written.as_ref().map(|written| written.parse(&self.entity)).transpose()
    }

    /// Has the client use what is in the file from now on, whenever that changes. To be called while the plugin opens.
    pub fn follow<M: HostMachine>(self, client: &Client<M>) {
        let Self { written: Some(written), entity } = self else { return };
        let told = client.clone();
        client.run(async move {
            let mut generation = written.secret().generation();
            loop {
                let before_ms = system::monotonic_ms();
                system::sleep(LOOK_MS).await;
                if system::monotonic_ms().saturating_sub(before_ms) < LOOK_MS / 2 {
                    // The host ends sleeps when everything is being closed.
                    return;
                }
                let now = written.secret().generation();
                if now == generation {
                    continue;
                }
                generation = now;
                match written.parse(&entity) {
                    Ok(key) => {
                        log::info(&format!("the key of {entity} was exchanged"));
                        told.tell(|machine, now| {
                            machine.cluster_mut().replace_key(key, now);
                            machine.settle(now);
                        });
                    }
                    Err(error) => {
                        log::warn(&format!("the new key of {entity} is not used: {}", error.message))
                    }
                }
            }
        });
    }
}

impl Written {
    fn secret(&self) -> &Secret {
        match self {
            Self::Key(secret) | Self::Keyring(secret) => secret,
        }
    }

    fn parse(&self, entity: &str) -> Result<Key> {
        match self {
            Self::Key(secret) => Key::parse(text("key", secret)?.trim())
                .map_err(|error| Error::invalid(format!("option key: {error}"))),
            Self::Keyring(secret) => keyring::parse(&text("keyring", secret)?, entity)
                .map_err(|error| Error::invalid(format!("option keyring: {error}"))),
        }
    }
}

fn text(name: &str, secret: &Secret) -> Result<String> {
    let bytes = secret.reveal().map_err(|error| error.context(format_args!("option {name}")))?;
    String::from_utf8(bytes).map_err(|_| Error::invalid(format!("option {name} is not text")))
}

/// Why a mount without a key is refused.
fn missing(volume: bool, own_user: bool) -> Error {
    if volume {
        let user = if own_user { "" } else { "userID and " };
        return Error::invalid(format!(
            "ceph-csi keeps the user and its key in the volume's node-stage secret, which Fluid does not mount here: give the same values in \
             options {user}userKey (encryptOptions of the Dataset)"
        ));
    }
    Error::invalid(
        "option key is missing: give the user's key (`ceph auth get-key client.NAME`) in key, or a keyring in keyring (encryptOptions of the \
         Dataset)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_key_says_where_it_belongs() {
        assert!(missing(false, false).message.contains("ceph auth get-key"));
        let volume = missing(true, false).message;
        assert!(volume.contains("node-stage secret") && volume.contains("userID and userKey"), "{volume}");
        assert!(!missing(true, true).message.contains("userID"));
    }
}
