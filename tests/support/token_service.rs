//! The service that a registry sends its readers to for a token: the distribution project's "Token Authentication Specification" and
//! "OAuth2 Token Authentication". The registry is real and checks each token's signature and rights itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;

use crate::registry::{PASSWORD, USER};
use crate::scripted::{Answer, Request, Server};
use crate::tls::PrivateCa;

/// What the service takes in place of a password.
pub const IDENTITY_TOKEN: &str = "a-long-lived-identity-token";

/// A running service. Whoever proves to be [`USER`] gets what they ask for, and others get a token that is good for nothing.
#[derive(Debug)]
pub struct TokenService {
    server: Server,
    authority: String,
}

impl TokenService {
    /// Starts one with a key of its own.
    ///
    /// # Errors
    /// When no port is free or no key can be made.
    pub fn start() -> Result<Self> {
        let ca = PrivateCa::new()?;
        let leaf = ca.server_certificate()?;
        let key = STANDARD.decode(der_of(&leaf.key)).context("a key in PEM")?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &SystemRandom::new())
            .map_err(|_| anyhow!("the key is not of P-256"))?;
        let certificate = der_of(&leaf.certificate);
        let server = Server::start(move |request| answer(request, &pair, &certificate))?;
        Ok(Self { server, authority: ca.pem().to_owned() })
    }

    /// Its URL and the authority of its key: [`Setup::token`](crate::registry::Setup::token).
    pub fn for_registry(&self) -> (String, String) {
        (format!("{}/token", self.server.endpoint()), self.authority.clone())
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> String {
        self.server.endpoint().replace("http://", "")
    }

    /// How many tokens were asked for, by method.
    pub fn asked(&self, method: &str) -> usize {
        self.server.requests().iter().filter(|request| request.method == method).count()
    }
}

fn answer(request: &Request, pair: &EcdsaKeyPair, certificate: &str) -> Answer {
    let body = String::from_utf8_lossy(&request.body).into_owned();
    let (known, scope, name) = match request.method.as_str() {
        "POST" => {
            let field =
                |name: &str| body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            let right = field("refresh_token") == Some(IDENTITY_TOKEN)
                && field("grant_type") == Some("refresh_token");
            if !right || field("client_id").is_none() || field("service") != Some("registry.test") {
                return Answer::new(401, "{}");
            }
            let scope = field("scope")
                .unwrap_or_default()
                .replace("%3A", ":")
                .replace("%2F", "/")
                .replace("%2C", ",");
            (true, scope, "access_token")
        }
        _ => {
            let proof = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
            let known = match request.header("authorization") {
                Some(sent) if sent == proof => true,
                Some(_) => return Answer::new(401, "{}"),
                None => false,
            };
            (known, request.parameter("scope").unwrap_or_default().to_owned(), "token")
        }
    };
    match token(&scope, known, pair, certificate) {
        Ok(token) => Answer::new(200, json!({ name: token, "expires_in": 300 }).to_string()),
        Err(error) => Answer::new(500, error.to_string()),
    }
}

/// A token as the registry wants it: signed, with the certificate of its key in its head.
fn token(scope: &str, known: bool, pair: &EcdsaKeyPair, certificate: &str) -> Result<String> {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let at = |offset: u64| (now + Duration::from_secs(offset)).as_secs();
    let rights: Vec<_> = match scope.splitn(3, ':').collect::<Vec<_>>().as_slice() {
        [kind, name, actions] if known => {
            vec![json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()})]
        }
        _ => Vec::new(),
    };
    let head = json!({"typ": "JWT", "alg": "ES256", "x5c": [certificate]});
    let claims = json!({"iss": "issuer.test", "aud": "registry.test", "sub": USER, "jti": "1", "access": rights,
        "iat": at(0) - 60, "nbf": at(0) - 60, "exp": at(300)});
    let text = format!("{}.{}", encode(head.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let signature = pair
        .sign(&SystemRandom::new(), text.as_bytes())
        .map_err(|_| anyhow!("the token cannot be signed"))?;
    Ok(format!("{text}.{}", encode(signature.as_ref())))
}

/// What is between the lines of a PEM text.
fn der_of(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).collect()
}
