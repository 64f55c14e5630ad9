//! Pools.

use super::*;
use std::sync::atomic::AtomicUsize;
use wasmount_types::ErrorKind;

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_one_after_the_other_share_a_connection() {
    let server = Server::answering(EMPTY).await;
    let net = net(&server);
    for _ in 0..200 {
        assert_eq!(fetch(&net, server.url("/")).await.unwrap(), "ok");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn one_origin_has_one_pool_however_it_is_written() {
    let server = Server::answering(EMPTY).await;
    let port = server.address.port();
    let setup = Setup {
        hosts: vec![("n.example", port)],
        resolver: Some(ScriptedResolver::new(vec![vec![server.address]])),
        ..Setup::default()
    };
    let (_, net) = setup.build(server.address);
    for host in ["n.example", "N.example", "n.EXAMPLE", "n.example."] {
        assert_eq!(fetch(&net, format!("http://{host}:{port}/")).await.unwrap(), "ok");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn other_trust_or_policy_never_shares_a_connection() {
    let server = Server::answering(EMPTY).await;
    let (client, net) = Setup::default().build(server.address);
    fetch(&net, server.url("/")).await.unwrap();
    let grants = Grants {
        origins: vec![OriginGrant {
            protocol: "http".into(),
            host: "127.0.0.1".into(),
            port: server.address.port(),
            read_methods: vec![],
            secrets: vec![],
        }],
        read_only: false,
        revealed: false,
    };
    let policy = ReachPolicy::new(vec![AllowNet::parse("127.0.0.0/8").unwrap()]);
    let other =
        MountNet::new(client.clone(), grants.clone(), policy.clone(), &TlsSettings::default(), None).unwrap();
    fetch(&other, server.url("/")).await.unwrap();
    assert_eq!(server.connections(), 2);
    // The same policy does.
    let same = MountNet::new(client, grants, policy, &TlsSettings::default(), None).unwrap();
    fetch(&same, server.url("/")).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_died_in_the_pool_is_not_noticed_by_the_caller() {
    // Every connection answers once and is then closed without saying so.
    let server = Server::start(|mut peer| async move {
        let _ = peer.head().await;
        peer.say(EMPTY).await;
    })
    .await;
    let net = net(&server);
    for number in 1..=20 {
        let request = HttpRequest { method: "POST".into(), ..get(server.url("/")) };
        assert_eq!(text(net.send(request).await.unwrap()).await.unwrap(), "ok");
        assert_eq!(server.connections(), number);
        // Long enough for the FIN to arrive: from here on it is the client's to notice.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn connections_are_bounded_and_waiters_come_in_order() {
    let active = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (a, m) = (Arc::clone(&active), Arc::clone(&most));
    let server = Server::start(move |mut peer| {
        let (active, most) = (Arc::clone(&a), Arc::clone(&m));
        async move {
            while peer.head().await.is_some() {
                most.fetch_max(active.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                active.fetch_sub(1, Ordering::SeqCst);
                peer.say(EMPTY).await;
            }
        }
    })
    .await;
    let limits = NetLimits { connections_per_origin: 4, idle_per_origin: 3, ..NetLimits::default() };
    let (client, net) = Setup { limits, ..Setup::default() }.build(server.address);
    let done = Mutex::new(Vec::new());
    let all = (0..40).map(|number| {
        let (net, done, url) = (&net, &done, server.url("/"));
        async move {
            fetch(net, url).await.unwrap();
            done.lock().unwrap().push(number);
        }
    });
    futures::future::join_all(all).await;
    assert_eq!(most.load(Ordering::SeqCst), 4);
    let done = done.into_inner().unwrap();
    assert!(done.iter().enumerate().all(|(at, number)| at.abs_diff(*number) < 8), "{done:?}");
    assert!(client.idle_connections() <= 3);
}

#[tokio::test]
async fn there_may_be_more_or_fewer_connections_later() {
    let server = Server::start(|mut peer| async move {
        let _ = peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let limits = NetLimits { connections_per_origin: 3, ..NetLimits::default() };
    let (client, net) = Setup { limits, ..Setup::default() }.build(server.address);
    let held = async || net.send(get(server.url("/"))).await.unwrap();
    let refused = async || {
        let request = HttpRequest { timeout: Some(Duration::from_millis(50)), ..get(server.url("/")) };
        net.send(request).await.unwrap_err().message
    };
    let mut all = vec![held().await, held().await, held().await];
    assert!(refused().await.contains("all 3 may be busy"));
    client.set_connections_per_origin(4);
    all.push(held().await);
    assert!(refused().await.contains("all 4 may be busy"));
    // Two fewer than there are: two have to come back before there is another one.
    client.set_connections_per_origin(2);
    for left in [3, 2] {
        all.pop();
        assert_eq!(all.len(), left);
        assert!(refused().await.contains("all 2 may be busy"));
    }
    all.pop();
    all.push(held().await);
    // More again while there are still some too many.
    client.set_connections_per_origin(1);
    client.set_connections_per_origin(3);
    all.push(held().await);
    assert!(refused().await.contains("all 3 may be busy"));
    // An origin that nobody has asked before has as many from the start.
    let other = Server::start(|mut peer| async move {
        let _ = peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let (client, net) = Setup::default().build(other.address);
    client.set_connections_per_origin(0);
    let _held = net.send(get(other.url("/"))).await.unwrap();
    let request = HttpRequest { timeout: Some(Duration::from_millis(50)), ..get(other.url("/")) };
    assert!(net.send(request).await.unwrap_err().message.contains("all 1 may be busy"), "one at least");
}

#[tokio::test]
async fn waiting_for_a_connection_is_bounded_too() {
    let server = Server::start(|mut peer| async move {
        let _ = peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let limits = NetLimits { connections_per_origin: 1, ..NetLimits::default() };
    let (_, net) = Setup { limits, ..Setup::default() }.build(server.address);
    let held = net.send(get(server.url("/"))).await.unwrap();
    let request = HttpRequest { timeout: Some(Duration::from_millis(100)), ..get(server.url("/")) };
    let error = net.send(request).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TimedOut);
    assert!(error.message.contains("all 1 may be busy"), "{error}");
    drop(held);
}

#[tokio::test]
async fn idle_connections_are_not_used_after_their_time() {
    let server = Server::answering(EMPTY).await;
    let limits = NetLimits { idle_timeout: Duration::from_secs(2), ..NetLimits::default() };
    let (_, net) = Setup { limits, ..Setup::default() }.build(server.address);
    fetch(&net, server.url("/")).await.unwrap();
    fetch(&net, server.url("/")).await.unwrap();
    assert_eq!(server.connections(), 1);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    fetch(&net, server.url("/")).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn dropping_a_request_closes_its_connection() {
    let (closed, was_closed) = tokio::sync::oneshot::channel();
    let closed = Arc::new(Mutex::new(Some(closed)));
    let server = Server::start(move |mut peer| {
        let closed = Arc::clone(&closed);
        async move {
            let _ = peer.head().await;
            assert_eq!(peer.head().await, None);
            let _ = closed.lock().unwrap().take().unwrap().send(());
        }
    })
    .await;
    let (client, net) = Setup::default().build(server.address);
    let sending = net.send(get(server.url("/")));
    assert!(tokio::time::timeout(Duration::from_millis(100), sending).await.is_err());
    tokio::time::timeout(Duration::from_secs(2), was_closed).await.unwrap().unwrap();
    assert_eq!(client.idle_connections(), 0);
}

#[test]
fn requests_may_be_made_from_another_runtime() {
    // The other runtime has neither I/O nor timers of its own.
    let network = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (server, net) = network.block_on(async {
        let server = Server::start(|mut peer| async move {
            while peer.head().await.is_some() {
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                peer.say("ok").await;
            }
        })
        .await;
        let net = net(&server);
        (server, net)
    });
    let guests = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..3 {
        assert_eq!(guests.block_on(fetch(&net, server.url("/"))).unwrap(), "ok");
    }
    assert_eq!(server.connections(), 1);
}
