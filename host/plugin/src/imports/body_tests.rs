//! Pieces in memory, and responses of a real server.

use super::*;
use crate::limits::Limits;

fn budget(bytes: usize) -> Arc<BufferBudget> {
    let limits = Limits { buffers: bytes, ..Limits::default() };
    let all = crate::instance::GuestMemory::new(u64::MAX, &limits);
    BufferBudget::new(&limits, all.passing(Default::default()), all.lasting(Default::default()))
}

fn held(text: &'static str) -> Piece {
    Piece::Bytes(Held { bytes: Bytes::from_static(text.as_bytes()), charge: None })
}

async fn drain(mut pieces: Pieces, max: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(next) = pieces.next(max).await {
        let next = next.unwrap();
        assert!(!next.bytes.is_empty() && next.bytes.len() <= max);
        all.extend_from_slice(&next.bytes);
    }
    all
}

#[tokio::test]
async fn pieces_in_order() {
    let budget = budget(1 << 20);
    let body = Pieces::assemble([held("abc"), Piece::Zeros(3), held(""), held("defgh")], &budget).unwrap();
    assert_eq!(body.len(), Some(11));
    assert!(body.repeatable());
    let whole = b"abc\0\0\0defgh";
    for max in [1, 2, 100] {
        assert_eq!(drain(body.duplicate(&budget).unwrap(), max).await, whole);
    }
    for offset in 0..=11 {
        for length in 0..=11 - offset {
            let cut = body.cut(ByteRange::new(offset, length), &budget).unwrap();
            assert_eq!(drain(cut, 2).await, whole[offset as usize..(offset + length) as usize]);
        }
    }
    assert_eq!(body.cut(ByteRange::new(6, 6), &budget).err().unwrap().kind, ErrorKind::OutOfRange);
    assert_eq!(body.cut(ByteRange::new(u64::MAX, 2), &budget).err().unwrap().kind, ErrorKind::OutOfRange);
    let mut copy = body.duplicate(&budget).unwrap();
    assert_eq!(copy.collect(10, &budget).await.err().unwrap().kind, ErrorKind::TooLarge);
    assert_eq!(copy.collect(11, &budget).await.unwrap().bytes, &whole[..]);
}

#[test]
fn only_memory_that_nobody_else_has_is_taken_over() {
    let budget = budget(1 << 20);
    let charged = |length: usize, paid: usize| Held {
        bytes: vec![7; length].into(),
        charge: Some(Arc::new(budget.charge(paid).unwrap())),
    };
    let assemble = |held: Held| Pieces::assemble([Piece::Bytes(held)], &budget).unwrap();
    assert!(assemble(charged(1000, 1000)).take(1001, 5000).is_none(), "too little");
    assert!(assemble(charged(1000, 1000)).take(1, 999).is_none(), "too much");
    assert!(assemble(charged(1000, 1251)).take(1, 1000).is_none(), "it would keep more alive than it is");
    assert!(
        assemble(Held { charge: None, ..charged(1000, 0) }).take(1, 1000).is_none(),
        "of nobody knows whom"
    );
    let shared = charged(1000, 1000);
    assert!(assemble(shared.clone()).take(1, 1000).is_none(), "the guest has a part of it");
    drop(shared);
    let mut pieces = assemble(charged(1000, 1250));
    assert_eq!(pieces.take(1, 1000).unwrap().len(), 1000);
    assert_eq!(pieces.len(), Some(0));
    drop(pieces);
    assert!(budget.charge(1 << 20).is_ok(), "and its charge is given back");
}

#[tokio::test]
async fn what_the_budget_does_not_allow_is_not_lost() {
    let budget = budget(2 * PIECE + 4);
    let mut body = Pieces::assemble([held("abc"), held("def")], &budget).unwrap();
    let first = body.next(3).await.unwrap().unwrap();
    let first = body.charged(first, &budget).unwrap();
    let second = body.next(3).await.unwrap().unwrap();
    assert_eq!(body.charged(second, &budget).err().unwrap().kind, ErrorKind::TooLarge);
    drop(first);
    let second = body.next(3).await.unwrap().unwrap();
    assert_eq!(body.charged(second, &budget).unwrap().bytes, "def");
}

#[test]
fn small_pieces_are_put_together() {
    let budget = budget(1 << 20);
    let mut body = Pieces::assemble([], &budget).unwrap();
    let (mut at, mut all) = (0, Vec::new());
    for index in 0..100_000_u32 {
        let bytes = vec![index as u8; 1 + (index % 7 == 0) as usize];
        all.extend_from_slice(&bytes);
        let charge = budget.charge(bytes.len()).unwrap();
        at = body.gather(at, bytes.into(), charge);
    }
    assert_eq!((at, body.queue.len()), (1, 1));
    let large = Bytes::from(vec![9; SMALL]);
    all.extend_from_slice(&large);
    at = body.gather(at, large.clone(), budget.charge(SMALL).unwrap());
    at = body.gather(at, Bytes::from_static(b"z"), budget.charge(1).unwrap());
    all.push(b'z');
    assert_eq!(at, 3, "a large piece that somebody shares is not copied");
    let Some(Piece::Bytes(first)) = body.queue.front() else { panic!() };
    assert_eq!(first.charge.as_ref().unwrap().bytes(), first.bytes.len());
    assert_eq!(futures::FutureExt::now_or_never(drain(body, 1 << 20)).unwrap(), all);
    budget.charge(1 << 20).expect("everything was given back");
}

#[tokio::test]
async fn growth_is_bounded() {
    let small = budget(1000);
    let zeros = Pieces::assemble([Piece::Zeros(1 << 40)], &small).unwrap();
    assert_eq!(zeros.len(), Some(1 << 40));
    let error = Pieces::assemble([Piece::Zeros(1 << 63)], &small).err().unwrap();
    assert_eq!(error.kind, ErrorKind::TooLarge);
    let mut all = Pieces::assemble([Piece::Zeros(2000)], &small).unwrap();
    assert_eq!(all.collect(4000, &small).await.err().unwrap().kind, ErrorKind::TooLarge);
    let many = (0..=MAX_PIECES).map(|_| held("x"));
    assert_eq!(Pieces::assemble(many, &budget(1 << 20)).err().unwrap().kind, ErrorKind::TooLarge);
    let many = (0..100).map(|_| held("x"));
    assert_eq!(Pieces::assemble(many, &small).err().unwrap().kind, ErrorKind::TooLarge);
}

/// The body of a response in chunks of these sizes.
async fn response(sizes: &'static [usize]) -> ResponseBody {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use wasmount_net::{
        AllowNet, Grants, HttpClient, HttpRequest, MountNet, OriginGrant, ReachPolicy, TlsSettings,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut [0; 4096]).await.unwrap();
        let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        let mut number = 0u8;
        for size in sizes {
            answer.extend_from_slice(format!("{size:x}\r\n").as_bytes());
            answer.extend((0..*size).map(|_| {
                number = number.wrapping_add(1);
                number
            }));
            answer.extend_from_slice(b"\r\n");
        }
        answer.extend_from_slice(b"0\r\n\r\n");
        socket.write_all(&answer).await.unwrap();
    });
    let host = "127.0.0.1".to_owned();
    let grant = OriginGrant { protocol: "http".into(), host, port, read_methods: vec![], secrets: vec![] };
    let grants = Grants { origins: vec![grant], read_only: false, revealed: false };
    let policy = ReachPolicy::new(vec![AllowNet::parse("127.0.0.1").unwrap()]);
    let client = HttpClient::new(tokio::runtime::Handle::current());
    let net = MountNet::new(client, grants, policy, &TlsSettings::default(), None).unwrap();
    let request = HttpRequest {
        method: "GET".into(),
        url: format!("http://127.0.0.1:{port}/"),
        ..HttpRequest::default()
    };
    net.send(request).await.unwrap().body
}

fn counting(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index as u8).wrapping_add(1)).collect()
}

#[tokio::test]
async fn many_small_chunks_become_one_buffer() {
    let budget = budget(4 << 20);
    let mut body = Pieces::stream(response(&[1; 20_000]).await, &budget).unwrap();
    assert!(!body.repeatable() && body.len().is_none());
    let all = body.collect(20_000, &budget).await.unwrap();
    assert_eq!(all.bytes, counting(20_000));
    assert!(body.next(1).await.is_none());
    drop((all, body));
    budget.charge(4 << 20).expect("everything was given back");
}

#[tokio::test]
async fn a_collect_that_fails_loses_nothing() {
    let sizes = &[100, 100_000, 3, 70_000, 1, 1];
    let length = sizes.iter().sum();
    let large = budget(4 << 20);
    let mut body = Pieces::stream(response(sizes).await, &large).unwrap();
    assert_eq!(body.collect(150_000, &large).await.err().unwrap().kind, ErrorKind::TooLarge);
    assert_eq!(drain(body, 1000).await, counting(length));

    // There is room for the response, but not for collecting it.
    let small = budget(FRAME + 1000);
    let mut body = Pieces::stream(response(sizes).await, &small).unwrap();
    for _ in 0..3 {
        assert_eq!(body.collect(1 << 20, &small).await.err().unwrap().kind, ErrorKind::TooLarge);
    }
    assert_eq!(drain(body, 1000).await, counting(length));
    assert!(Pieces::stream(response(sizes).await, &budget(1000)).is_err());
}
