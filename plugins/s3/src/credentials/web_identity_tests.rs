//! What an STS sends, and what something else at its place may send.

use super::*;
use wasmount_sdk::RetryAdvice;

/// As MinIO writes it.
const GOOD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><AssumedRoleUser>
<Arn></Arn><AssumeRoleId></AssumeRoleId></AssumedRoleUser><Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>s3cr3t+/</SecretAccessKey>
<SessionToken>t0ken.x-y_z</SessionToken><Expiration>2026-01-01T06:00:00Z</Expiration></Credentials><SubjectFromWebIdentityToken>sub
</SubjectFromWebIdentityToken></AssumeRoleWithWebIdentityResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>
</AssumeRoleWithWebIdentityResponse>"#;

fn role(arn: Option<&str>) -> Role {
    let origin = "https://sts.eu-west-1.amazonaws.com".into();
    Role { origin, arn: arn.map(Into::into), session: "wasmount".into(), seconds: 3600 }
}

#[test]
fn the_request_is_encoded() {
    assert_eq!(
        role(Some("arn:aws:iam::1:role/a b")).form("eyJ.x-y_z.&=+"),
        "Action=AssumeRoleWithWebIdentity&DurationSeconds=3600&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%20b&RoleSessionName=wasmount&\
         Version=2011-06-15&WebIdentityToken=eyJ.x-y_z.%26%3D%2B"
    );
    assert!(!role(None).form("t").contains("RoleArn"));
}

#[test]
fn reads_credentials() {
    let found = parse(GOOD).unwrap();
    assert_eq!((found.access_key.as_str(), found.secret_key.as_str()), ("ASIA1", "s3cr3t+/"));
    assert_eq!(found.token.as_deref(), Some("t0ken.x-y_z"));
    assert_eq!(found.expires, Some(1_767_247_200));
}

#[test]
fn every_truncation_is_an_error_without_secrets() {
    for length in (0..GOOD.len()).filter(|length| GOOD.is_char_boundary(*length)) {
        let error = parse(&GOOD[..length]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt);
        assert!(!error.message.contains("s3cr3t") && !error.message.contains("t0ken"), "{}", error.message);
    }
}

#[test]
fn what_is_no_such_document_is_an_error() {
    let deep = "<a>".repeat(10_000);
    let long = GOOD.replace("t0ken", &"t".repeat(60_000));
    let changed = [
        GOOD.replace("<SessionToken>t0ken.x-y_z</SessionToken>", ""),
        GOOD.replace("<AccessKeyId>ASIA1</AccessKeyId>", "<AccessKeyId></AccessKeyId>"),
        GOOD.replace("ASIA1", "A&#13;&#10;x: y"),
        GOOD.replace("s3cr3t", "s3cr3t\u{e9}"),
        GOOD.replace("2026-01-01T06", "soon"),
        GOOD.replace("<Expiration>2026-01-01T06:00:00Z</Expiration>", ""),
        GOOD.replace("Credentials>", "Credential>"),
        GOOD.replace("<?xml", "<!DOCTYPE x [<!ENTITY a \"b\">]><?xml"),
        GOOD.replace("s3cr3t", "&xxe;"),
        format!("{GOOD}{GOOD}"),
    ];
    let others = ["", "{}", "<html>s3cr3t</html>", &deep, &long];
    for bad in changed.iter().map(String::as_str).chain(others) {
        let error = parse(bad).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{bad}");
        assert!(!error.message.contains("s3cr3t") && error.message.len() < 300, "{}", error.message);
    }
}

fn document(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type></Type><Code>{code}</Code><Message>{message}\
         </Message></Error><RequestId>1</RequestId></ErrorResponse>"
    )
}

fn error(status: u16, body: &str) -> Error {
    let usual = Error::unavailable(format!("STS: the server answered {status}"));
    refusal(status, usual, error_of(body))
}

#[test]
fn refusals_name_the_option() {
    for (code, word) in [
        ("ExpiredTokenException", "kubelet"),
        ("ExpiredToken", "kubelet"),
        ("AccessDenied", "role-arn"),
        ("InvalidIdentityToken", "audience"),
        ("InvalidParameterValue", "session-duration"),
        ("RegionDisabledException", "sts-endpoint"),
    ] {
        let error = error(400, &document(code, "why"));
        assert_eq!(error.kind, ErrorKind::Unauthenticated, "{code}");
        assert!(matches!(error.retry, RetryAdvice::Never));
        assert!(
            error.message.contains(word) && error.message.contains(&format!("[{code}] (why)")),
            "{}",
            error.message
        );
    }
}

#[test]
fn what_passes_is_repeated() {
    for (status, code) in [
        (400, "IDPCommunicationError"),
        (400, "Throttling"),
        (503, "STSNotInitialized"),
        (500, "InternalError"),
    ] {
        let error = error(status, &document(code, "later"));
        assert!(matches!(error.retry, RetryAdvice::AfterMs(_)), "{code}: {}", error.message);
    }
    for body in ["", "<html></html>", "<ErrorResponse><Error><Code></Code></Error></ErrorResponse>"] {
        assert_eq!(error(502, body).message, "STS: the server answered 502", "{body}");
    }
    let long = error(400, &document("X", &"m".repeat(100_000)));
    assert!(long.message.len() < 800);
}

#[test]
fn only_a_token_is_sent() {
    assert_eq!(token(Ok(b"eyJ.a.b\n".to_vec())).unwrap(), "eyJ.a.b");
    for bad in [&b""[..], b"a b", b"\xff", &[b'x'; MAX_TOKEN + 1]] {
        let error = token(Ok(bad.to_vec())).unwrap_err();
        assert!(error.message.starts_with("option web-identity-token"), "{}", error.message);
    }
}
