//! Who signs the requests of a mount, and where the credentials come from.
//!
//! | module | knows |
//! |---|---|
//! | [`plan`] | the options about credentials, and what follows from them |
//! | [`keys`] | keys that options name, whose files may be replaced while mounted |
//! | [`rotation`], [`rotating`] | when temporary credentials are renewed; one fetch at a time, in the background |
//! | [`web_identity`], [`container`], [`instance`] | the three services that issue temporary credentials |
//! | [`issued`], `document` | what they answer |
//!
//! The secret key that an option names never enters the plugin. Temporary credentials come in an answer to the plugin itself and stay in
//! its memory until they are replaced; they are in no message and no log.

pub mod container;
mod document;
pub mod instance;
pub mod issued;
pub mod keys;
pub mod plan;
pub mod rotating;
pub mod rotation;
pub mod web_identity;

use container::Container;
use instance::Instance;
use issued::{Fetched, Issued};
use keys::{Clear, Keys};
use plan::Plan;
use rotating::{Host, Rotating, Source};
use std::rc::Rc;
use wasmount_sdk::sigv4::{Identity, Signer, Unsigned};
use wasmount_sdk::{Error, Result, Settings, Timestamp};
use web_identity::WebIdentity;

/// Who signs the requests of a mount.
#[derive(Debug)]
pub enum Credentials {
    /// Nobody.
    Anonymous,
    /// The owner of a pair of keys.
    Keys(Keys),
    /// Whoever a service says.
    Temporary(Rotating<Issuer>),
}

/// A service that issues temporary credentials.
#[derive(Debug)]
pub enum Issuer {
    /// For a token.
    WebIdentity(WebIdentity),
    /// To the processes of a container.
    Container(Container),
    /// To the processes of an instance.
    Instance(Instance),
}

impl Source for Issuer {
    async fn fetch(&self) -> Result<Fetched> {
        match self {
            Self::WebIdentity(service) => service.fetch().await,
            Self::Container(service) => service.fetch().await,
            Self::Instance(service) => service.fetch().await,
        }
    }
}

/// What one request is signed with.
#[derive(Clone, Debug)]
pub enum Current {
    /// Nothing.
    Anonymous,
    /// These keys, in this state of their files.
    Keys(Rc<Clear>),
    /// These credentials.
    Temporary(Rc<Issued>),
}

impl Credentials {
    /// Takes what the plan needs out of the settings. Asks nobody yet.
    ///
    /// # Errors
    /// `invalid`: options that are missing or cannot be used; `denied`: the operator refuses to show a key to the plugin.
    pub fn new(plan: Plan, settings: &mut Settings) -> Result<Self> {
        let issuer = match plan {
            Plan::Anonymous => return Ok(Self::Anonymous),
            Plan::Static => return Ok(Self::Keys(Keys::new(settings)?)),
            Plan::WebIdentity(role) => {
                let token = settings.optional_secret("web-identity-token")?.ok_or_else(|| {
                    Error::invalid(
                        "option web-identity-token is missing: the operator names its file by \
                         --option s3:web-identity-token-file=PATH, or a Dataset a Secret with it",
                    )
                })?;
                Issuer::WebIdentity(WebIdentity::new(role, token))
            }
            Plan::Container(endpoint) => {
                let authorization = settings.optional_secret("container-authorization-token")?;
                Issuer::Container(Container::new(&endpoint, authorization)?)
            }
            Plan::Instance(origin) => Issuer::Instance(Instance::new(origin)),
        };
        Ok(Self::Temporary(Rotating::new(issuer, Host)))
    }

    /// What to sign the next request with. Waits only when there are no valid temporary credentials.
    ///
    /// # Errors
    /// A file that has changed to something unusable; what the issuer says.
    pub async fn current(&self) -> Result<Current> {
        Ok(match self {
            Self::Anonymous => Current::Anonymous,
            Self::Keys(keys) => Current::Keys(keys.clear()?),
            Self::Temporary(rotating) => Current::Temporary(rotating.current().await?),
        })
    }

    /// The store has accepted a request that was signed so.
    pub fn accepted(&self, current: &Current) {
        if let (Self::Keys(keys), Current::Keys(clear)) = (self, current) {
            keys.accepted(clear.generations);
        }
    }

    /// Looks for others after the store refused a request, or may have for this reason (not `certain`). `None` if there are none, so that it is
    /// not worth signing again.
    ///
    /// # Errors
    /// What keeps the host from reading files, or the issuer from issuing.
    pub async fn renewed(&self, refused: &Current, certain: bool) -> Result<Option<Current>> {
        match (self, refused) {
            (Self::Keys(keys), Current::Keys(clear)) => match keys.renewed(clear.generations, certain).await?
            {
                true => self.current().await.map(Some),
                false => Ok(None),
            },
            (Self::Temporary(rotating), Current::Temporary(issued)) => {
                Ok(rotating.renewed(issued, certain).await?.map(Current::Temporary))
            }
            _ => Ok(None),
        }
    }

    /// The headers that make a request authentic.
    ///
    /// # Errors
    /// What the host says; a secret that is there does not fail.
    pub fn sign(
        &self,
        current: &Current,
        signer: &Signer,
        request: &Unsigned<'_>,
        now: Timestamp,
    ) -> Result<Vec<(String, String)>> {
        match (self, current) {
            (Self::Keys(keys), Current::Keys(clear)) => {
                let (access_key, session_token) = (&*clear.access, clear.token.as_deref());
                signer.sign(&Identity { access_key, secret: keys.secret(), session_token }, request, now)
            }
            (Self::Temporary(_), Current::Temporary(issued)) => {
                let (access_key, session_token) = (&*issued.access_key, issued.token.as_deref());
                signer.sign(&Identity { access_key, secret: &issued.secret, session_token }, request, now)
            }
            _ => Ok(Vec::new()),
        }
    }
}
