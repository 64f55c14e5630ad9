//! The arguments of the module, tried.

use super::*;
use futures::future::join_all;
use std::time::Duration;
use tokio::time::timeout;

const MIB: u64 = 1 << 20;
/// Longer than anything here may take.
const FOR_EVER: Duration = Duration::from_secs(60);
/// Long enough to see that somebody waits.
const A_WHILE: Duration = Duration::from_millis(20);

fn memory(limit: u64) -> Arc<GuestMemory> {
    GuestMemory::new(limit, &Limits::default())
}

#[test]
fn whatever_the_limit_a_read_has_room_to_be_received_and_converted() {
    for limit in [16 * MIB, 24 * MIB, 100 * MIB, 128 * MIB, 512 * MIB, 64 << 30, u64::MAX] {
        let Parts { lasting, passing, receiving, reading, read } = Parts::new(limit, &Limits::default());
        assert!(lasting + passing <= limit, "{limit}");
        // A frame is a read and a little more.
        let frame = u64::from(read) + u64::from(read) / 4;
        assert!(frame <= passing - receiving && u64::from(read) <= reading, "{limit}");
        assert!(frame + reading - u64::from(read) <= receiving, "{limit}");
    }
    let read = |mib: u64| Parts::new(mib * MIB, &Limits::default()).read;
    assert_eq!([read(16), read(24), read(128), read(512)].map(|read| read >> 20), [2, 4, 16, 16]);
}

#[test]
fn halves_are_bounded_and_take_nothing_from_each_other() {
    let all = memory(24 * MIB);
    let (one, two) = (all.lasting(Gauge::default()), all.lasting(Gauge::default()));
    let buffers = all.passing(Gauge::default());
    assert!(one.take(8 << 20) && !two.take(5 << 20) && two.take(4 << 20) && !one.take(1));
    assert!(!buffers.take((12 << 20) + 1) && buffers.take(12 << 20) && !buffers.take(usize::MAX));
    one.give(1 << 20);
    assert!(!buffers.take(1) && two.take(1 << 20));
    let refused = {
        let state = all.state();
        (state.lasting, state.passing)
    };
    assert_eq!(refused, (12 * MIB, 12 * MIB), "what was refused is not counted");
}

#[test]
fn instances_share_alike() {
    let all = memory(24 * MIB);
    let first = all.tenant();
    assert_eq!(first.fair(), 12 * MIB);
    let second = all.tenant();
    assert_eq!((first.fair(), second.fair()), (6 * MIB, 6 * MIB));
    drop(first);
    assert_eq!(second.fair(), 12 * MIB);
}

#[tokio::test]
async fn reads_wait_for_room_for_all_of_each() {
    let all = memory(24 * MIB);
    // There is a little less than 5 MiB for reads.
    let first = timeout(FOR_EVER, all.admit(4 << 20)).await.unwrap();
    let second = timeout(FOR_EVER, all.admit(1_000_000)).await.unwrap();
    let mut third = std::pin::pin!(all.admit(100_000));
    assert!(timeout(A_WHILE, &mut third).await.is_err());
    drop(second);
    let third = timeout(FOR_EVER, third).await.unwrap();
    drop((first, third));
    assert_eq!(all.state().reading, 0);
}

#[tokio::test]
async fn linear_memories_leave_what_was_there_for_answers() {
    let all = memory(24 * MIB);
    let linear = all.lasting(Gauge::default());
    let _admitted = timeout(FOR_EVER, all.admit(all.longest_read())).await.unwrap();
    // They grow while a read is under way.
    assert!(linear.take(12 << 20) && !linear.take(1));
    let buffers = all.passing(Gauge::default());
    timeout(FOR_EVER, buffers.wait(4 << 20, buffers.room_to_receive())).await.unwrap();
}

#[tokio::test]
async fn who_fits_does_not_wait_behind_who_does_not_and_nobody_is_forgotten() {
    let all = memory(24 * MIB);
    let buffers = all.passing(Gauge::default());
    let most = buffers.room_to_receive();
    let read = timeout(FOR_EVER, all.admit(4 << 20)).await.unwrap();
    timeout(FOR_EVER, buffers.wait(3 << 20, most)).await.unwrap();
    // A map that is larger than what is left.
    let mut map = std::pin::pin!(buffers.wait(4 << 20, most));
    assert!(timeout(A_WHILE, &mut map).await.is_err());
    // The rest of the read, and no read more.
    timeout(FOR_EVER, buffers.wait(1 << 20, most)).await.unwrap();
    let mut next = std::pin::pin!(all.admit(1));
    assert!(timeout(A_WHILE, &mut next).await.is_err());
    buffers.give(4 << 20);
    drop(read);
    timeout(FOR_EVER, map).await.unwrap();
    timeout(FOR_EVER, next).await.unwrap();
    let waiting = all.state().waiting;
    assert_eq!(waiting, 0);
}

/// Many reads of several pieces each, all of them encrypted, beside messages of all sizes.
#[tokio::test]
async fn no_mixture_of_pieces_stands_still() {
    for limit in [16, 24, 128] {
        let all = memory(limit * MIB);
        let buffers = all.passing(Gauge::default());
        let most = buffers.room_to_receive();
        let longest = all.longest_read();
        let convert = async |plain: usize| {
            buffers.wait(plain, buffers.all()).await;
            tokio::task::yield_now().await;
        };
        let read = async |number: u32| {
            let length = (longest >> (number % 3)).max(4);
            let _admitted = all.admit(length).await;
            let pieces = 1 + number % 4;
            let (piece, overhead) = ((length / pieces) as usize, 300);
            let fetch = async |_: u32| {
                buffers.wait(piece + overhead, most).await;
                tokio::task::yield_now().await;
                convert(piece).await;
                buffers.give(piece + overhead);
            };
            join_all((0..pieces).map(fetch)).await;
            buffers.give(piece * pieces as usize);
        };
        let message = async |number: usize| {
            let length = (usize::try_from(most).unwrap() / 2) >> (number % 6);
            buffers.wait(length, most).await;
            tokio::task::yield_now().await;
            buffers.give(length);
        };
        let reads = join_all((0..200).map(read));
        let messages = join_all((0..100).map(message));
        timeout(FOR_EVER, futures::future::join(reads, messages)).await.expect("all of it ends");
        let state = all.state();
        assert_eq!((state.passing, state.reading, state.waiting), (0, 0, 0));
    }
}
