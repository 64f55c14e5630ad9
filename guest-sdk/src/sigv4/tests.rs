//! The vectors AWS publishes: "Examples: Signature Calculations" in the S3 API reference, and the signing key of
//! "Create a signed AWS API request" in the IAM user guide.

use super::*;
use std::cell::Cell;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
/// 2013-05-24T00:00:00Z
const NOW: Timestamp = Timestamp { seconds: 1_369_353_600, nanoseconds: 0 };

struct Key {
    secret: &'static str,
    generation: Cell<u64>,
    uses: Cell<u32>,
}

impl Key {
    fn new(secret: &'static str) -> Self {
        Self { secret, generation: Cell::new(1), uses: Cell::new(0) }
    }
}

impl SigningSecret for Key {
    fn generation(&self) -> u64 {
        self.generation.get()
    }

    fn hmac(&self, prefix: &[u8], data: &[u8]) -> Result<Vec<u8>> {
        self.uses.set(self.uses.get() + 1);
        hmac_sha256(&[prefix, self.secret.as_bytes()].concat(), data)
    }
}

fn pairs(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn authorization(method: &str, url: &str, headers: &[(&str, &str)], payload: Payload) -> String {
    let (key, headers) = (Key::new(SECRET), pairs(headers));
    let identity = Identity { access_key: ACCESS_KEY, secret: &key, session_token: None };
    let request = Unsigned { method, url, headers: &headers, payload };
    let added = Signer::new("us-east-1", "s3").sign(&identity, &request, NOW).unwrap();
    added.into_iter().find(|(name, _)| name == "authorization").unwrap().1
}

#[test]
fn get_object() {
    assert_eq!(
        authorization(
            "GET",
            "https://examplebucket.s3.amazonaws.com/test.txt",
            &[("Range", "bytes=0-9")],
            Payload::Empty
        ),
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
         Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    );
}

#[test]
fn put_object() {
    let headers = [("Date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
    let payload = Payload::Sha256(sha256(b"Welcome to Amazon S3."));
    let signed =
        authorization("PUT", "https://examplebucket.s3.amazonaws.com/test%24file.text", &headers, payload);
    assert!(
        signed.contains("SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,"),
        "{signed}"
    );
    assert!(
        signed.ends_with("Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
        "{signed}"
    );
}

#[test]
fn parameter_without_value() {
    let signed =
        authorization("GET", "https://examplebucket.s3.amazonaws.com/?lifecycle", &[], Payload::Empty);
    assert!(
        signed.ends_with("Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        "{signed}"
    );
}

#[test]
fn parameters_in_any_order() {
    for query in ["max-keys=2&prefix=J", "prefix=J&max-keys=2"] {
        let url = format!("https://examplebucket.s3.amazonaws.com/?{query}");
        let signed = authorization("GET", &url, &[], Payload::Empty);
        assert!(
            signed.ends_with("Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
            "{signed}"
        );
    }
}

#[test]
fn signing_key() {
    let key = Key::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    let derived = KeyCache::default().derive(&key, "20150830", "us-east-1", "iam").unwrap();
    assert_eq!(hex(&derived), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
}

#[test]
fn the_key_is_derived_once_a_day_and_generation() {
    let (key, signer) = (Key::new(SECRET), Signer::new("us-east-1", "s3"));
    let sign = |now| {
        let identity = Identity { access_key: ACCESS_KEY, secret: &key, session_token: None };
        let request = Unsigned { method: "GET", url: "https://h/", headers: &[], payload: Payload::Unsigned };
        signer.sign(&identity, &request, now).unwrap()
    };
    sign(NOW);
    sign(Timestamp { seconds: NOW.seconds + 86_399, nanoseconds: 0 });
    assert_eq!(key.uses.get(), 1);
    sign(Timestamp { seconds: NOW.seconds + 86_400, nanoseconds: 0 });
    assert_eq!(key.uses.get(), 2);
    key.generation.set(2);
    sign(Timestamp { seconds: NOW.seconds + 86_400, nanoseconds: 0 });
    assert_eq!(key.uses.get(), 3);
}

#[test]
fn a_key_in_memory_signs_alike_and_is_not_shown() {
    let (kept, clear) = (Key::new(SECRET), ClearSecret::new(SECRET, 7));
    assert_eq!(clear.hmac(b"AWS4", b"20130524").unwrap(), kept.hmac(b"AWS4", b"20130524").unwrap());
    assert_eq!(clear.generation(), 7);
    assert!(clear.is(SECRET) && !clear.is(ACCESS_KEY));
    assert!(!format!("{clear:?}").contains(SECRET));
}

#[test]
fn the_session_token_is_sent_and_signed() {
    let key = Key::new(SECRET);
    let identity = Identity { access_key: ACCESS_KEY, secret: &key, session_token: Some("t0ken") };
    let request =
        Unsigned { method: "GET", url: "http://127.0.0.1:9000/b/k", headers: &[], payload: Payload::Empty };
    let added = Signer::new("us-east-1", "s3").sign(&identity, &request, NOW).unwrap();
    assert!(added.contains(&("x-amz-security-token".into(), "t0ken".into())));
    assert!(
        added
            .last()
            .unwrap()
            .1
            .contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,")
    );
}

#[test]
fn canonical_request_keeps_the_path_and_joins_headers() {
    let headers = pairs(&[("X-Amz-B", " two   words "), ("x-amz-b", "again")]);
    let request = Unsigned {
        method: "GET",
        url: "http://h:81/b//a%2Fb/./c%20d?b=1&a&a=0",
        headers: &headers,
        payload: Payload::Empty,
    };
    let canonical = canonical::request(&request, &[], "P");
    assert_eq!(
        canonical.text,
        "GET\n/b//a%2Fb/./c%20d\na=&a=0&b=1\nhost:h:81\nx-amz-b:two words,again\n\nhost;x-amz-b\nP"
    );
}
