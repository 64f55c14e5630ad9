//! The hostile plugin in the real sandbox: each misdeed gives its documented error within the deadline, and the
//! next call works.
#![allow(clippy::expect_used, reason = "in functions that the tests share")]

mod support;

use std::time::{Duration, Instant};
use support::{Sandbox, Server, assert_works, first_kib, get, response, within};
use wasmount_core::ports::{GetRequest, HeadOutcome, ListRequest};
use wasmount_types::{Blame, ByteRange, Error, ErrorKind, ObjectKey, Retry, Version};

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_plugin_works() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.plugin.description().name, "hostile");
    let shown = sandbox.plugin.description().to_string();
    assert!(shown.contains("hostile://") && shown.contains("integer from 1 to 10"), "{shown}");
    let store = sandbox.store().await;
    assert_works(&store).await;
    let page = ListRequest { prefix: "p/".into(), limit: 10, ..ListRequest::default() };
    let page = store.list(within(5), page).await.unwrap();
    assert_eq!(page.objects.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["p/one", "p/two"]);
    let head = store.head(within(5), ObjectKey::new("x"), None).await.unwrap();
    assert!(matches!(head, HeadOutcome::Found(info) if info.object.size == 16 << 20));
    let head = store.head(within(5), ObjectKey::new("x"), Some(Version::new("v1"))).await.unwrap();
    assert_eq!(head, HeadOutcome::Unchanged);
}

/// Runs a misdeed, checks the error, and that the mount lives on. Returns the time the error took.
async fn misdeed(sandbox: &Sandbox, key: &str, seconds: u64) -> (Error, Duration) {
    let store = sandbox.store().await;
    assert_works(&store).await;
    let started = Instant::now();
    let error = get(&store, within(seconds), first_kib(key)).await.expect_err(key);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(seconds) + Duration::from_secs(10), "{key} took {took:?}");
    assert_works(&store).await;
    (error, took)
}

#[tokio::test(flavor = "multi_thread")]
async fn traps_are_survived() {
    let sandbox = Sandbox::new();
    for (key, reason) in [
        ("trap", "unreachable"),
        ("panic", "asked to panic"),
        ("recurse", "memory access"),
        ("random", "random bytes"),
        ("alloc", "256 MiB"),
        ("bogus-handle", "handle"),
    ] {
        let (error, took) = misdeed(&sandbox, key, 10).await;
        assert_eq!((error.kind, error.blame), (ErrorKind::Other, Blame::Plugin), "{key}: {error}");
        assert!(
            error.message.starts_with("plugin hostile trapped: ") && error.message.contains(reason),
            "{key}: {error}"
        );
        assert!(took < Duration::from_secs(8), "{key}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spinning_ends_with_the_cpu_budget() {
    let sandbox = Sandbox::limited(|limits| limits.cpu_budget = Duration::from_millis(200));
    for key in ["spin", "spin-async", "spin-calling", "spin-refused"] {
        let (error, _) = misdeed(&sandbox, key, 20).await;
        assert_eq!((error.kind, error.blame), (ErrorKind::Other, Blame::Plugin), "{key}: {error}");
        assert!(error.message.contains("without finishing or waiting"), "{key}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_holds_whatever_the_guest_does() {
    let sandbox = Sandbox::limited(|limits| limits.grace = Duration::from_millis(300));
    // A budget of a second is longer than the deadline: the caller is answered first.
    let (error, _) = misdeed(&sandbox, "spin", 0).await;
    assert_eq!((error.kind, error.blame), (ErrorKind::TimedOut, Blame::Plugin));
    let (error, took) = misdeed(&sandbox, "hang", 1).await;
    assert_eq!((error.kind, error.blame), (ErrorKind::TimedOut, Blame::Plugin));
    assert!(took >= Duration::from_secs(1));
    let (error, _) = misdeed(&sandbox, "sleep:60000", 1).await;
    assert_eq!((error.kind, error.blame), (ErrorKind::TimedOut, Blame::Origin), "it waits for the host");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_origin_is_the_origins_fault_and_disturbs_nobody() {
    let sandbox = Sandbox::limited(|limits| limits.grace = Duration::from_millis(300));
    let server = Server::start(1).await;
    let (store, _) = sandbox.open(&[("endpoint", &server.origin)], &["127.0.0.1"]).await.unwrap();
    let hang = format!("connect:{}/hang", server.origin);
    let hanging = get(&store, within(4), first_kib(&hang));
    let started = Instant::now();
    let sleeping = async { (get(&store, within(20), first_kib("sleep:5000")).await, started.elapsed()) };
    let (hanging, (sleeping, took)) = tokio::join!(hanging, sleeping);
    let error = hanging.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::TimedOut, Blame::Origin));
    // The call was ended by failing its import. Had the instance been replaced instead, after 4.3 seconds, the other
    // call would have been made again and taken 9.3.
    assert_eq!(sleeping.unwrap().len(), 1024);
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_dropped_is_given_up() {
    let sandbox = Sandbox::limited(|limits| limits.grace = Duration::from_millis(200));
    let store = sandbox.store().await;
    for key in ["hang", "sleep:60000", "spin"] {
        let call = get(&store, within(60), first_kib(key));
        assert!(tokio::time::timeout(Duration::from_millis(100), call).await.is_err());
        assert_works(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_are_corrupt() {
    let sandbox = Sandbox::new();
    for key in ["short", "long", "endless", "wrong-offset", "wrong-key"] {
        let (error, _) = misdeed(&sandbox, key, 5).await;
        assert_eq!((error.kind, error.blame), (ErrorKind::Corrupt, Blame::Plugin), "{key}: {error}");
    }
    let store = sandbox.store().await;
    let pinned = GetRequest { pin: Some(Version::new("v1")), ..first_kib("wrong-version") };
    assert_eq!(get(&store, within(5), pinned).await.unwrap_err().kind, ErrorKind::Stale);
    for prefix in ["page-too-large/", "outside/"] {
        let page = ListRequest { prefix: prefix.into(), limit: 5, ..ListRequest::default() };
        let error = store.list(within(5), page).await.unwrap_err();
        assert_eq!((error.kind, error.blame), (ErrorKind::Corrupt, Blame::Plugin), "{prefix}: {error}");
    }
    let again = ListRequest {
        prefix: "endless/".into(),
        continuation: Some("again".into()),
        limit: 5,
        ..ListRequest::default()
    };
    assert_eq!(store.list(within(5), again).await.unwrap_err().kind, ErrorKind::Corrupt);
    let huge = ListRequest { prefix: "huge/".into(), limit: 1000, ..ListRequest::default() };
    let error = store.list(within(10), huge).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Other, Blame::Plugin), "{error}");
    let error = store.head(within(5), ObjectKey::new("unchanged"), None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
    let error = store.head(within(5), ObjectKey::new("k".repeat(5000)), None).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::NameTooLong, Blame::Caller));
    let beyond = GetRequest { range: Some(ByteRange::new(1 << 40, 10)), ..first_kib("honest") };
    get(&store, within(5), beyond).await.unwrap_err();
    assert_works(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_memory_is_bounded() {
    let sandbox = Sandbox::new();
    for key in ["handles", "buffers", "pieces", "digest"] {
        let (error, _) = misdeed(&sandbox, key, 20).await;
        assert_eq!((error.kind, error.blame), (ErrorKind::TooLarge, Blame::Plugin), "{key}: {error}");
    }
    let store = sandbox.store().await;
    let error = store.head(within(5), ObjectKey::new("long-message"), None).await.unwrap_err();
    assert!(error.message.len() <= 1024 && error.message.starts_with("line\\n"), "{error}");
    get(&store, within(5), first_kib("log")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_to_be_opened_again_for_ever_gets_slower() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    assert_works(&store).await;
    let started = Instant::now();
    for _ in 0..9 {
        let error = get(&store, within(10), first_kib("reopen")).await.unwrap_err();
        assert_eq!(error.retry, Retry::Reopen, "{error}");
    }
    // Pauses of 100 and 200 ms before the last two.
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    assert_works(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_granted_and_allowed_origins_are_reached() {
    let sandbox = Sandbox::new();
    let server = Server::start(1).await;
    let url = format!("connect:{}/size/10", server.origin);
    let whole = || GetRequest { range: None, ..first_kib(&url) };
    // Granted and allowed.
    let (store, _) = sandbox.open(&[("endpoint", &server.origin)], &["127.0.0.1"]).await.unwrap();
    assert_eq!(get(&store, within(5), whole()).await.unwrap(), [7; 10]);
    let elsewhere = get(&store, within(5), first_kib("connect:http://127.0.0.1:1/")).await.unwrap_err();
    assert_eq!((elsewhere.kind, elsewhere.blame), (ErrorKind::Denied, Blame::Host), "{elsewhere}");
    // Granted by the Dataset, not allowed by the operator.
    let (store, _) = sandbox.open(&[("endpoint", &server.origin)], &[]).await.unwrap();
    let error = get(&store, within(5), whole()).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host));
    assert!(error.message.contains("--allow-net"), "{error}");
    assert_works(&store).await;
    // Allowed, not granted.
    let (store, _) = sandbox.open(&[], &["127.0.0.1"]).await.unwrap();
    assert_eq!(get(&store, within(5), whole()).await.unwrap_err().kind, ErrorKind::Denied);
    // Neither, whatever the options say.
    let metadata = "http://169.254.169.254";
    let (store, _) = sandbox.open(&[("endpoint", metadata)], &[]).await.unwrap();
    let error = get(&store, within(5), first_kib(&format!("connect:{metadata}/latest"))).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_fails_with_a_sentence_or_not_at_all() {
    let sandbox = Sandbox::limited(|limits| {
        limits.open = Duration::from_secs(3);
        // A plugin that is starved uses it up before its time is over, too.
        limits.cpu_budget = Duration::from_millis(300);
    });
    for (mode, kind, blame) in [
        ("fail", ErrorKind::Unavailable, None),
        ("trap", ErrorKind::Other, Some(Blame::Plugin)),
        ("spin", ErrorKind::Other, Some(Blame::Plugin)),
        ("hang", ErrorKind::TimedOut, Some(Blame::Plugin)),
    ] {
        let error = sandbox.open(&[("mode", mode)], &[]).await.err().unwrap();
        assert_eq!(error.kind, kind, "{mode}: {error}");
        assert!(blame.is_none_or(|blame| error.blame == blame), "{mode}: {error}");
    }
    let error = sandbox.open(&[("number", "11")], &[]).await.err().unwrap();
    assert!(error.message.contains("`number`") && error.message.contains("from 1 to 10"), "{error}");
    let (_, info) = sandbox.open(&[("nubmer", "1")], &[]).await.unwrap();
    assert!(info.warnings[0].contains("did you mean `number`?"), "{:?}", info.warnings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_sent_only_where_its_option_says() {
    let sandbox = Sandbox::new();
    let (endpoint, own) = (Server::start(1).await, Server::start(1).await);
    let own_address = own.origin.trim_start_matches("http://").to_owned();
    let options = [
        ("endpoint", endpoint.origin.as_str()),
        ("elsewhere", &own_address),
        ("secret", "swordfish-literal"),
    ];
    let (store, _) = sandbox.open(&options, &["127.0.0.1"]).await.unwrap();
    let whole = |key: &str| GetRequest { range: None, ..first_kib(key) };
    let address = endpoint.origin.trim_start_matches("http://");
    get(&store, within(5), whole(&format!("send-secret-to:{address}"))).await.unwrap();
    // The plugin may reach the origin of its template, but the secret's option does not name it.
    get(&store, within(5), whole(&format!("connect-to:{own_address}"))).await.unwrap();
    let before = own.heads();
    let error = get(&store, within(5), whole(&format!("send-secret-to:{own_address}"))).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host), "{error}");
    assert!(error.message.contains("option secret may not be sent to"), "{error}");
    assert!(error.message.contains(&endpoint.origin) && !error.message.contains("swordfish"), "{error}");
    assert!(endpoint.heads().iter().any(|head| head.contains("authorization: Bearer swordfish-literal")));
    assert_eq!(own.heads(), before, "nothing has left the host");
    assert_works(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_used_without_being_seen() {
    let sandbox = Sandbox::new();
    let (store, info) = sandbox.open(&[("secret", "swordfish-literal")], &[]).await.unwrap();
    assert!(info.title.contains(r#""secret":"secret:secret""#), "{}", info.title);
    assert!(!info.title.contains("swordfish"), "{}", info.title);
    let error = store.head(within(5), ObjectKey::new("reveal"), None).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host), "{error}");
    let mac = store.head(within(5), ObjectKey::new("hmac"), None).await.unwrap_err();
    // HMAC-SHA-256 of "data" with that key, by `openssl dgst -sha256 -hmac`.
    assert_eq!(mac.message, "10c8ccb78e591963039f47220536fe718bd3c8d06b3e8cd46a34981a0e28b90a");
    let quoted = response(&store, within(5), first_kib("connect:swordfish-literal")).await.err().unwrap();
    assert!(!quoted.message.contains("swordfish"), "{quoted}");
}
