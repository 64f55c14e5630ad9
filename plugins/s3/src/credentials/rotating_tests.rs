//! Many requests, one source.

use super::*;
use futures::executor::{LocalPool, LocalSpawner};
use futures::future::join_all;
use futures::task::LocalSpawnExt as _;
use std::cell::Cell;
use std::collections::VecDeque;
use wasmount_sdk::ErrorKind;

/// Answers each fetch when the test says so.
#[derive(Clone, Default)]
struct Script(Rc<RefCell<VecDeque<oneshot::Receiver<Result<Fetched>>>>>, Rc<Cell<usize>>);

impl Script {
    fn expect(&self) -> oneshot::Sender<Result<Fetched>> {
        let (answer, wait) = oneshot::channel();
        self.0.borrow_mut().push_back(wait);
        answer
    }

    fn fetches(&self) -> usize {
        self.1.get()
    }
}

impl Source for Script {
    async fn fetch(&self) -> Result<Fetched> {
        self.1.set(self.1.get() + 1);
        let next = self.0.borrow_mut().pop_front().expect("a fetch that nobody expected");
        next.await.expect("the test answers")
    }
}

#[derive(Clone)]
struct Scene {
    clock: Rc<Cell<i64>>,
    spawner: LocalSpawner,
    notes: Rc<RefCell<Vec<Note>>>,
}

impl Surroundings for Scene {
    fn now(&self) -> Moment {
        Moment { unix: self.clock.get(), monotonic_ms: u64::try_from(self.clock.get()).unwrap() * 1000 }
    }

    fn random(&self) -> u32 {
        0
    }

    fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.spawner.spawn_local(work).unwrap();
    }

    async fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        work.await
    }

    fn tell(&self, note: Note) {
        self.notes.borrow_mut().push(note);
    }
}

struct Stage {
    pool: LocalPool,
    scene: Scene,
    script: Script,
    rotating: Rotating<Script, Scene>,
}

impl Stage {
    fn new() -> Self {
        let pool = LocalPool::new();
        let scene = Scene { clock: Rc::new(Cell::new(1000)), spawner: pool.spawner(), notes: Rc::default() };
        let script = Script::default();
        let rotating = Rotating::new(script.clone(), scene.clone());
        Self { pool, scene, script, rotating }
    }

    fn until(&self, name: &str, seconds: i64) -> Result<Fetched> {
        let expires = Some(self.scene.clock.get() + seconds);
        Ok(Fetched { access_key: name.into(), secret_key: "s".into(), token: None, expires })
    }

    fn pass(&self, seconds: i64) {
        self.scene.clock.set(self.scene.clock.get() + seconds);
    }

    /// What a request is signed with, without waiting for anything.
    fn now(&mut self) -> Option<String> {
        let rotating = self.rotating.clone();
        let task =
            self.scene.spawner.spawn_local_with_handle(async move { rotating.current().await }).unwrap();
        self.pool.run_until_stalled();
        futures::FutureExt::now_or_never(task).map(|issued| issued.unwrap().access_key.clone())
    }
}

#[test]
fn a_hundred_requests_at_the_beginning_are_one_fetch() {
    let mut stage = Stage::new();
    let answer = stage.script.expect();
    let rotating = stage.rotating.clone();
    let all = join_all((0..100).map(|_| {
        let rotating = rotating.clone();
        async move { rotating.current().await.map(|issued| issued.access_key.clone()) }
    }));
    let all = stage.scene.spawner.spawn_local_with_handle(all).unwrap();
    stage.pool.run_until_stalled();
    assert_eq!(stage.script.fetches(), 1);
    answer.send(stage.until("A", 3600)).unwrap();
    for name in stage.pool.run_until(all) {
        assert_eq!(name.unwrap(), "A");
    }
    assert_eq!(stage.script.fetches(), 1);
}

#[test]
fn renewal_delays_nobody() {
    let mut stage = Stage::new();
    stage.script.expect().send(stage.until("A", 900)).unwrap();
    assert_eq!(stage.now().as_deref(), Some("A"));
    stage.pass(800);
    let answer = stage.script.expect();
    for _ in 0..10 {
        assert_eq!(stage.now().as_deref(), Some("A"), "at once, with the old ones");
    }
    assert_eq!(stage.script.fetches(), 2);
    answer.send(stage.until("B", 900)).unwrap();
    stage.pool.run_until_stalled();
    assert_eq!(stage.now().as_deref(), Some("B"));
}

#[test]
fn a_failed_renewal_is_told_once_and_not_to_readers() {
    let mut stage = Stage::new();
    stage.script.expect().send(stage.until("A", 900)).unwrap();
    stage.now();
    for (seconds, outcome) in [(800, Err(Error::unavailable("down"))), (2, Err(Error::unavailable("down")))] {
        stage.pass(seconds);
        stage.script.expect().send(outcome).unwrap();
        assert_eq!(stage.now().as_deref(), Some("A"));
    }
    stage.pass(10);
    stage.script.expect().send(stage.until("B", 900)).unwrap();
    stage.now();
    let notes = stage.scene.notes.borrow().clone();
    let told: Vec<_> = notes.into_iter().filter(|note| *note != Note::None).collect();
    assert!(matches!(&*told, [Note::Failing(_), Note::Recovered]), "{told:?}");
}

#[test]
fn without_valid_ones_the_error_says_why_and_when() {
    let mut stage = Stage::new();
    stage.script.expect().send(Err(Error::unavailable("STS is down"))).unwrap();
    let error = stage.pool.run_until(stage.rotating.current()).unwrap_err();
    assert!(error.message.contains("STS is down"));
    // No second attempt before the first wait is over.
    let error = stage.pool.run_until(stage.rotating.current()).unwrap_err();
    assert!(matches!(error.retry, wasmount_sdk::RetryAdvice::AfterMs(1..=1000)), "{:?}", error.retry);
    assert_eq!(stage.script.fetches(), 1);
    stage.pass(1);
    stage.script.expect().send(stage.until("A", 900)).unwrap();
    assert_eq!(stage.now().as_deref(), Some("A"));
}

#[test]
fn a_request_outlives_the_call_that_the_fetch_was_made_for() {
    let mut stage = Stage::new();
    stage.script.expect().send(Err(Error::new(ErrorKind::Interrupted, "given up"))).unwrap();
    stage.script.expect().send(stage.until("A", 900)).unwrap();
    let issued = stage.pool.run_until(stage.rotating.current()).unwrap();
    assert_eq!((issued.access_key.as_str(), stage.script.fetches()), ("A", 2));
    for _ in 0..ROUNDS {
        stage.script.expect().send(Err(Error::new(ErrorKind::Interrupted, "given up"))).unwrap();
    }
    stage.pass(900);
    assert!(stage.pool.run_until(stage.rotating.current()).is_err(), "not for ever");
}

#[test]
fn what_the_store_refuses_is_replaced_once_for_all() {
    let mut stage = Stage::new();
    stage.script.expect().send(stage.until("A", 3600)).unwrap();
    let refused = stage.pool.run_until(stage.rotating.current()).unwrap();
    assert!(stage.pool.run_until(stage.rotating.renewed(&refused, true)).unwrap().is_none(), "they are new");
    stage.pass(60);
    let answer = stage.script.expect();
    let (rotating, known) = (stage.rotating.clone(), refused.clone());
    let all = async move {
        let each = (0..50).map(|_| {
            let (rotating, known) = (rotating.clone(), known.clone());
            async move { rotating.renewed(&known, true).await }
        });
        join_all(each).await
    };
    let all = stage.scene.spawner.spawn_local_with_handle(all).unwrap();
    stage.pool.run_until_stalled();
    assert_eq!(stage.script.fetches(), 2);
    answer.send(stage.until("B", 3600)).unwrap();
    for renewed in stage.pool.run_until(all) {
        assert_eq!(renewed.unwrap().unwrap().access_key, "B");
    }
    // Who was refused with the old ones later still gets the new ones, without a fetch.
    assert_eq!(
        stage.pool.run_until(stage.rotating.renewed(&refused, true)).unwrap().unwrap().access_key,
        "B"
    );
    assert_eq!(stage.script.fetches(), 2);
}

#[test]
fn the_same_ones_again_are_no_others() {
    let mut stage = Stage::new();
    let same = stage.until("A", 3600);
    stage.script.expect().send(same.clone()).unwrap();
    let refused = stage.pool.run_until(stage.rotating.current()).unwrap();
    stage.pass(60);
    stage.script.expect().send(same).unwrap();
    assert!(stage.pool.run_until(stage.rotating.renewed(&refused, true)).unwrap().is_none());
    stage.pass(60);
    stage.script.expect().send(Err(Error::unavailable("down"))).unwrap();
    let error = stage.pool.run_until(stage.rotating.renewed(&refused, true)).unwrap_err();
    assert!(error.message.contains("down"), "what keeps it from being replaced");
}
