//! Error answers: what they mean for the host, and what the user should change.

use crate::credentials::plan::Kind;
use crate::xml::{Node, walk};
use wasmount_sdk::{Blame, Error, ErrorKind, RetryAdvice};

/// Longest part of the store's own message that is passed on.
const MESSAGE: usize = 300;

/// An answer that is not a success.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// The HTTP status.
    pub status: u16,
    /// The store's code: from the XML, or from the header some stores send when there is no body (`HEAD`).
    pub code: Option<String>,
    /// The store's sentence.
    pub message: Option<String>,
    /// The region the bucket is in, if the store tells.
    pub region: Option<String>,
    /// The endpoint to use instead, if the store tells.
    pub endpoint: Option<String>,
    /// After how many milliseconds the request may be sent again, by status and `retry-after`.
    pub retry_ms: Option<u32>,
}

/// What was tried: for sentences, and for codes that mean different things to different requests.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The endpoint.
    pub endpoint: &'a str,
    /// The region that was signed for.
    pub region: &'a str,
    /// The store's key; `None` for a listing.
    pub key: Option<&'a str>,
    /// A listing that was to go on from a token.
    pub continues: bool,
    /// Where the credentials come from.
    pub credentials: Kind,
}

impl Failure {
    /// Adds what the XML body says. A body that is none is ignored: the status says enough.
    #[must_use]
    pub fn with_body(mut self, body: &str) -> Self {
        let mut found = Self::default();
        let walked = walk(body, |node| {
            if let Node::End([root, field], text) = node
                && root == "Error"
            {
                let value = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
                match field.as_str() {
                    "Code" => found.code = value,
                    "Message" => found.message = value,
                    "Region" => found.region = value,
                    "Endpoint" => found.endpoint = value,
                    _ => {}
                }
            }
            Ok(())
        });
        if walked.is_ok() {
            self.code = found.code.or(self.code);
            self.message = found.message.or(self.message);
            self.region = self.region.or(found.region);
            self.endpoint = found.endpoint;
        }
        self
    }

    /// Whether reading the credentials again may help: they were refused, or the answer has no body to say why.
    pub fn doubts_credentials(&self) -> bool {
        match &self.code {
            Some(code) => self.refuses_credentials() && !is_about_time(code),
            None => matches!(self.status, 400 | 401 | 403),
        }
    }

    /// Whether the store says that it is the credentials.
    pub fn refuses_credentials(&self) -> bool {
        self.code.as_deref().is_some_and(refuses_credentials)
    }

    /// The error for the host.
    pub fn error(&self, attempt: &Attempt<'_>) -> Error {
        let (kind, remedy) = self.meaning(attempt);
        let what = match attempt.key {
            Some(key) => format!("{key:?} in bucket {} at {}", attempt.bucket, attempt.endpoint),
            None => format!("bucket {} at {}", attempt.bucket, attempt.endpoint),
        };
        let code = self.code.clone().unwrap_or_else(|| self.status.to_string());
        let said = self.message.as_deref().map(|text| format!(" ({})", shorten(text))).unwrap_or_default();
        let error = Error::new(kind, format!("{what}: {remedy} [{code}]{said}")).code(code);
        match kind {
            ErrorKind::Throttled => error.advice(RetryAdvice::AfterMs(self.retry_ms.unwrap_or(1000))),
            ErrorKind::Unavailable | ErrorKind::TimedOut => {
                error.advice(RetryAdvice::AfterMs(self.retry_ms.unwrap_or(0)))
            }
            // One of several servers may be the one whose clock is wrong, and each request is signed anew.
            ErrorKind::Unauthenticated if is_about_time(self.code.as_deref().unwrap_or("")) => {
                error.blame(Blame::Plugin).advice(RetryAdvice::AfterMs(0))
            }
            // A wrong key or bucket is a matter of the mount's options.
            ErrorKind::Unauthenticated => error.blame(Blame::Plugin),
            ErrorKind::NotFound if attempt.key.is_none() => error.blame(Blame::Plugin),
            _ => error,
        }
    }

    /// Kind and sentence, by the code and, where there is none or an unknown one, by the status.
    fn meaning(&self, attempt: &Attempt<'_>) -> (ErrorKind, String) {
        let code = self.code.as_deref().unwrap_or("");
        if let Some(issuer) = attempt.credentials.issuer()
            && refuses_credentials(code)
            && !is_about_time(code)
        {
            let sentence = format!(
                "the store refuses the temporary credentials from {issuer}: they were revoked, or are not meant for this store (option endpoint)"
            );
            return (ErrorKind::Unauthenticated, sentence);
        }
        let (kind, sentence) = match code {
            // MinIO refuses some names outright: nothing can be there.
            "NoSuchKey" | "NoSuchVersion" | "XMinioInvalidObjectName" | "XMinioInvalidResourceName" => {
                (ErrorKind::NotFound, "there is no such object")
            }
            "NoSuchBucket" => (
                ErrorKind::NotFound,
                "there is no such bucket: correct the bucket in mountPoint, or options endpoint and region",
            ),
            "InvalidBucketName" => {
                (ErrorKind::Invalid, "the store allows no such bucket name: correct mountPoint")
            }
            "KeyTooLongError" => (ErrorKind::NameTooLong, "the key is longer than the store allows"),
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => (ErrorKind::Denied, denied(attempt)),
            "SignatureDoesNotMatch" => (
                ErrorKind::Unauthenticated,
                "option secret-key does not belong to access-key: correct the pair",
            ),
            "InvalidAccessKeyId" | "InvalidClientTokenId" | "UnrecognizedClientException" => {
                (ErrorKind::Unauthenticated, "the store does not know this key: correct option access-key")
            }
            "ExpiredToken" | "TokenRefreshRequired" => (
                ErrorKind::Unauthenticated,
                "the temporary credentials have expired: renew options access-key, secret-key and session-token",
            ),
            "InvalidToken" | "InvalidTokenId" => (
                ErrorKind::Unauthenticated,
                "option session-token does not belong to access-key: correct or remove it",
            ),
            "RequestTimeTooSkewed" | "RequestExpired" => {
                (ErrorKind::Unauthenticated, "the clock of this machine is wrong: set it")
            }
            "InvalidObjectState" => (
                ErrorKind::Other,
                "the object is archived in a cold storage class and cannot be read: restore it first",
            ),
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "Redirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
            | "IncorrectEndpoint" => return self.elsewhere(attempt),
            "PreconditionFailed" => (ErrorKind::Stale, "it is not this version any more"),
            "InvalidRange" => (ErrorKind::OutOfRange, "the range begins beyond the end"),
            "RequestTimeout" => (ErrorKind::Unavailable, "the connection was too slow"),
            "RequestLimitExceeded" | "TooManyRequests" => {
                (ErrorKind::Throttled, "the store asks for fewer requests")
            }
            code if code.starts_with("SlowDown") || code.starts_with("Throttl") => {
                (ErrorKind::Throttled, "the store asks for fewer requests")
            }
            "" | "ServiceUnavailable" if self.status == 503 => {
                (ErrorKind::Throttled, "the store is overloaded or asks for fewer requests")
            }
            "InvalidArgument" if attempt.continues => {
                (ErrorKind::Stale, "the listing cannot go on from where it was")
            }
            _ => return self.by_status(attempt),
        };
        (kind, sentence.to_owned())
    }

    fn by_status(&self, attempt: &Attempt<'_>) -> (ErrorKind, String) {
        let (kind, sentence) = match self.status {
            301 | 302 | 307 | 308 => return self.elsewhere(attempt),
            400 if self.region.is_some() => return self.elsewhere(attempt),
            401 => (ErrorKind::Unauthenticated, "the store refuses the credentials"),
            403 => (ErrorKind::Denied, denied(attempt)),
            404 | 410 if attempt.key.is_some() => (ErrorKind::NotFound, "there is no such object"),
            404 | 410 => {
                (ErrorKind::NotFound, "there is no such bucket: correct mountPoint or option endpoint")
            }
            408 | 504 => (ErrorKind::Unavailable, "the store took too long"),
            412 => (ErrorKind::Stale, "it is not this version any more"),
            416 => (ErrorKind::OutOfRange, "the range begins beyond the end"),
            429 => (ErrorKind::Throttled, "the store asks for fewer requests"),
            501 => (ErrorKind::Unsupported, "the store does not know this operation"),
            500..=599 => (ErrorKind::Unavailable, "the store has a problem of its own"),
            400..=499 => (ErrorKind::Invalid, "the store does not accept the request"),
            _ => (
                ErrorKind::Other,
                "the server gave an answer that S3 does not know: is there an S3 store at option endpoint?",
            ),
        };
        (kind, sentence.to_owned())
    }

    /// The bucket is in another place than the requests went to.
    fn elsewhere(&self, attempt: &Attempt<'_>) -> (ErrorKind, String) {
        let sentence = match (&self.region, &self.endpoint) {
            (Some(region), _) if region != attempt.region => {
                format!("requests have to be signed for another region than {}: set option region to {region}", attempt.region)
            }
            (_, Some(endpoint)) => format!("the bucket has to be addressed at {endpoint}: set options endpoint and region"),
            _ if self.code.as_deref() == Some("AuthorizationHeaderMalformed") => {
                "the store does not accept who signed, or for which region: correct options access-key and region".to_owned()
            }
            _ => "the bucket is in another place: set options endpoint and region".to_owned(),
        };
        (ErrorKind::Invalid, sentence)
    }
}

/// The same codes that [`Failure::meaning`] maps to `unauthenticated`.
fn refuses_credentials(code: &str) -> bool {
    matches!(
        code,
        "SignatureDoesNotMatch"
            | "InvalidAccessKeyId"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "ExpiredToken"
            | "TokenRefreshRequired"
            | "InvalidToken"
            | "InvalidTokenId"
            | "RequestTimeTooSkewed"
            | "RequestExpired"
    )
}

/// What no other credentials would change.
fn is_about_time(code: &str) -> bool {
    matches!(code, "RequestTimeTooSkewed" | "RequestExpired")
}

fn denied(attempt: &Attempt<'_>) -> &'static str {
    match (attempt.credentials, attempt.key) {
        (Kind::Anonymous, _) => {
            "access denied without credentials: set options access-key and secret-key, or make the bucket public"
        }
        (_, Some(_)) => {
            "access denied: allow these credentials s3:GetObject (and s3:ListBucket, or it looks so where nothing is)"
        }
        (Kind::Static, None) => {
            "access denied: allow these credentials s3:ListBucket, or correct options access-key and secret-key"
        }
        (_, None) => "access denied: allow the role of these credentials s3:ListBucket",
    }
}

fn shorten(text: &str) -> String {
    let cut: String = text.chars().take(MESSAGE).collect();
    cut.trim_matches(['"', '.', ' ', '\n']).to_owned()
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
