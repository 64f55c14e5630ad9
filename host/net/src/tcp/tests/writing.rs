//! What is sent.

use super::*;
use bytes::Bytes;

#[tokio::test]
async fn pieces_arrive_in_order_and_the_end_is_said() {
    let (connection, _) = pair(|mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(&(all.len() as u64).to_le_bytes()).await.unwrap();
        stream.write_all(&all).await.unwrap();
    })
    .await;
    // More pieces than the kernel takes at once, empty ones among them, and more bytes than its buffers hold.
    let pieces: Vec<Bytes> = (0..500).map(|at| pattern(at * 37 % 9000).into()).collect();
    let expected = pieces.concat();
    connection.write(pieces).await.unwrap();
    connection.write([]).await.unwrap();
    connection.finish().await.unwrap();
    connection.finish().await.unwrap();
    let late = connection.write(["x".into()]).await.unwrap_err();
    assert_eq!((late.kind, late.blame), (ErrorKind::Invalid, Blame::Plugin));
    assert_eq!(connection.read_exact(8).await.unwrap(), (expected.len() as u64).to_le_bytes());
    assert!(connection.read_buffer(expected.len()).await.unwrap().bytes == expected);
}

#[tokio::test]
async fn a_dropped_write_finishes_the_connection() {
    let (connection, _) = pair(|stream| async move {
        pause(10_000).await;
        drop(stream);
    })
    .await;
    let endless = connection.write([vec![0; 64 << 20].into()]);
    let waiting = connection.read_exact(1);
    let both = async {
        let (written, read) = tokio::join!(
            async { tokio::time::timeout(Duration::from_millis(50), endless).await.map_err(drop) },
            waiting
        );
        assert!(written.is_err());
        read
    };
    // The read in the other direction is told at once.
    let error = both.await.unwrap_err();
    assert_eq!(
        (error.kind, error.blame, error.effect),
        (ErrorKind::Unavailable, Blame::Plugin, Effect::Unknown)
    );
    assert!(error.message.contains("given up before it returned"), "{error}");
    assert_eq!(connection.write(["x".into()]).await.unwrap_err(), error);
}

#[tokio::test]
async fn only_one_write_at_a_time_and_not_for_ever() {
    let limits = NetLimits { tcp_stall: Duration::from_secs(1), ..NetLimits::default() };
    let mount = Setup { limits, ..Setup::default() }.mount();
    let server = server(|mut stream| async move {
        // Slow, then silent.
        let mut some = vec![0; 1 << 20];
        for _ in 0..5 {
            pause(400).await;
            stream.read_exact(&mut some).await.unwrap();
        }
        pause(10_000).await;
    })
    .await;
    let connection = mount.connect(server).await.unwrap();
    let started = Instant::now();
    let first = connection.write([vec![0; 64 << 20].into()]);
    let second = async {
        pause(20).await;
        for error in [connection.write(["x".into()]).await, connection.finish().await] {
            let error = error.unwrap_err();
            assert_eq!((error.kind, error.blame), (ErrorKind::Busy, Blame::Plugin));
        }
    };
    let (written, ()) = tokio::join!(first, second);
    let error = written.unwrap_err();
    assert_eq!(
        (error.kind, error.blame, error.effect),
        (ErrorKind::TimedOut, Blame::Origin, Effect::Unknown)
    );
    assert!(error.message.contains("took nothing for 1s"), "{error}");
    assert!(started.elapsed() > Duration::from_millis(2500), "progress counts: {:?}", started.elapsed());
    assert!(mount.client.stats().tcp_bytes_sent >= 5 << 20);
}
