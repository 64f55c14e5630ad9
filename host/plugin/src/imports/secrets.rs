//! `secrets`: credentials that a plugin uses without seeing them.

use super::types::to_wit;
use super::wit::secrets as wit;
use super::wit::types::Error as WitError;
use super::{interruptible, with};
use crate::instance::processor_time;
use crate::instance::{GuestState, HasGuest};
use wasmount_net::{Encoding, Hash, Secret};
use wasmount_types::{Blame, Error, ErrorKind};
use wasmtime::component::{Accessor, Resource};

/// The resource `secrets.secret`.
#[allow(unreachable_pub, reason = "the generated bindings re-export it, and only a public type can be")]
pub struct GuestSecret {
    /// The credential.
    pub(crate) secret: Secret,
    /// Canonical name of its option, for messages.
    pub(crate) name: String,
    /// The plugin may see it in clear.
    pub(crate) reveal: bool,
}

impl wit::Host for GuestState {}

impl wit::HostSecret for GuestState {
    fn generation(&mut self, secret: Resource<GuestSecret>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&secret)?.secret.generation())
    }

    fn hmac(
        &mut self,
        secret: Resource<GuestSecret>,
        hash: wit::Hash,
        encoding: wit::Encoding,
        prefix: Vec<u8>,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, WitError>> {
        let hash = match hash {
            wit::Hash::Sha1 => Hash::Sha1,
            wit::Hash::Sha256 => Hash::Sha256,
            wit::Hash::Sha384 => Hash::Sha384,
            wit::Hash::Sha512 => Hash::Sha512,
        };
        let encoding = match encoding {
            wit::Encoding::Raw => Encoding::Raw,
            wit::Encoding::Base64 => Encoding::Base64,
        };
        let started = processor_time();
        let mac = self.table.get(&secret)?.secret.hmac(hash, encoding, &prefix, &data).map_err(to_wit);
        self.budget.spend(processor_time().saturating_sub(started));
        Ok(mac)
    }

    fn reveal(&mut self, secret: Resource<GuestSecret>) -> wasmtime::Result<Result<Vec<u8>, WitError>> {
        let secret = self.table.get(&secret)?;
        if secret.reveal {
            return Ok(Ok(secret.secret.reveal()));
        }
        let text = format!("the option table does not say that the plugin must see `{}`", secret.name);
        Ok(Err(to_wit(Error::new(ErrorKind::Denied, Blame::Host, text))))
    }

    fn drop(&mut self, secret: Resource<GuestSecret>) -> wasmtime::Result<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}

impl<T: Send + 'static> wit::HostSecretWithStore<T> for HasGuest {
    async fn refresh(
        acc: &Accessor<T, Self>,
        secret: Resource<GuestSecret>,
        rejected: u64,
    ) -> wasmtime::Result<Result<u64, WitError>> {
        let secret = with(acc, |state| state.table.get(&secret).map(|s| s.secret.clone()))?;
        let fresh = interruptible(acc, secret.refresh(rejected)).await;
        Ok(fresh.unwrap_or_else(|stopped| Err(stopped.error())).map_err(to_wit))
    }
}
