//! The JSON document in which credential services of containers and instances answer.

use super::issued::Fetched;
use serde::Deserialize;
use wasmount_sdk::{Error, Result, time};

/// Largest answer that is read, in bytes: a session token and its fellows have a few KiB.
pub(super) const MAX_BYTES: u32 = 64 << 10;

/// Longest part of a service's own words that is passed on, in characters.
const MESSAGE: usize = 300;

/// As the services write it (AWS SDKs and Tools Reference, "Container credential provider"; EC2 User Guide, "Retrieve security credentials from
/// instance metadata"). Other fields are ignored: services add some.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "Code")]
    code: Option<String>,
    #[serde(rename = "Message")]
    message: Option<String>,
    #[serde(rename = "AccessKeyId")]
    access_key: Option<String>,
    #[serde(rename = "SecretAccessKey")]
    secret_key: Option<String>,
    #[serde(rename = "Token")]
    token: Option<String>,
    #[serde(rename = "Expiration")]
    expires: Option<String>,
}

/// An error as these services write it.
#[derive(Deserialize)]
struct Refusal {
    #[serde(alias = "Code")]
    code: Option<String>,
    #[serde(alias = "Message")]
    message: Option<String>,
}

/// Reads credentials.
///
/// # Errors
/// `unauthenticated`: the service says why it has none; `corrupt`: anything that is no such document. No part of it is repeated but code and message.
pub(super) fn parse(document: &str) -> Result<Fetched> {
    // The parser's own words could quote what is secret.
    let found: Document = serde_json::from_str(document).map_err(|error| {
        Error::corrupt(format!(
            "the answer is not the JSON expected (line {}, column {})",
            error.line(),
            error.column()
        ))
    })?;
    if let Some(code) = found.code.as_deref().filter(|code| *code != "Success") {
        return Err(Error::unauthenticated(said(code, found.message.as_deref())).code(shorten(code)));
    }
    let (Some(access_key), Some(secret_key)) = (found.access_key, found.secret_key) else {
        return Err(Error::corrupt("the answer has no AccessKeyId or no SecretAccessKey"));
    };
    let expires = match found.expires {
        None => None,
        Some(text) => {
            let end = time::parse_rfc3339(&text).map(|at| at.seconds);
            let what = || Error::corrupt(format!("Expiration is no point in time: {:?}", shorten(&text)));
            Some(end.ok_or_else(what)?)
        }
    };
    Fetched { access_key, secret_key, token: found.token, expires }.checked()
}

/// What an answer that is no success says, if it is a document at all.
pub(super) fn refusal(document: &str) -> Option<String> {
    let Refusal { code, message } = serde_json::from_str(document).ok()?;
    match (code, message) {
        (None, None) => None,
        (code, message) => Some(said(code.as_deref().unwrap_or("no code"), message.as_deref())),
    }
}

fn said(code: &str, message: Option<&str>) -> String {
    match message {
        Some(message) => format!("{} ({})", shorten(code), shorten(message)),
        None => shorten(code),
    }
}

/// For messages: bounded, on one line.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(MESSAGE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmount_sdk::ErrorKind;

    const GOOD: &str = r#"{"Code":"Success","LastUpdated":"2026-01-01T00:00:00Z","Type":"AWS-HMAC","AccessKeyId":"ASIA1",
        "SecretAccessKey":"s3cr3t","Token":"t0ken==","Expiration":"2026-01-01T06:00:00Z","AccountId":"1"}"#;

    #[test]
    fn reads_what_both_kinds_of_service_send() {
        let found = parse(GOOD).unwrap();
        assert_eq!((found.access_key.as_str(), found.secret_key.as_str()), ("ASIA1", "s3cr3t"));
        assert_eq!(found.token.as_deref(), Some("t0ken=="));
        assert_eq!(found.expires, Some(1_767_247_200));
        let lasting = parse(r#"{"AccessKeyId":"A","SecretAccessKey":"s"}"#).unwrap();
        assert_eq!((lasting.token, lasting.expires), (None, None));
    }

    #[test]
    fn every_truncation_is_an_error_without_secrets() {
        for length in 0..GOOD.len() {
            let error = parse(&GOOD[..length]).unwrap_err();
            assert!(
                !error.message.contains("s3cr3t") && !error.message.contains("t0ken"),
                "{}",
                error.message
            );
        }
    }

    #[test]
    fn what_is_no_such_document_is_an_error() {
        let deep = "[".repeat(100_000);
        let key = "A".repeat(100_000);
        let long = format!(r#"{{"AccessKeyId":"{key}","SecretAccessKey":"s"}}"#);
        for bad in [
            "",
            "null",
            "[]",
            "{}",
            "\u{0}",
            "<html></html>",
            r#"{"AccessKeyId":"A"}"#,
            r#"{"AccessKeyId":1,"SecretAccessKey":"s3cr3t"}"#,
            r#"{"AccessKeyId":"A","SecretAccessKey":["s3cr3t"]}"#,
            r#"{"AccessKeyId":"A","SecretAccessKey":"s3cr3t","Expiration":"tomorrow"}"#,
            r#"{"AccessKeyId":"A","SecretAccessKey":"s3cr3t","Expiration":99}"#,
            r#"{"AccessKeyId":"A\r\nx-evil: 1","SecretAccessKey":"s3cr3t"}"#,
            r#"{"AccessKeyId":"A","AccessKeyId":"B","SecretAccessKey":"s3cr3t"}"#,
            r#"{"AccessKeyId":"A","SecretAccessKey":"s3cr3t"}{"#,
            &deep,
            &long,
        ] {
            let error = parse(bad).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Corrupt, "{}", error.message);
            assert!(!error.message.contains("s3cr3t") && error.message.len() < 200, "{}", error.message);
        }
    }

    #[test]
    fn a_service_that_refuses_is_quoted() {
        let error =
            parse(r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot\nassume the role"}"#)
                .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthenticated);
        assert_eq!(error.message, "AssumeRoleUnauthorizedAccess (EC2 cannot assume the role)");
        assert_eq!(
            refusal(r#"{"code":"AccessDenied","message":"no"}"#).as_deref(),
            Some("AccessDenied (no)")
        );
        assert_eq!(refusal(r#"{"Message":"no"}"#).as_deref(), Some("no code (no)"));
        assert_eq!(refusal("<html>"), None);
        assert_eq!(refusal("{}"), None);
    }
}
