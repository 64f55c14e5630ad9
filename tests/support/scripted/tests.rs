use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Barrier};

use super::bucket::Buckets;
use super::*;
use crate::s3::{Client, Credentials};

fn raw(server: &Server, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    // Nothing more is asked: the server closes after its answer, and one that holds on does at once.
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    // An error is an outcome here: what came before it is what the server sent.
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn an_independent_client_reads_a_scripted_bucket() {
    let buckets = Buckets::new();
    for index in 0..2500 {
        buckets.put("b", &format!("many/{index:04} +%&"), format!("{index}"));
    }
    let server = {
        let buckets = buckets.clone();
        Server::start(move |request| buckets.answer(request)).unwrap()
    };
    let client = Client::new(&server.endpoint(), Credentials::minio(), None).unwrap();
    let keys = client.list("b", "many/").unwrap();
    assert_eq!(keys.len(), 2500);
    assert_eq!(keys.first().unwrap(), "many/0000 +%&");
    assert_eq!(client.get("b", "many/2499 +%&").unwrap(), b"2499");
    assert!(client.get("b", "none").unwrap_err().to_string().contains("NoSuchKey"));
    assert_eq!(
        server.requests().iter().filter(|request| request.parameter("list-type").is_some()).count(),
        3
    );
}

#[test]
fn ranges_versions_and_groups() {
    let buckets = Buckets::new();
    buckets.put("b", "dir/one", "0123456789");
    buckets.put("b", "dir/two", "x");
    buckets.put("b", "top", "y");
    let server = Server::start(move |request| buckets.answer(request)).unwrap();
    let part = raw(&server, "GET /b/dir/one HTTP/1.1\r\nrange: bytes=2-4\r\n\r\n");
    let part = String::from_utf8(part).unwrap();
    assert!(part.starts_with("HTTP/1.1 206") && part.ends_with("\r\n\r\n234"), "{part}");
    assert!(part.contains("content-range: bytes 2-4/10\r\n"), "{part}");
    let stale = raw(&server, "GET /b/dir/one HTTP/1.1\r\nif-match: \"0\"\r\n\r\n");
    assert!(stale.starts_with(b"HTTP/1.1 412"));
    let beyond = raw(&server, "GET /b/dir/one HTTP/1.1\r\nrange: bytes=10-\r\n\r\n");
    assert!(beyond.starts_with(b"HTTP/1.1 416"));
    let list = raw(&server, "GET /b?list-type=2&delimiter=%2F HTTP/1.1\r\n\r\n");
    let list = String::from_utf8(list).unwrap();
    assert!(list.contains("<CommonPrefixes><Prefix>dir/</Prefix></CommonPrefixes>"), "{list}");
    assert_eq!(list.matches("<Key>").count(), 1);
}

#[test]
fn faults_reach_the_wire() {
    let server = Server::start(|request| {
        let answer = Answer::new(200, "0123456789");
        match request.path.as_str() {
            "/cut" => answer.faulty(Fault::CutAfter(3)),
            "/lie" => answer.faulty(Fault::ClaimLength(99)),
            "/nobody" => answer.faulty(Fault::NeverBody),
            "/never" => answer.faulty(Fault::NeverAnswer),
            "/close" => answer.faulty(Fault::Close),
            _ => answer,
        }
    })
    .unwrap();
    let get = |path: &str| String::from_utf8(raw(&server, &format!("GET {path} HTTP/1.1\r\n\r\n"))).unwrap();
    assert!(get("/cut").ends_with("content-length: 10\r\n\r\n012"));
    assert!(get("/lie").ends_with("content-length: 99\r\n\r\n0123456789"));
    assert!(get("/nobody").ends_with("content-length: 10\r\n\r\n"));
    assert_eq!(get("/never"), "");
    assert_eq!(get("/close"), "");
    assert!(get("/fine").ends_with("\r\n\r\n0123456789"));
}

#[test]
fn the_server_counts_what_it_holds() {
    let together = Arc::new(Barrier::new(10));
    let server = Server::start(move |_| {
        together.wait();
        Answer::new(200, "")
    })
    .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| raw(&server, "GET / HTTP/1.1\r\n\r\n"));
        }
    });
    assert_eq!(server.max_in_flight(), 10);
    server.set_handler(|_| Answer::new(200, ""));
    server.reset();
    raw(&server, "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(server.max_in_flight(), 1);
}
