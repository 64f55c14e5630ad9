//! The role of an EC2 instance, from its metadata service (IMDSv2 only: version 1 answers whoever can make a process send a GET).
//!
//! Source: Amazon EC2 User Guide, "Retrieve security credentials from instance metadata" and "Use IMDSv2".

use super::document::{self, MAX_BYTES};
use super::issued::Fetched;
use super::rotating::ATTEMPTS;
use std::time::Duration;
use wasmount_sdk::http::{Request, Response};
use wasmount_sdk::{Blame, Error, ErrorKind, Result, percent, retry};

/// Where the service is unless an option says otherwise.
pub(super) const ADDRESS: &str = "http://169.254.169.254";
/// Longest wait for an answer: it comes from the same machine, or not at all.
const TIMEOUT: Duration = Duration::from_secs(3);
/// For how long the session is asked for, in seconds: longer than one fetch takes.
const SESSION_S: &str = "60";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
/// Longest answer that is no credentials, in bytes. A session's token has 56.
const MAX_WORD: u32 = 4096;

/// A metadata service.
#[derive(Clone, Debug)]
pub struct Instance {
    origin: String,
}

impl Instance {
    /// The role of the instance whose service is at this origin.
    pub fn new(origin: Option<String>) -> Self {
        Self { origin: origin.unwrap_or_else(|| ADDRESS.to_owned()) }
    }

    /// Opens a session, asks which role there is, and for its credentials.
    ///
    /// # Errors
    /// As [`Source::fetch`](super::rotating::Source::fetch) says.
    pub async fn fetch(&self) -> Result<Fetched> {
        let named = |error: Error| error.context(format!("instance metadata at {}", self.origin));
        retry(ATTEMPTS, || self.ask()).await.map_err(named)
    }

    async fn ask(&self) -> Result<Fetched> {
        let session = Request::new("PUT", format!("{}/latest/api/token", self.origin))
            .header("x-aws-ec2-metadata-token-ttl-seconds", SESSION_S)
            .timeout(TIMEOUT);
        let session = session.send().await.map_err(|error| match error.kind {
            ErrorKind::TimedOut => error.context(
                "no session, as where the answer may not cross the bridge to a container (the instance's metadata hop limit has to be 2 or more)",
            ),
            _ => error,
        })?;
        let session = word(read(session, "a session", MAX_WORD).await?, "session")?;
        let roles = read(self.get(ROLES, &session).await?, "the role's name", MAX_WORD).await?;
        let role = word(roles.lines().next().unwrap_or_default().trim().to_owned(), "role")?;
        let path = format!("{ROLES}{}", percent::encode(&role));
        document::parse(&read(self.get(&path, &session).await?, "credentials", MAX_BYTES).await?)
    }

    async fn get(&self, path: &str, session: &str) -> Result<Response> {
        let request =
            Request::get(format!("{}{path}", self.origin)).header("x-aws-ec2-metadata-token", session);
        request.timeout(TIMEOUT).send().await
    }
}

async fn read(response: Response, what: &str, max: u32) -> Result<String> {
    match response.status {
        200 => response.text(max).await,
        status => Err(refusal(status, what, response.error(what))),
    }
}

fn refusal(status: u16, what: &str, usual: Error) -> Error {
    match status {
        404 => Error::unauthenticated(format!(
            "{what}: there is none: give the instance a role (instance profile)"
        )),
        400..=499 if status != 408 && status != 429 => Error::unauthenticated(format!(
            "{what}: the service answered {status}: is the metadata service of this instance turned on?"
        )),
        _ => return usual,
    }
    .code(status.to_string())
    .blame(Blame::Plugin)
}

/// One word that can be part of a header.
fn word(text: String, what: &str) -> Result<String> {
    let text = text.trim();
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => {
            Err(Error::corrupt(format!("the answer is no {what}: is there an instance metadata service?")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_go_into_headers_and_paths() {
        assert_eq!(word("AQAE==\n".into(), "session").unwrap(), "AQAE==");
        for bad in ["", " ", "a b", "a\r\nx: y", "é", "<html>\n</html>"] {
            assert!(word(bad.into(), "session").unwrap_err().message.contains("no session"), "{bad}");
        }
    }

    #[test]
    fn an_instance_without_a_role_is_told_so() {
        let usual = || Error::unavailable("usual");
        let error = refusal(404, "the role's name", usual());
        assert_eq!(error.kind, ErrorKind::Unauthenticated);
        assert!(error.message.contains("instance profile"), "{}", error.message);
        assert!(refusal(403, "a session", usual()).message.contains("turned on"));
        assert_eq!(refusal(503, "a session", usual()).message, "usual");
    }
}
