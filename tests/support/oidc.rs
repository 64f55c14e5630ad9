//! An issuer of identity tokens, as a cluster is one: OpenID discovery, a set of public keys, and JSON Web Tokens signed with the newest.
//!
//! Keys are made here, and ES256 (RFC 7518): what holds for tokens does not depend on the algorithm.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use crate::scripted::{Answer, Server};

/// Whom the tokens are for.
pub const AUDIENCE: &str = "wasmount";

/// A running issuer.
#[derive(Debug)]
pub struct Issuer {
    server: Server,
    signing: Arc<Mutex<Signing>>,
}

/// The key in use, and all public ones as JSON Web Keys.
#[derive(Debug)]
struct Signing {
    pair: EcdsaKeyPair,
    id: String,
    public: Vec<Value>,
}

impl Issuer {
    /// Starts one with a fresh key.
    ///
    /// # Errors
    /// When no port is free or no key can be made.
    pub fn start() -> Result<Self> {
        let (pair, public) = key("key-1")?;
        let signing = Arc::new(Mutex::new(Signing { pair, id: "key-1".to_owned(), public: vec![public] }));
        let server = Server::start(|_| Answer::new(503, "not yet"))?;
        let (url, keys) = (server.endpoint(), Arc::clone(&signing));
        server.set_handler(move |request| match request.path.as_str() {
            "/.well-known/openid-configuration" => document(&json!({
                "issuer": url, "jwks_uri": format!("{url}/keys"), "authorization_endpoint": format!("{url}/none"),
                "token_endpoint": format!("{url}/none"), "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"]})),
            "/keys" => document(&json!({"keys": lock(&keys).public})),
            _ => Answer::new(404, "no"),
        });
        Ok(Self { server, signing })
    }

    /// `iss` of its tokens.
    pub fn url(&self) -> String {
        self.server.endpoint()
    }

    /// Signs further tokens with another key; the public half of the old one is not published any more.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn rotate(&self) -> Result<()> {
        let mut signing = lock(&self.signing);
        let id = format!("{}-next", signing.id);
        let (pair, public) = key(&id)?;
        *signing = Signing { pair, id, public: vec![public] };
        Ok(())
    }

    /// A token for `subject` that expires so many seconds from now, or has expired (negative).
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, subject: &str, seconds: i64) -> Result<String> {
        let signing = lock(&self.signing);
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        let head = json!({"alg": "ES256", "typ": "JWT", "kid": signing.id});
        let claims = json!({"iss": self.url(), "sub": subject, "aud": AUDIENCE, "iat": now - 3600, "exp": now + seconds});
        let text = format!("{}.{}", encode(head.to_string()), encode(claims.to_string()));
        let signature = signing
            .pair
            .sign(&SystemRandom::new(), text.as_bytes())
            .map_err(|_| anyhow!("cannot sign a token"))?;
        Ok(format!("{text}.{}", encode(signature)))
    }

    /// The settings with which MinIO gives whoever has a token of this issuer the policy `readwrite` (`readonly` may not list).
    pub fn minio_environment(&self) -> Vec<(String, String)> {
        let settings = [
            ("CONFIG_URL", format!("{}/.well-known/openid-configuration", self.url())),
            ("CLIENT_ID", AUDIENCE.to_owned()),
            ("CLIENT_SECRET", "unused".to_owned()),
            ("ROLE_POLICY", "readwrite".to_owned()),
        ];
        settings.into_iter().map(|(name, value)| (format!("MINIO_IDENTITY_OPENID_{name}"), value)).collect()
    }

    /// The role that MinIO makes of these settings: named after a hash of the client's name (minio/internal/config/identity/openid).
    pub fn minio_role() -> String {
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, AUDIENCE.as_bytes());
        format!("arn:minio:iam:::role/{}", encode(hash))
    }

    /// The user that MinIO takes a subject for (minio/cmd/sts-handlers.go).
    pub fn minio_user(&self, subject: &str) -> String {
        encode(digest::digest(&digest::SHA256, format!("openid:{subject}:{}", self.url()).as_bytes()))
    }
}

/// What an STS has issued.
#[derive(Debug)]
pub struct Temporary {
    /// The key's name.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
    /// The session token.
    pub token: String,
}

/// Exchanges a token at MinIO's STS.
///
/// # Errors
/// When the server refuses; the message carries its answer.
pub fn assume_role(endpoint: &str, token: &str) -> Result<Temporary> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(30)))
        .proxy(None)
        .build()
        .new_agent();
    let (role, version) = (Issuer::minio_role(), "2011-06-15");
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", version),
        ("DurationSeconds", "900"),
        ("RoleArn", role.as_str()),
        ("RoleSessionName", "test"),
        ("WebIdentityToken", token),
    ];
    let answer = agent.post(format!("{endpoint}/")).send_form(form)?.body_mut().read_to_string()?;
    let field = |name: &str| -> Result<String> {
        let after =
            answer.split_once(&format!("<{name}>")).with_context(|| format!("no {name} in {answer}"))?.1;
        Ok(after.split_once('<').context("an end")?.0.to_owned())
    };
    Ok(Temporary {
        access_key: field("AccessKeyId")?,
        secret_key: field("SecretAccessKey")?,
        token: field("SessionToken")?,
    })
}

fn key(id: &str) -> Result<(EcdsaKeyPair, Value)> {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .map_err(|_| anyhow!("cannot make a key"))?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
        .map_err(|error| anyhow!("cannot use a key: {error}"))?;
    // An uncompressed point: 4, then both coordinates (SEC 1, section 2.3.3).
    let (x, y) = pair.public_key().as_ref().get(1..).context("a point")?.split_at(32);
    let public = json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id, "x": encode(x), "y": encode(y)});
    Ok((pair, public))
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn document(content: &Value) -> Answer {
    Answer::new(200, content.to_string()).header("content-type", "application/json")
}

fn lock(signing: &Mutex<Signing>) -> std::sync::MutexGuard<'_, Signing> {
    signing.lock().unwrap_or_else(PoisonError::into_inner)
}
