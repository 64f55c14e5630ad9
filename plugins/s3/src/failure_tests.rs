use super::*;

fn attempt(key: Option<&str>) -> Attempt<'_> {
    Attempt {
        bucket: "b",
        endpoint: "http://h:9000",
        region: "us-east-1",
        key,
        continues: false,
        credentials: Kind::Static,
    }
}

fn coded(status: u16, code: &str) -> Failure {
    Failure { status, ..Failure::default() }
        .with_body(&format!("<Error><Code>{code}</Code><Message>Because.</Message></Error>"))
}

fn bare(status: u16) -> Failure {
    Failure { status, ..Failure::default() }
}

#[test]
fn codes_have_their_kinds() {
    for (status, code, kind) in [
        (404, "NoSuchKey", ErrorKind::NotFound),
        (404, "NoSuchBucket", ErrorKind::NotFound),
        (400, "XMinioInvalidResourceName", ErrorKind::NotFound),
        (403, "AccessDenied", ErrorKind::Denied),
        (403, "SignatureDoesNotMatch", ErrorKind::Unauthenticated),
        (403, "InvalidAccessKeyId", ErrorKind::Unauthenticated),
        (400, "ExpiredToken", ErrorKind::Unauthenticated),
        (403, "RequestTimeTooSkewed", ErrorKind::Unauthenticated),
        (403, "InvalidObjectState", ErrorKind::Other),
        (301, "PermanentRedirect", ErrorKind::Invalid),
        (400, "AuthorizationHeaderMalformed", ErrorKind::Invalid),
        (412, "PreconditionFailed", ErrorKind::Stale),
        (416, "InvalidRange", ErrorKind::OutOfRange),
        (503, "SlowDown", ErrorKind::Throttled),
        (503, "SlowDownRead", ErrorKind::Throttled),
        (503, "ServiceUnavailable", ErrorKind::Throttled),
        (503, "XMinioServerNotInitialized", ErrorKind::Unavailable),
        (500, "InternalError", ErrorKind::Unavailable),
        (400, "SomethingNew", ErrorKind::Invalid),
        (501, "NotImplemented", ErrorKind::Unsupported),
    ] {
        let error = coded(status, code).error(&attempt(Some("k")));
        assert_eq!(error.kind, kind, "{code}");
        assert_eq!(error.origin_code.as_deref(), Some(code));
        assert!(
            error.message.contains("\"k\"") && error.message.contains("bucket b at http://h:9000"),
            "{}",
            error.message
        );
        assert!(error.message.ends_with(&format!("[{code}] (Because)")), "{}", error.message);
    }
}

#[test]
fn statuses_speak_for_answers_without_a_body() {
    for (status, kind) in [
        (301, ErrorKind::Invalid),
        (401, ErrorKind::Unauthenticated),
        (403, ErrorKind::Denied),
        (404, ErrorKind::NotFound),
        (412, ErrorKind::Stale),
        (416, ErrorKind::OutOfRange),
        (429, ErrorKind::Throttled),
        (500, ErrorKind::Unavailable),
        (503, ErrorKind::Throttled),
        (204, ErrorKind::Other),
    ] {
        let error = bare(status).error(&attempt(Some("k")));
        assert_eq!(error.kind, kind, "{status}");
        assert_eq!(error.origin_code.as_deref(), Some(status.to_string().as_str()));
    }
}

#[test]
fn only_overload_and_outage_may_be_repeated() {
    let wait = |failure: Failure| match failure.error(&attempt(None)).retry {
        RetryAdvice::AfterMs(wait) => Some(wait),
        RetryAdvice::Never | RetryAdvice::Reopen => None,
    };
    assert_eq!(wait(coded(503, "SlowDown")), Some(1000));
    assert_eq!(wait(Failure { retry_ms: Some(7000), ..coded(503, "SlowDown") }), Some(7000));
    assert_eq!(wait(bare(502)), Some(0));
    for failure in [
        bare(404),
        bare(403),
        bare(412),
        coded(403, "SignatureDoesNotMatch"),
        coded(403, "InvalidObjectState"),
    ] {
        assert_eq!(wait(failure), None);
    }
}

#[test]
fn the_right_region_is_named() {
    let header = Failure { status: 301, region: Some("eu-west-3".into()), ..Failure::default() };
    assert!(header.error(&attempt(None)).message.contains("set option region to eu-west-3"));
    let body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-central-1</Region></Error>";
    let error = bare(400).with_body(body).error(&attempt(None));
    assert!(error.message.contains("set option region to eu-central-1"), "{}", error.message);
    let body =
        "<Error><Code>PermanentRedirect</Code><Endpoint>b.s3-eu-west-1.amazonaws.com</Endpoint></Error>";
    assert!(bare(301).with_body(body).error(&attempt(None)).message.contains("b.s3-eu-west-1.amazonaws.com"));
    assert!(bare(307).error(&attempt(None)).message.contains("options endpoint and region"));
}

#[test]
fn remedies_name_the_option() {
    let message = |status, code, key| coded(status, code).error(&attempt(key)).message;
    assert!(message(404, "NoSuchBucket", None).contains("mountPoint"));
    assert!(message(403, "SignatureDoesNotMatch", None).contains("secret-key"));
    assert!(message(403, "InvalidAccessKeyId", None).contains("access-key"));
    assert!(message(403, "AccessDenied", None).contains("s3:ListBucket"));
    assert!(message(403, "AccessDenied", Some("k")).contains("s3:GetObject"));
    let anonymous = Attempt { credentials: Kind::Anonymous, ..attempt(None) };
    assert!(
        coded(403, "AccessDenied")
            .error(&anonymous)
            .message
            .contains("without credentials: set options access-key")
    );
    assert!(message(403, "InvalidObjectState", Some("k")).contains("restore"));
}

#[test]
fn credentials_are_doubted_when_refused_or_for_no_reason_given() {
    assert!(coded(403, "InvalidAccessKeyId").doubts_credentials());
    assert!(coded(400, "ExpiredToken").doubts_credentials());
    assert!(bare(403).doubts_credentials() && bare(400).doubts_credentials());
    assert!(!coded(403, "AccessDenied").doubts_credentials());
    assert!(!coded(403, "InvalidObjectState").doubts_credentials());
    assert!(!bare(404).doubts_credentials() && !bare(503).doubts_credentials());
}

#[test]
fn every_refusal_of_credentials_is_unauthenticated() {
    for code in [
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "ExpiredToken",
        "TokenRefreshRequired",
        "InvalidToken",
        "InvalidTokenId",
        "RequestTimeTooSkewed",
        "RequestExpired",
    ] {
        assert!(refuses_credentials(code));
        assert_eq!(coded(403, code).error(&attempt(None)).kind, ErrorKind::Unauthenticated, "{code}");
    }
}

#[test]
fn a_token_of_a_listing_grows_stale() {
    let failure = coded(400, "InvalidArgument");
    assert_eq!(failure.error(&Attempt { continues: true, ..attempt(None) }).kind, ErrorKind::Stale);
    assert_eq!(failure.error(&attempt(None)).kind, ErrorKind::Invalid);
}

#[test]
fn bodies_that_are_no_error_document_change_nothing() {
    for body in ["", "<html>", "<Error><Code>NoSuchKey</Code>", "<Other><Code>NoSuchKey</Code></Other>"] {
        let failure = Failure { code: Some("FromHeader".into()), ..bare(404) }.with_body(body);
        assert_eq!(failure.code.as_deref(), Some("FromHeader"), "{body}");
    }
}

#[test]
fn long_messages_are_cut() {
    let body = format!("<Error><Code>X</Code><Message>{}</Message></Error>", "é".repeat(5000));
    assert!(bare(400).with_body(&body).error(&attempt(None)).message.chars().count() < 600);
}

#[test]
fn temporary_credentials_are_not_corrected_in_options() {
    let refused = |code: &str, credentials| {
        let failure = Failure { status: 403, code: Some(code.into()), ..Failure::default() };
        failure.error(&Attempt { credentials, ..attempt(None) })
    };
    for kind in [Kind::WebIdentity, Kind::Container, Kind::Instance] {
        for code in ["InvalidAccessKeyId", "ExpiredToken", "InvalidTokenId", "SignatureDoesNotMatch"] {
            let error = refused(code, kind);
            assert_eq!(error.kind, ErrorKind::Unauthenticated);
            assert!(error.message.contains(kind.issuer().unwrap()), "{}", error.message);
            assert!(!error.message.contains("access-key"), "{}", error.message);
        }
        assert!(refused("RequestTimeTooSkewed", kind).message.contains("clock"));
        assert!(refused("AccessDenied", kind).message.contains("the role"));
    }
    assert!(refused("ExpiredToken", Kind::Static).message.contains("session-token"));
}
