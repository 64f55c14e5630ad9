#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::*;
use std::io::{Read, Seek, Write};
use std::net::{TcpListener, TcpStream};

const SIZE: usize = 256 * 1024;

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours, theirs)
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// Fills it until it has `want` bytes or is full or at the end; what came last.
fn fill(pipe: &mut Pipe, socket: &TcpStream, want: usize) -> Filled {
    loop {
        match pipe.fill_from(socket, want - pipe.len()) {
            Ok(Filled::Bytes(_)) if pipe.len() < want => {}
            Ok(other) => return other,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_a_socket_receives_comes_out_whole_and_in_one_message() {
    let pipes = Pipes::new(2, SIZE);
    let (ours, mut theirs) = connected();
    let sent = bytes(SIZE);
    let sender = std::thread::spawn({
        let sent = sent.clone();
        move || theirs.write_all(&sent)
    });
    let (mut first, mut second) = (pipes.take().unwrap(), pipes.take().unwrap());
    assert!(pipes.take().is_none(), "no more than two");
    fill(&mut first, &ours, 100_000);
    assert_eq!(first.len(), 100_000);
    second.push(b"header").unwrap();
    first.move_to(&mut second).unwrap();
    assert_eq!((first.len(), second.len()), (0, 100_006));
    let mut file = tempfile::tempfile().unwrap();
    second.send_to(&file).unwrap();
    assert!(second.is_empty());
    file.rewind().unwrap();
    let mut there = Vec::new();
    file.read_to_end(&mut there).unwrap();
    assert_eq!((&there[..6], &there[6..]), (&b"header"[..], &sent[..100_000]));

    let mut rest = BytesMut::from(&b"x"[..]);
    fill(&mut first, &ours, SIZE - 100_000);
    first.read_into(&mut rest).unwrap();
    assert_eq!((rest[0], &rest[1..], first.len()), (b'x', &sent[100_000..], 0));
    sender.join().unwrap().unwrap();
    assert_eq!(fill(&mut first, &ours, 1), Filled::End);
}

#[test]
fn a_full_pipe_says_so_and_loses_nothing() {
    // Sixteen references, and packets of one byte.
    let pipes = Pipes::new(1, 16 * 4096);
    let (ours, mut theirs) = connected();
    theirs.set_nodelay(true).unwrap();
    let mut pipe = pipes.take().unwrap();
    let mut sent = Vec::new();
    let full = (0..1000).any(|at: usize| {
        theirs.write_all(&[at as u8]).unwrap();
        sent.push(at as u8);
        let want = pipe.len() + 1;
        fill(&mut pipe, &ours, want) == Filled::Full
    });
    assert!(full, "{} bytes and still room", pipe.len());
    let mut all = BytesMut::new();
    pipe.read_into(&mut all).unwrap();
    assert_eq!(fill(&mut pipe, &ours, 1), Filled::Bytes(1));
    pipe.read_into(&mut all).unwrap();
    assert_eq!(all[..], sent[..]);
}

#[test]
fn empty_pipes_come_back_and_others_are_closed() {
    let pipes = Pipes::new(1, SIZE);
    drop(pipes.take().unwrap());
    let mut pipe = pipes.take().unwrap();
    pipe.push(b"old").unwrap();
    drop(pipe);
    let mut pipe = pipes.take().unwrap();
    let mut all = BytesMut::new();
    assert_eq!(pipe.push(b"new").unwrap(), 3);
    pipe.read_into(&mut all).unwrap();
    assert_eq!(&all[..], b"new");
    // What nobody has taken is still there.
    pipe.push(b"kept").unwrap();
    let (read_only, _writer) = std::io::pipe().unwrap();
    assert!(pipe.send_to(&read_only).is_err());
    pipe.read_into(&mut all).unwrap();
    assert_eq!(&all[..], b"newkept");
}

#[test]
fn after_pipes_that_were_too_small_there_are_none_for_a_while() {
    let pipes = Pipes::new(1, SIZE);
    let mut pauses = Vec::new();
    for _ in 0..3 {
        pipes.tell(false);
        pauses.push((0..2000).take_while(|_| pipes.take().is_none()).count());
    }
    assert_eq!(pauses, [4, 8, 16]);
    pipes.tell(true);
    pipes.tell(false);
    assert_eq!((0..2000).take_while(|_| pipes.take().is_none()).count(), 4);
}

#[test]
fn a_size_that_the_system_does_not_have_is_no_pipe() {
    assert!(Pipes::new(3, usize::MAX / 2).take().is_none());
}

#[tokio::test]
async fn who_can_wait_leaves_half_of_the_pipes_to_others() {
    let pipes = Pipes::new(4, SIZE);
    let spare = || match pipes.take_spare() {
        Offer::Pipe(pipe) => Ok(pipe),
        other => Err(other),
    };
    let (first, second) = (spare().unwrap(), spare().unwrap());
    assert!(matches!(spare(), Err(Offer::Later)));
    let third = pipes.take().unwrap();
    let returned = pipes.returned();
    drop((second, third));
    returned.await;
    drop(first);
    assert!(spare().is_ok());
    assert!(matches!(Pipes::new(3, usize::MAX / 2).take_spare(), Offer::Never));
}
