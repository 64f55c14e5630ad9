//! The credentials endpoint of a container: ECS tasks, EKS Pod Identity, and what imitates them.
//!
//! Source: AWS SDKs and Tools Reference Guide, "Container credential provider".

use super::document::{self, MAX_BYTES};
use super::issued::Fetched;
use super::rotating::ATTEMPTS;
use std::net::IpAddr;
use std::time::Duration;
use wasmount_sdk::http::Request;
use wasmount_sdk::{Blame, Endpoint, Error, ErrorKind, Result, Secret, retry};

/// Longest wait for an answer: it comes from the same machine.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where credentials are, and what opens the door.
#[derive(Debug)]
pub struct Container {
    url: String,
    authorization: Option<Secret>,
}

impl Container {
    /// Credentials from this address.
    ///
    /// # Errors
    /// `invalid`: an address to which credentials must not go unencrypted.
    pub fn new(endpoint: &Endpoint, authorization: Option<Secret>) -> Result<Self> {
        if endpoint.protocol == "http" && !stays_here(&endpoint.host) {
            return Err(Error::invalid(format!(
                "option container-credentials-uri: {} is neither on this machine nor the address of ECS or EKS, so that credentials could \
                 be read on their way: use https",
                endpoint.origin()
            )));
        }
        Ok(Self { url: format!("{}{}", endpoint.origin(), endpoint.path), authorization })
    }

    /// Asks for credentials, and a second time if the token was refused and its file has another by now.
    ///
    /// # Errors
    /// As [`Source::fetch`](super::rotating::Source::fetch) says.
    pub async fn fetch(&self) -> Result<Fetched> {
        // Looks at the file of the token too.
        let generation = self.authorization.as_ref().map(Secret::generation);
        match (retry(ATTEMPTS, || self.ask()).await, &self.authorization, generation) {
            (Err(error), Some(token), Some(generation))
                if error.kind == ErrorKind::Unauthenticated
                    && token.refresh(generation).await? != generation =>
            {
                retry(ATTEMPTS, || self.ask()).await
            }
            (answer, _, _) => answer,
        }
    }

    async fn ask(&self) -> Result<Fetched> {
        let request = Request::get(&self.url).header("accept", "application/json").timeout(TIMEOUT);
        let request = match &self.authorization {
            Some(token) => request.secret_header("authorization", "", token),
            None => request,
        };
        let named = |error: Error| error.context(format!("container credentials at {}", self.url));
        let response = request.send().await.map_err(named)?;
        let (status, usual) = (response.status, response.error("the endpoint"));
        let document = response.text(MAX_BYTES).await.map_err(named)?;
        match status {
            200 => document::parse(&document).map_err(named),
            _ => Err(named(refusal(status, usual, &document))),
        }
    }
}

/// An answer that is no success.
fn refusal(status: u16, usual: Error, document: &str) -> Error {
    let said = document::refusal(document).map(|said| format!(": {said}")).unwrap_or_default();
    match status {
        400..=499 if status != 408 && status != 429 => Error::unauthenticated(format!(
            "the endpoint answered {status}{said}: correct option container-credentials-uri, or the file of container-authorization-token"
        ))
        .code(status.to_string())
        .blame(Blame::Plugin),
        _ => Error { message: format!("{}{said}", usual.message), ..usual },
    }
}

/// Whether what is sent to this host in clear can be read by nobody else: the machine itself, and the addresses at which ECS
/// (169.254.170.2) and EKS (169.254.170.23, fd00:ec2::23) have their agents on each node.
fn stays_here(host: &str) -> bool {
    let agents = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || agents.iter().any(|agent| agent.parse() == Ok(address)),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmount_sdk::RetryAdvice;

    #[test]
    fn credentials_cross_no_network_in_clear() {
        for (protocol, host, fine) in [
            ("http", "127.0.0.1", true),
            ("http", "::1", true),
            ("http", "localhost", true),
            ("http", "169.254.170.2", true),
            ("http", "169.254.170.23", true),
            ("http", "fd00:ec2::23", true),
            ("https", "credentials.example", true),
            ("http", "credentials.example", false),
            ("http", "10.0.0.1", false),
            ("http", "169.254.169.254", false),
            ("http", "localhost.evil.example", false),
        ] {
            let endpoint = Endpoint {
                protocol: protocol.into(),
                host: host.into(),
                port: 80,
                path: "/v1/credentials".into(),
            };
            assert_eq!(Container::new(&endpoint, None).is_ok(), fine, "{protocol} {host}");
        }
    }

    #[test]
    fn the_path_is_kept() {
        let path = "/v2/credentials/1-2-3".to_owned();
        let endpoint = Endpoint { protocol: "http".into(), host: "169.254.170.2".into(), port: 80, path };
        assert_eq!(Container::new(&endpoint, None).unwrap().url, "http://169.254.170.2/v2/credentials/1-2-3");
    }

    #[test]
    fn refusals_name_the_option_and_what_passes_is_repeated() {
        let usual = || Error::unavailable("the endpoint: the server answered 500");
        let error = refusal(401, usual(), r#"{"code":"InvalidTokenException","message":"expired"}"#);
        assert_eq!(error.kind, ErrorKind::Unauthenticated);
        assert!(error.message.contains("InvalidTokenException (expired)"), "{}", error.message);
        assert!(error.message.contains("container-authorization-token"), "{}", error.message);
        let error = refusal(500, usual(), "<html>");
        assert_eq!(
            (error.kind, &*error.message),
            (ErrorKind::Unavailable, "the endpoint: the server answered 500")
        );
        assert!(matches!(error.retry, RetryAdvice::AfterMs(_)));
    }
}
