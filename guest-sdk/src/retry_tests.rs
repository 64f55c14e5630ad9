use super::*;
use crate::ErrorKind;
use std::cell::{Cell, RefCell};

/// Time that passes only while somebody sleeps.
#[derive(Default)]
struct Virtual {
    now: Cell<u64>,
    sleeps: RefCell<Vec<u64>>,
    random: u32,
}

impl Environment for Virtual {
    fn monotonic_ms(&self) -> u64 {
        self.now.get()
    }

    async fn sleep(&self, wait: Duration) {
        let wait = u64::try_from(wait.as_millis()).unwrap();
        self.now.set(self.now.get() + wait);
        self.sleeps.borrow_mut().push(wait);
    }

    fn random(&self) -> u32 {
        self.random
    }
}

fn run(world: &Virtual, policy: Policy, errors: Vec<Error>) -> (Result<u32>, u32) {
    let (mut errors, calls) = (errors.into_iter(), Cell::new(0));
    let result = futures::executor::block_on(retry_in(world, policy, || {
        calls.set(calls.get() + 1);
        let outcome = errors.next().map_or(Ok(7), Err);
        async { outcome }
    }));
    (result, calls.get())
}

fn busy() -> Error {
    Error::unavailable("503")
}

#[test]
fn success_waits_for_nothing() {
    let world = Virtual::default();
    let (result, calls) = run(&world, Policy::default(), vec![]);
    assert_eq!((result.unwrap(), calls), (7, 1));
    assert!(world.sleeps.borrow().is_empty());
}

#[test]
fn waits_double_up_to_the_longest() {
    let world = Virtual { random: u32::MAX, ..Virtual::default() };
    let policy = Policy {
        attempts: 6,
        first_wait: Duration::from_millis(100),
        longest_wait: Duration::from_millis(500),
        budget: Duration::from_secs(60),
    };
    let (result, calls) = run(&world, policy, vec![busy(), busy(), busy(), busy(), busy()]);
    assert_eq!((result.unwrap(), calls), (7, 6));
    assert_eq!(*world.sleeps.borrow(), [100, 200, 400, 500, 500]);
}

#[test]
fn jitter_leaves_out_at_most_a_half() {
    let world = Virtual { random: 0, ..Virtual::default() };
    let _ = run(&world, Policy { first_wait: Duration::from_millis(100), ..Policy::default() }, vec![busy()]);
    assert_eq!(*world.sleeps.borrow(), [50]);
}

#[test]
fn gives_up_after_the_attempts() {
    let world = Virtual::default();
    let (result, calls) =
        run(&world, Policy { attempts: 3, ..Policy::default() }, vec![busy(), busy(), busy(), busy()]);
    assert_eq!(result.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(calls, 3);
}

#[test]
fn honours_what_the_server_asks() {
    let world = Virtual::default();
    let (result, _) = run(&world, Policy::default(), vec![Error::throttled("slow").retry_after_ms(3000)]);
    assert_eq!(result.unwrap(), 7);
    assert_eq!(*world.sleeps.borrow(), [3025], "and half of a first wait of 50 ms");
}

#[test]
fn does_not_wait_beyond_the_budget() {
    let world = Virtual::default();
    let (result, calls) =
        run(&world, Policy::default(), vec![Error::throttled("slow").retry_after_ms(3_600_000)]);
    assert!(matches!(result.unwrap_err().retry, RetryAdvice::AfterMs(3_600_000)));
    assert_eq!(calls, 1);
    assert!(world.sleeps.borrow().is_empty());
}

#[test]
fn never_repeats_what_is_not_safe() {
    for error in [
        busy().effect(Effect::Unknown),
        busy().effect(Effect::Partial),
        Error::not_found("gone"),
        busy().advice(RetryAdvice::Reopen),
        Error::new(ErrorKind::Interrupted, "unmount"),
    ] {
        let world = Virtual::default();
        let (result, calls) = run(&world, Policy::default(), vec![error]);
        assert!(result.is_err());
        assert_eq!(calls, 1);
    }
}

#[test]
fn advice_by_status_and_header() {
    let now = || Timestamp { seconds: 784_111_777, nanoseconds: 0 };
    let wait = |status, header| match advice(status, header, now) {
        RetryAdvice::AfterMs(wait) => Some(wait),
        RetryAdvice::Never | RetryAdvice::Reopen => None,
    };
    assert_eq!(wait(200, None), None);
    assert_eq!(wait(404, Some("5")), None);
    assert_eq!(wait(500, None), Some(0));
    assert_eq!(wait(503, None), Some(1000));
    assert_eq!(wait(429, Some("7")), Some(7000));
    assert_eq!(wait(503, Some("Sun, 06 Nov 1994 08:49:47 GMT")), Some(10_000));
    assert_eq!(wait(503, Some("Sun, 06 Nov 1994 08:49:27 GMT")), Some(0), "a date in the past");
    assert_eq!(wait(503, Some("99999999999999999999")), Some(u32::MAX));
    assert_eq!(wait(503, Some("soon")), Some(1000));
}
