//! One instance serves many calls at once, and bytes stay out of it.

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::{Sandbox, Server, first_kib, get, response, within};
use wasmount_core::ports::GetRequest;
use wasmount_types::ByteRange;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_gets_are_in_flight_at_once() {
    const TOGETHER: usize = 64;
    let sandbox = Sandbox::new();
    let server = Server::start(TOGETHER).await;
    let (store, _) = sandbox.open(&[("endpoint", &server.origin)], &["127.0.0.1"]).await.unwrap();
    let key = format!("connect:{}/barrier/100", server.origin);
    let started = Instant::now();
    // The server answers none of them before all are there.
    let gets = (0..TOGETHER).map(|_| get(&store, within(10), GetRequest { range: None, ..first_kib(&key) }));
    for answer in futures::future::join_all(gets).await {
        assert_eq!(answer.unwrap(), [7; 100]);
    }
    assert_eq!(server.most.load(Ordering::SeqCst), TOGETHER);
    println!("{TOGETHER} gets together: {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beside_a_trapping_one_are_repeated() {
    let sandbox = Sandbox::new();
    let store = sandbox.store().await;
    // Opens the instance and lets the sleepers get into it before it dies.
    let sleepers = (0..16).map(|_| get(&store, within(20), first_kib("sleep:300")));
    let trap = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        get(&store, within(20), first_kib("trap")).await
    };
    let (sleepers, trap) = tokio::join!(futures::future::join_all(sleepers), trap);
    assert!(trap.unwrap_err().message.contains("trapped"));
    for answer in sleepers {
        assert_eq!(answer.unwrap().len(), 1024);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cost_of_a_get_does_not_depend_on_its_size() {
    let sandbox = Sandbox::with(|config| config.count_fuel = true);
    let server = Server::start(1).await;
    let (store, _) = sandbox.open(&[("endpoint", &server.origin)], &["127.0.0.1"]).await.unwrap();
    // A response that is there before the guest could suspend saves it about a fifth, whatever its size; so the dearest
    // of several calls is compared.
    let mut dearest = [0, 0];
    for _ in 0..10 {
        for (size, dearest) in [128u64 << 10, 8 << 20].into_iter().zip(&mut dearest) {
            let key = format!("connect:{}/size/{size:07}", server.origin);
            let request = GetRequest { range: Some(ByteRange::new(0, size)), ..first_kib(&key) };
            let answer = response(&store, within(10), request).await.unwrap();
            *dearest = sandbox.host.last_fuel().unwrap().max(*dearest);
            assert_eq!(support::read(answer).await.unwrap().len() as u64, size);
        }
    }
    println!("fuel of a get: {dearest:?}");
    let [small, large] = dearest;
    assert!(small > 0 && large.abs_diff(small) * 10 <= small, "{dearest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loaded_plugin_comes_from_the_cache_the_second_time() {
    let sandbox = Sandbox::new();
    let again = sandbox.host.load(sandbox.plugin.path()).unwrap();
    assert!(again.from_cache());
    assert_eq!(again.digest(), sandbox.plugin.digest());
    assert_eq!(again.description(), sandbox.plugin.description());
}
