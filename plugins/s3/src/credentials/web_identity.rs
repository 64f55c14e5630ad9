//! Web identity: a token that the cluster has signed, exchanged for temporary credentials at a security token service (STS).
//!
//! EKS calls it "IAM roles for service accounts"; MinIO's STS offers the same call. Source: AWS Security Token Service API Reference,
//! "AssumeRoleWithWebIdentity".

use super::document::shorten;
use super::issued::Fetched;
use super::rotating::ATTEMPTS;
use crate::xml::{Node, walk};
use std::time::Duration;
use wasmount_sdk::http::{Request, Response};
use wasmount_sdk::{
    Blame, Body, Buffer, Effect, Error, ErrorKind, Piece, Result, Secret, percent, retry, time,
};

/// Largest answer that is read, in bytes.
const MAX_BYTES: u32 = 64 << 10;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest token that is sent; those of clusters have some 1 to 4 KiB, and AWS takes up to 20 000 bytes.
const MAX_TOKEN: usize = 20_000;

/// What is asked, but for the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// `https://sts.eu-west-1.amazonaws.com`: where to ask, without a path.
    pub origin: String,
    /// `arn:aws:iam::…:role/…`; MinIO can do without.
    pub arn: Option<String>,
    /// Name of the session, in the logs of the service.
    pub session: String,
    /// How long the credentials should hold, in seconds.
    pub seconds: u64,
}

/// A role, and the token that proves who wants it.
#[derive(Debug)]
pub struct WebIdentity {
    role: Role,
    token: Secret,
}

impl WebIdentity {
    /// Credentials of this role.
    pub fn new(role: Role, token: Secret) -> Self {
        Self { role, token }
    }

    /// Asks for credentials, and a second time if the token was refused and its file has another by now.
    ///
    /// # Errors
    /// As [`Source::fetch`](super::rotating::Source::fetch) says.
    pub async fn fetch(&self) -> Result<Fetched> {
        let generation = self.token.generation();
        match retry(ATTEMPTS, || self.ask()).await {
            Err(error)
                if error.kind == ErrorKind::Unauthenticated
                    && self.token.refresh(generation).await? != generation =>
            {
                retry(ATTEMPTS, || self.ask()).await
            }
            answer => answer,
        }
    }

    async fn ask(&self) -> Result<Fetched> {
        let form = self.role.form(&token(self.token.reveal())?);
        let content = Body::assemble(vec![Piece::Buffer(Buffer::create(form.as_bytes())?)])?;
        let request = Request::new("POST", format!("{}/", self.role.origin))
            .header("content-type", "application/x-www-form-urlencoded")
            .content(content)
            .timeout(TIMEOUT);
        let named = |error: Error| error.context(format!("web identity at {}", self.role.origin));
        // Whatever became of it, asking again does no harm.
        let response = request.send().await.map_err(|error| named(error.effect(Effect::None)))?;
        if response.status == 200 {
            let document = response.text(MAX_BYTES).await.map_err(named)?;
            return parse(&document).map_err(named);
        }
        Err(named(refused(response).await))
    }
}

impl Role {
    /// The request, encoded.
    fn form(&self, token: &str) -> String {
        let seconds = self.seconds.to_string();
        let fields = [
            ("Action", Some("AssumeRoleWithWebIdentity")),
            ("DurationSeconds", Some(&*seconds)),
            ("RoleArn", self.arn.as_deref()),
            ("RoleSessionName", Some(&*self.session)),
            ("Version", Some("2011-06-15")),
            ("WebIdentityToken", Some(token)),
        ];
        let pairs = fields
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", percent::encode(value?))));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// The token in its file.
fn token(revealed: Result<Vec<u8>>) -> Result<String> {
    let bytes = revealed.map_err(|error| error.context("option web-identity-token"))?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    let text = text.trim();
    if (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Error::invalid(format!(
        "option web-identity-token: its file is empty, longer than {MAX_TOKEN} bytes or no token: it should hold a JSON Web Token, as a \
         projected service account token does"
    )))
}

/// Why there are no credentials, by an answer that is no success.
async fn refused(response: Response) -> Error {
    let (status, usual) = (response.status, response.error("STS"));
    let said = response.text(MAX_BYTES).await.ok().and_then(|document| error_of(&document));
    refusal(status, usual, said)
}

fn refusal(status: u16, usual: Error, said: Option<(String, String)>) -> Error {
    let Some((code, message)) = said else { return usual };
    let quoted = format!("[{}] ({})", shorten(&code), shorten(&message));
    match code.as_str() {
        // AWS's word for an identity provider that could not be reached in time, to be tried again.
        "IDPCommunicationError" | "RequestTimeout" => {
            Error::unavailable(format!("STS could not ask who issued the token {quoted}"))
        }
        "Throttling" | "ThrottlingException" | "RequestLimitExceeded" => {
            Error::throttled(format!("STS asks for fewer requests {quoted}"))
        }
        _ if status >= 500 || status == 429 || status == 408 => {
            Error { message: format!("STS has a problem of its own {quoted}"), ..usual }
        }
        _ => {
            let remedy = match code.as_str() {
                "ExpiredToken" | "ExpiredTokenException" => {
                    "the token has expired: whoever writes its file (kubelet) has stopped renewing it"
                }
                "AccessDenied" => {
                    "the role may not be assumed with this token: correct option role-arn, or the role's trust in the token's issuer, subject and audience"
                }
                "RegionDisabledException" => {
                    "STS is not active in this region: set option sts-endpoint to that of another"
                }
                _ => {
                    "STS refuses the token or the role: correct options role-arn, role-session-name, session-duration and the token's audience"
                }
            };
            Error::unauthenticated(format!("{remedy} {quoted}")).code(shorten(&code)).blame(Blame::Plugin)
        }
    }
}

/// Reads credentials.
///
/// # Errors
/// `corrupt`: anything that is no such document; it is not repeated.
fn parse(document: &str) -> Result<Fetched> {
    let (mut access_key, mut secret_key, mut token, mut expires) = (None, None, None, None);
    walk(document, |node| {
        if let Node::End([_, result, credentials, field], text) = node
            && result == "AssumeRoleWithWebIdentityResult"
            && credentials == "Credentials"
        {
            let text = text.trim().to_owned();
            match field.as_str() {
                "AccessKeyId" => access_key = Some(text),
                "SecretAccessKey" => secret_key = Some(text),
                "SessionToken" => token = Some(text),
                "Expiration" => expires = Some(text),
                _ => {}
            }
        }
        Ok(())
    })
    // The parser's own words could quote what is secret.
    .map_err(|_| Error::corrupt("the answer is no sound XML: is there an STS at option sts-endpoint?"))?;
    let (Some(access_key), Some(secret_key), Some(token)) = (access_key, secret_key, token) else {
        return Err(Error::corrupt(
            "the answer has no complete credentials: is there an STS at option sts-endpoint?",
        ));
    };
    let expires = expires.as_deref().and_then(time::parse_rfc3339).map(|at| at.seconds);
    let expires =
        expires.ok_or_else(|| Error::corrupt("the answer does not say when the credentials expire"))?;
    Fetched { access_key, secret_key, token: Some(token), expires: Some(expires) }.checked()
}

/// Code and message of an error document.
fn error_of(document: &str) -> Option<(String, String)> {
    let (mut code, mut message) = (None, String::new());
    walk(document, |node| {
        if let Node::End([root, error, field], text) = node
            && root == "ErrorResponse"
            && error == "Error"
        {
            match field.as_str() {
                "Code" => code = Some(text.trim().to_owned()),
                "Message" => message = text.trim().to_owned(),
                _ => {}
            }
        }
        Ok(())
    })
    .ok()?;
    Some((code.filter(|code| !code.is_empty())?, message))
}

#[cfg(test)]
#[path = "web_identity_tests.rs"]
mod tests;
