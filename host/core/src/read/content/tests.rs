//! Bytes that arrive in memory, in pipes and in memory of their own.

use super::*;
use std::task::Waker;
use std::time::{Duration, Instant};
use wasmount_pipe::Pipe;
use wasmount_types::ErrorKind;

fn content(start: u64, end: u64) -> (Content, Arc<ReadMemory>) {
    let memory = Arc::new(ReadMemory::new(64 * BLOCK, Instant::now()));
    let content = Content::new(memory.clone(), None, start, end);
    content.granted(memory.try_reserve(start, end).unwrap());
    (content, memory)
}

fn bytes(from: u64, to: u64) -> Vec<u8> {
    (from..to).map(|at| (at % 251) as u8).collect()
}

fn read(content: &Content, from: u64, to: u64) -> Result<Bytes, Failure> {
    match content.poll(&Context::from_waker(Waker::noop()), from, to, Taking::Any) {
        Poll::Ready(Ok(Shown::Memory(bytes))) => Ok(bytes),
        Poll::Ready(Ok(Shown::Pipe(mut pipe, _held))) => {
            let mut bytes = BytesMut::new();
            pipe.read_into(&mut bytes).unwrap();
            Ok(bytes.freeze())
        }
        Poll::Ready(Err(failure)) => Err(failure),
        Poll::Pending => panic!("{from}..{to} is not there"),
    }
}

#[test]
fn every_range_reads_back_whatever_the_chunks() {
    let (start, end) = (BLOCK - 1000, 3 * BLOCK + 77);
    let (content, _memory) = content(start, end);
    let data = bytes(start, end);
    for chunk in data.chunks(70_001) {
        content.append(chunk);
        let filled = content.filled();
        assert_eq!(read(&content, start, filled).unwrap(), bytes(start, filled));
    }
    for (from, to) in [(start, end), (start + 1, start + 2), (2 * BLOCK - 5, 2 * BLOCK + 5), (end - 1, end)] {
        assert_eq!(read(&content, from, to).unwrap(), bytes(from, to));
        let slices = content.slices(from, to);
        let joined = slices.iter().flat_map(|(_, slice, _)| slice.iter().copied()).collect::<Vec<_>>();
        assert_eq!((slices[0].0, joined), (from, bytes(from, to)));
    }
}

#[test]
fn a_read_needs_only_its_own_bytes_and_copies_nothing() {
    let (content, _memory) = content(0, 2 * BLOCK);
    content.append(&bytes(0, 200_000));
    let first = read(&content, 0, 131_072).unwrap();
    content.append(&bytes(200_000, 300_000));
    let second = read(&content, 131_072, 262_144).unwrap();
    assert_eq!(second.as_ptr() as usize - first.as_ptr() as usize, 131_072);
    assert_eq!(second, bytes(131_072, 262_144));
}

#[test]
fn the_budget_is_free_when_the_last_slice_is_gone_and_the_block_is_used_again() {
    let (content, memory) = content(0, 3 * BLOCK);
    content.append(&bytes(0, 3 * BLOCK - 7));
    let shown = read(&content, BLOCK + 5, BLOCK + 10).unwrap();
    assert_eq!(memory.in_use(), 3 * BLOCK);
    drop(content);
    assert_eq!((memory.in_use(), memory.pool.bytes()), (BLOCK, 2 * BLOCK));
    drop(shown);
    assert_eq!((memory.in_use(), memory.pool.bytes()), (0, 3 * BLOCK));
}

#[test]
fn lent_room_may_come_back_full_empty_or_not_at_all() {
    let (content, memory) = content(0, 2 * BLOCK + 100);
    content.append(&bytes(0, 1000));
    let (from, mut room) = content.lend(u64::MAX);
    assert_eq!((from, room.capacity() as u64), (1000, BLOCK - 1000));
    // What is there is shown while the rest is being received, and both are one piece in the end.
    let first = read(&content, 0, 500).unwrap();
    room.extend_from_slice(&bytes(1000, 3000));
    assert_eq!(content.restore(Some(room)), 3000);
    let second = read(&content, 500, 3000).unwrap();
    assert_eq!(second.as_ptr() as usize - first.as_ptr() as usize, 500);
    assert_eq!(second, bytes(500, 3000));
    let (from, mut room) = content.lend(u64::MAX);
    room.extend_from_slice(&bytes(from, BLOCK));
    assert_eq!(content.restore(Some(room)), BLOCK);
    let (.., room) = content.lend(u64::MAX);
    assert_eq!(content.restore(Some(room)), BLOCK);
    let lost = content.lend(u64::MAX);
    assert_eq!(content.restore(None), BLOCK);
    drop(lost);
    let (from, mut room) = content.lend(BLOCK + 5000);
    room.extend_from_slice(&bytes(from, BLOCK + 5000));
    assert_eq!(content.restore(Some(room)), BLOCK + 5000);
    content.append(&bytes(BLOCK + 5000, 2 * BLOCK));
    let (from, mut room) = content.lend(u64::MAX);
    assert_eq!((from, room.capacity()), (2 * BLOCK, 100), "never more than belongs to the part");
    room.extend_from_slice(&bytes(from, from + 100));
    assert_eq!(content.restore(Some(room)), 2 * BLOCK + 100);
    assert_eq!(read(&content, 0, 2 * BLOCK + 100).unwrap(), bytes(0, 2 * BLOCK + 100));
    drop((content, first, second));
    assert_eq!(memory.in_use(), 0);
}

#[test]
fn memory_that_comes_with_bytes_is_taken_over_for_whole_blocks() {
    let (start, end) = (BLOCK / 2, 4 * BLOCK + 100);
    let (content, memory) = content(start, end);
    let data = Bytes::from(bytes(start, end));
    assert_eq!(content.adoptable(end), Some((BLOCK as usize, data.len())));
    assert_eq!(content.adoptable(start + BLOCK - 1), None, "not all of a block");
    let first = data.slice(..2 * BLOCK as usize + 1000);
    let address = first.as_ptr();
    assert_eq!(content.adopt(first), start + 2 * BLOCK + 1000);
    assert_eq!(read(&content, start, start + BLOCK).unwrap().as_ptr(), address);
    assert_eq!(content.adoptable(end), None, "in the middle of a block");
    content.append(&data[2 * BLOCK as usize + 1000..3 * BLOCK as usize]);
    let rest = (end - start - 3 * BLOCK) as usize;
    assert_eq!(content.adoptable(end), Some((rest, rest)));
    assert_eq!(content.adopt(data.slice(3 * BLOCK as usize..)), end);
    for (from, to) in [(start, end), (start + 5, start + 2 * BLOCK + 5), (end - 10, end)] {
        assert_eq!(read(&content, from, to).unwrap(), bytes(from, to));
    }
    // What is shown of one block keeps the memory of all that came with it.
    let shown = read(&content, start, start + 1).unwrap();
    drop(content);
    assert_eq!(memory.in_use(), 2 * BLOCK);
    drop(shown);
    assert_eq!(memory.in_use(), 0);
}

#[tokio::test]
async fn blocks_in_pipes_are_given_away_whole_and_read_in_parts() {
    let memory = Arc::new(ReadMemory::new(64 * BLOCK, Instant::now()));
    let end = 3 * BLOCK + 5;
    let content = Content::new(memory.clone(), Some(Pipes::new(8, BLOCK as usize)), 0, end);
    content.granted(memory.try_reserve(0, end).unwrap());
    while let Some((mut pipe, size)) = content.lend_pipe(end).await {
        let at = content.filled();
        assert_eq!(pipe.push(&bytes(at, at + size as u64)).unwrap(), size);
        content.restore_pipe(pipe);
    }
    let poll = |from, to, taking| match content.poll(&Context::from_waker(Waker::noop()), from, to, taking) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("{from}..{to} is not there"),
    };
    assert!(matches!(poll(0, BLOCK, Taking::Any), Ok(Shown::Pipe(pipe, _)) if pipe.len() as u64 == BLOCK));
    assert!(matches!(poll(5, 10, Taking::Any), Err(Failure::Abandoned)), "it is with somebody else");
    assert!(content.is_given_away(BLOCK - 1, BLOCK + 1) && !content.is_given_away(BLOCK, end));
    assert_eq!(read(&content, BLOCK + 5, BLOCK + 10).unwrap(), bytes(BLOCK + 5, BLOCK + 10));
    assert_eq!(read(&content, BLOCK, 2 * BLOCK + 9).unwrap(), bytes(BLOCK, 2 * BLOCK + 9));
    assert!(matches!(poll(3 * BLOCK, end, Taking::Memory), Ok(Shown::Memory(_))));
    drop(content);
    assert_eq!(memory.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_yet_leaves_half_of_the_pipes_to_others() {
    let memory = Arc::new(ReadMemory::new(64 * BLOCK, Instant::now()));
    let (end, pipes) = (8 * BLOCK, Pipes::new(4, BLOCK as usize));
    let content = Content::new(memory.clone(), Some(pipes.clone()), 0, end);
    content.granted(memory.try_reserve(0, end).unwrap());
    let put = |(mut pipe, size): (Pipe, usize)| {
        let at = content.filled();
        assert_eq!(pipe.push(&bytes(at, at + size as u64)).unwrap(), size);
        content.restore_pipe(pipe);
    };
    let began = tokio::time::Instant::now();
    put(content.lend_pipe(end).await.unwrap());
    put(content.lend_pipe(end).await.unwrap());
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(content.lend_pipe(end).await.is_none(), "memory, after a while");
    assert!((1..1000).contains(&began.elapsed().as_millis()));
    let began = tokio::time::Instant::now();
    for _ in 0..4 {
        assert!(content.lend_pipe(end).await.is_none());
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "and then at once for some time");

    // Somebody comes to wait, or a pipe comes back.
    pipes.tell_waited(true);
    let wanted = |from, to| content.poll(&Context::from_waker(Waker::noop()), from, to, Taking::Any);
    let began = tokio::time::Instant::now();
    let (lent, polled) = tokio::join!(content.lend_pipe(end), async { wanted(2 * BLOCK, 3 * BLOCK) });
    assert!(polled.is_pending());
    put(lent.unwrap());
    let Poll::Ready(Ok(Shown::Pipe(third, _))) = wanted(2 * BLOCK, 3 * BLOCK) else { panic!("it is there") };
    let (lent, ()) = tokio::join!(content.lend_pipe(end), async {
        drop(wanted(0, BLOCK));
        drop(emptied(third));
    });
    put(lent.unwrap());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

fn emptied(mut pipe: Pipe) -> Pipe {
    pipe.read_into(&mut BytesMut::new()).unwrap();
    pipe
}

#[test]
fn an_error_ends_the_wait_but_not_what_is_there() {
    let (content, _memory) = content(0, 100);
    content.append(&bytes(0, 50));
    content.fail(Failure::Failed(Error::stale("a")));
    assert_eq!(read(&content, 0, 50).unwrap(), bytes(0, 50));
    assert!(matches!(read(&content, 40, 60), Err(Failure::Failed(error)) if error.kind == ErrorKind::Stale));
}
