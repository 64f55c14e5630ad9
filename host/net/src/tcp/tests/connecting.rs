//! The gates, the limits, and TLS.

use super::*;
use crate::http::tests::ScriptedResolver;
use crate::http::tests::trust::{Authority, acceptor, trusting};

async fn echo(mut stream: TcpStream) {
    let (mut from, mut to) = stream.split();
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

#[tokio::test]
async fn addresses_are_reached_when_named_or_revealed() {
    let address = server(echo).await;
    let port = address.port();
    let granted = |named: Vec<(&'static str, u16)>, revealed| {
        let resolver = ScriptedResolver::new(vec![vec![address]]);
        Setup { named, revealed, resolver, ..Setup::default() }.mount()
    };
    let outcome = |mount: Mount, host: &'static str| async move {
        mount.connect_to(host, port, TcpOptions::default()).await.map(|_| ()).map_err(|error| error.kind)
    };
    let denied = Err(ErrorKind::Denied);
    assert_eq!(outcome(granted(vec![], true), "127.0.0.1").await, Ok(()));
    assert_eq!(outcome(granted(vec![], false), "127.0.0.1").await, denied);
    assert_eq!(outcome(granted(vec![("127.0.0.1", port)], false), "127.0.0.1").await, Ok(()));
    assert_eq!(outcome(granted(vec![("127.0.0.1", port + 1)], false), "127.0.0.1").await, denied);
    // Names: only those that an option names.
    assert_eq!(outcome(granted(vec![], true), "mon.example").await, denied);
    assert_eq!(outcome(granted(vec![("mon.example", port)], false), "mon.example").await, Ok(()));
    assert_eq!(outcome(granted(vec![("mon.example", 1)], false), "mon.example").await, denied);
    assert_eq!(outcome(granted(vec![("mon.example", 1)], true), "mon.example").await, Ok(()));
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_resolves_to() {
    let address = server(echo).await;
    let dead = SocketAddr::new("127.0.0.1".parse().unwrap(), 1);
    let setup = |rules| Setup {
        rules,
        named: vec![("mon.example", address.port())],
        revealed: false,
        resolver: ScriptedResolver::new(vec![vec![dead, address]]),
        ..Setup::default()
    };
    let mount = setup(vec!["127.0.0.1"]).mount();
    let connection = mount.connect_to("mon.example", address.port(), TcpOptions::default()).await.unwrap();
    assert_eq!(connection.peer_address(), address, "the second address is tried too");
    assert_eq!(connection.local_address().ip(), address.ip());
    assert!(
        format!("{connection:?}").contains("mon.example") && format!("{connection:?}").contains("127.0.0.1")
    );
    let error = setup(vec![]).mount().connect_to("mon.example", address.port(), TcpOptions::default()).await;
    let error = error.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host));
    assert!(
        error.message.contains("loopback") && error.message.contains("--allow-net mon.example:"),
        "{error}"
    );
}

#[tokio::test]
async fn without_the_operator_no_address_of_the_node_is_reached() {
    let address = server(echo).await;
    let mount = Setup { rules: vec![], ..Setup::default() }.mount();
    for (host, why) in [("127.0.0.1", "loopback"), ("169.254.169.254", "metadata"), ("::1", "loopback")] {
        let error = mount.connect_to(host, address.port(), TcpOptions::default()).await.unwrap_err();
        assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host), "{error}");
        assert!(error.message.contains(why) && error.message.contains("--allow-net"), "{error}");
        assert!(error.message.contains("the storage system says"), "{error}");
    }
    assert_eq!(mount.client.stats().tcp_connects, 0);
    assert_eq!(mount.memory.left(), PLENTY);
}

#[tokio::test]
async fn what_cannot_be_connected_to_is_refused() {
    let mount = Setup::default().mount();
    let long = "a".repeat(254);
    for (host, port) in [
        ("", 1),
        ("a b", 1),
        ("[::1]", 1),
        ("a:b", 1),
        ("x\n", 1),
        ("fe80::1%1", 1),
        (&long, 1),
        ("127.0.0.1", 0),
    ] {
        let error = mount.connect_to(host, port, TcpOptions::default()).await.unwrap_err();
        assert_eq!((error.kind, error.blame), (ErrorKind::Invalid, Blame::Plugin), "{host:?}");
    }
    let bad = |tls| TcpOptions { tls: Some(tls), ..TcpOptions::default() };
    for tls in [
        TcpTls { server_name: Some("a b".into()), alpn: vec![] },
        TcpTls { server_name: None, alpn: vec![String::new()] },
        TcpTls { server_name: None, alpn: vec!["x".into(); 17] },
    ] {
        let error = mount.connect_to("127.0.0.1", 1, bad(tls)).await.unwrap_err();
        assert_eq!((error.kind, error.blame), (ErrorKind::Invalid, Blame::Plugin));
    }
    let error = mount.connect_to("127.0.0.1", 1, TcpOptions::default()).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Unavailable, Blame::Origin));
    assert!(error.message.contains("is the server running"), "{error}");
    assert_eq!((mount.client.stats().tcp_failures, mount.memory.left()), (1, PLENTY));
}

#[tokio::test]
async fn connections_are_counted_and_bounded() {
    let address = server(echo).await;
    let limits = NetLimits { tcp_connections: 3, ..NetLimits::default() };
    let mount = Setup { limits, ..Setup::default() }.mount();
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(mount.connect(address).await.unwrap());
    }
    let error = mount.connect(address).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::TooLarge, Blame::Plugin));
    assert!(error.message.contains("3 TCP connections"), "{error}");
    open[0].write(["ping".into()]).await.unwrap();
    assert_eq!(open[0].read_exact(4).await.unwrap(), b"ping");
    let stats = mount.client.stats();
    assert_eq!((stats.tcp_connections_open, stats.tcp_connects), (3, 3));
    assert_eq!((stats.tcp_bytes_sent, stats.tcp_bytes_received), (4, 4));
    open.pop();
    mount.connect(address).await.unwrap();
    drop(open);
    assert_eq!(mount.client.stats().tcp_connections_open, 0);
}

#[tokio::test]
async fn connecting_has_a_limit_and_can_be_given_up() {
    // Accepts into its backlog and never speaks.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mount = Setup::default().mount();
    let options = TcpOptions {
        tls: Some(TcpTls { server_name: Some("x.example".into()), alpn: vec![] }),
        timeout: Some(Duration::from_millis(100)),
        idle: None,
    };
    let port = silent.local_addr().unwrap().port();
    let started = Instant::now();
    let error = mount.connect_to("127.0.0.1", port, options.clone()).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::TimedOut, Blame::Origin));
    assert!(error.message.contains("100ms") && started.elapsed() < Duration::from_secs(2), "{error}");
    let hanging = mount.connect_to("127.0.0.1", port, TcpOptions { timeout: None, ..options });
    assert!(tokio::time::timeout(Duration::from_millis(50), hanging).await.is_err());
    assert_eq!(mount.memory.left(), PLENTY, "what was given up costs nothing");
}

#[tokio::test]
async fn tls_has_the_mounts_trust_and_the_plugins_protocols() {
    let authority = Authority::new("ours");
    let acceptor = acceptor(&authority, "store.example", None, &["proto/2"]);
    let address = server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"proto/2"[..]));
            let mut size = [0; 8];
            stream.read_exact(&mut size).await.unwrap();
            let mut all = vec![0; u64::from_le_bytes(size) as usize];
            stream.read_exact(&mut all).await.unwrap();
            stream.write_all(&all).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await;
    let alpn = vec!["proto/3".to_owned(), "proto/2".to_owned()];
    let options = |name: &str| TcpOptions {
        tls: Some(TcpTls { server_name: Some(name.into()), alpn: alpn.clone() }),
        ..TcpOptions::default()
    };
    let mount = Setup { tls: trusting(&authority), ..Setup::default() }.mount();
    let connection = mount.connect_to("127.0.0.1", address.port(), options("store.example")).await.unwrap();
    let bytes = pattern(1 << 20);
    let (sent, received) = tokio::join!(
        connection.write([(bytes.len() as u64).to_le_bytes().to_vec().into(), bytes.clone().into()]),
        connection.read_buffer(bytes.len())
    );
    sent.unwrap();
    assert!(received.unwrap().bytes == bytes);
    assert_eq!(connection.read_some(1).await.unwrap(), b"");
    connection.finish().await.unwrap();
    let error = mount.connect_to("127.0.0.1", address.port(), options("other.example")).await.unwrap_err();
    assert!(error.message.contains("another name"), "{error}");
    let strangers = Setup::default().mount();
    let error =
        strangers.connect_to("127.0.0.1", address.port(), options("store.example")).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Unavailable, Blame::Origin));
    assert!(error.message.contains("unknown issuer") && error.message.contains("ca-file"), "{error}");
}
