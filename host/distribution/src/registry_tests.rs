//! Who gets the credentials, with servers that say what a test writes down.

use super::*;
use crate::progress::Silent;
use crate::reference::{Reference, Remote};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

const USER: &str = "reader";
/// `reader:swordfish` in base 64, as `Basic` has it.
const BASIC: &str = "cmVhZGVyOnN3b3JkZmlzaA==";

/// A server that answers one request per connection, for as long as the process lives.
struct Server {
    host: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut head, mut length) = (String::new(), 0);
                while !head.ends_with("\r\n\r\n") {
                    let from = head.len();
                    if stream.read_line(&mut head).unwrap_or(0) == 0 {
                        break;
                    }
                    let line = head[from..].to_ascii_lowercase();
                    if let Some(value) = line.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let _ = std::io::copy(&mut (&mut stream).take(length), &mut std::io::sink());
                let text = answer(&head);
                log.lock().unwrap().push(head);
                let _ = stream.get_mut().write_all(text.as_bytes());
            }
        });
        Self { host, heads }
    }

    fn asked(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn says(status: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn is_authorized(head: &str) -> bool {
    head.to_ascii_lowercase().contains("\r\nauthorization:")
}

/// A registry that wants its password, and leads to `elsewhere` with whatever else is asked.
fn registry(elsewhere: String) -> Server {
    Server::start(move |head| {
        if !head.contains(&format!("Basic {BASIC}")) {
            return says("401 Unauthorized", &["www-authenticate: Basic realm=\"here\""], "");
        }
        let location = format!("location: {elsewhere}/bucket?signature=canary");
        match head.split(' ').next() {
            Some("HEAD") => says("404 Not Found", &[], ""),
            Some("POST") => says("202 Accepted", &[&location], ""),
            _ => says("307 Temporary Redirect", &[&location], ""),
        }
    })
}

/// What is done with the repository `a` of a registry, with these other servers allowed without TLS.
fn with<T>(
    registry: &Server,
    others: &[&Server],
    access: Access,
    work: impl FnOnce(&mut Repository<'_>) -> T,
) -> T {
    let limits = Limits::default();
    let plain: Vec<_> = others.iter().chain([&registry]).map(|server| server.host.clone()).collect();
    let http = Http::new(&plain, None, &limits).unwrap();
    let reference = Reference::parse(&format!("oci://{}/a:v1", registry.host)).unwrap();
    let Reference::Remote(Remote::Oci(reference)) = reference else { panic!("no registry") };
    let credentials = Credentials::Basic { user: USER.to_owned(), password: "swordfish".to_owned() };
    work(&mut Repository::new(&http, &limits, &reference, Some(credentials), access).unwrap())
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    let descriptor = serde_json::json!({
        "mediaType": "application/wasm", "digest": Digest::of(bytes).to_string(), "size": bytes.len(),
    });
    serde_json::from_value(descriptor).unwrap()
}

/// Challenges that the password would be an answer to.
fn lures(thief: &Server) -> [String; 3] {
    let realm = format!("www-authenticate: Bearer realm=\"http://{}/token\",service=\"x\"", thief.host);
    [realm, "www-authenticate: Basic realm=\"x\"".to_owned(), "x-nothing: at-all".to_owned()]
}

#[test]
fn whoever_a_registry_redirects_to_is_not_answered_with_its_credentials() {
    let thief = Server::start(|_| says("200 OK", &[], "{\"token\":\"thanks\"}"));
    for lure in lures(&thief) {
        for status in ["401 Unauthorized", "403 Forbidden"] {
            let lure = lure.clone();
            let bucket = Server::start(move |_| says(status, &[&lure], ""));
            let registry = registry(format!("http://{}", bucket.host));
            let error = with(&registry, &[&bucket, &thief], Access::Pull, |repository| {
                // The second time the registry has got its proof already, and the bucket is the first to refuse.
                let mut fails = || repository.small_blob(&descriptor(b"bytes"), 100, &Silent).unwrap_err();
                fails();
                fails()
            });
            assert_eq!(error.kind, crate::ErrorKind::Refused);
            let expected = format!("{}, where {} leads for a, refuses that", bucket.host, registry.host);
            assert!(error.message.starts_with(&expected), "{error}");
            assert!(
                !error.message.contains("canary") && !error.message.contains("--registry-auth"),
                "{error}"
            );
            assert_eq!(bucket.asked().len(), 2, "each time once, and not once more with proof");
            assert!(!bucket.asked().iter().any(|head| is_authorized(head)));
        }
    }
    assert_eq!(thief.asked(), Vec::<String>::new());
}

#[test]
fn whoever_takes_an_upload_for_a_registry_is_not_answered_with_its_credentials() {
    let thief = Server::start(|_| says("200 OK", &[], "{\"token\":\"thanks\"}"));
    for lure in lures(&thief) {
        let bucket = Server::start(move |_| says("401 Unauthorized", &[&lure], ""));
        let registry = registry(format!("http://{}", bucket.host));
        let error = with(&registry, &[&bucket, &thief], Access::Push, |repository| {
            repository.upload(Digest::of(b"bytes"), b"bytes", &Silent).unwrap_err()
        });
        assert!(error.message.contains("are not sent there"), "{error}");
        assert_eq!(bucket.asked().len(), 1);
        assert!(bucket.asked()[0].starts_with("PUT /bucket?signature=canary&digest=sha256:"));
        assert!(!is_authorized(&bucket.asked()[0]));
    }
    assert_eq!(thief.asked(), Vec::<String>::new());
}

#[test]
fn the_registry_itself_is_answered_and_its_bucket_asked_without() {
    let bucket = Server::start(|_| says("200 OK", &[], "bytes"));
    let registry = registry(format!("http://{}", bucket.host));
    let bytes = with(&registry, &[&bucket], Access::Pull, |repository| {
        repository.small_blob(&descriptor(b"bytes"), 100, &Silent).unwrap()
    });
    assert_eq!(bytes, b"bytes");
    let asked: Vec<_> = registry.asked().iter().map(|head| is_authorized(head)).collect();
    assert_eq!(asked, [false, true]);
    assert!(!is_authorized(&bucket.asked()[0]));
    // Who refuses is the registry here, and the credentials are to blame.
    let registry = Server::start(|_| says("401 Unauthorized", &["www-authenticate: Basic realm=\"x\""], ""));
    let error = with(&registry, &[], Access::Pull, |repository| {
        repository.small_blob(&descriptor(b"bytes"), 100, &Silent).unwrap_err()
    });
    assert!(error.message.contains("with the credentials of --registry-auth"), "{error}");
}
