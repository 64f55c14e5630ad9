//! The user's key.

use super::Access;
use wasmount_ceph::auth::{Key, keyring};
use wasmount_sdk::{Error, Mount, Result, Secret};

/// The user's key, from whichever option has it; `None` if the cluster asks for none.
///
/// # Errors
/// `invalid`: there is none, or it is none.
pub fn key(access: &Access, mount: &mut Mount) -> Result<Option<Key>> {
    let volume = mount.persistent_volume.is_some();
    let own_user = mount.settings.is_explicit("user");
    let key = mount.settings.optional_secret("key")?;
    let keyring = mount.settings.optional_secret("keyring")?;
    if !access.authenticates {
        return Ok(None);
    }
    let found = match (key, keyring) {
        (Some(_), Some(_)) => Err(Error::invalid("options key and keyring mean the same: remove one")),
        (Some(key), None) => Key::parse(text("key", &key)?.trim())
            .map_err(|error| Error::invalid(format!("option key: {error}"))),
        (None, Some(content)) => {
            keyring::parse(&text("keyring", &content)?, &format!("client.{}", access.user))
                .map_err(|error| Error::invalid(format!("option keyring: {error}")))
        }
        (None, None) => Err(missing(volume, own_user)),
    };
    found.map(Some)
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
