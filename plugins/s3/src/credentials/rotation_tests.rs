//! Days of a mount in microseconds.

use super::*;

const START: i64 = 1_700_000_000;

fn at(seconds: i64) -> Moment {
    Moment { unix: START + seconds, monotonic_ms: 5000 + u64::try_from(seconds).unwrap() * 1000 }
}

fn until(name: &str, seconds: i64) -> Result<Fetched> {
    let expires = Some(START + seconds);
    Ok(Fetched { access_key: name.into(), secret_key: "s".into(), token: Some("t".into()), expires })
}

fn fetch(rotation: &mut Rotation, outcome: Result<Fetched>, now: Moment, random: u32) -> Note {
    assert!(rotation.is_due(now) || rotation.may_replace(now, true).unwrap());
    rotation.begin();
    assert!(!rotation.is_due(now), "never two at a time");
    rotation.end(outcome, now, random)
}

fn name(rotation: &Rotation, now: Moment) -> Option<String> {
    rotation.usable(now).map(|issued| issued.access_key.clone())
}

/// The second at which a renewal becomes due.
fn due(rotation: &Rotation, from: i64) -> i64 {
    (from..from + 100_000).find(|second| rotation.is_due(at(*second))).unwrap()
}

#[test]
fn renewal_begins_in_good_time_and_not_for_all_at_once() {
    for (lifetime, latest, earliest) in
        [(3600, 600, 900), (900, 200, 300), (12 * 3600, 600, 900), (60, 14, 20)]
    {
        for random in [0, u32::MAX / 2, u32::MAX] {
            let mut rotation = Rotation::default();
            assert!(rotation.is_due(at(0)));
            fetch(&mut rotation, until("A", lifetime), at(0), random);
            let before_the_end = lifetime - due(&rotation, 0);
            assert!((latest..=earliest).contains(&before_the_end), "{lifetime} {random}: {before_the_end}");
        }
    }
    let margin = |random| {
        let mut rotation = Rotation::default();
        fetch(&mut rotation, until("A", 3600), at(0), random);
        due(&rotation, 0)
    };
    assert_ne!(margin(0), margin(u32::MAX));
}

#[test]
fn the_old_ones_are_used_until_their_end_however_long_renewal_fails() {
    let mut rotation = Rotation::default();
    fetch(&mut rotation, until("A", 900), at(0), 0);
    let first = due(&rotation, 0);
    let down = || Err(Error::unavailable("STS is down"));
    let note = fetch(&mut rotation, down(), at(first), 0);
    assert!(matches!(note, Note::Failing(text) if text.contains("STS is down")));
    let mut attempts = 1;
    for second in first..890 {
        assert_eq!(name(&rotation, at(second)).as_deref(), Some("A"), "{second}");
        if rotation.is_due(at(second)) {
            assert_eq!(fetch(&mut rotation, down(), at(second), u32::MAX), Note::None, "said once");
            attempts += 1;
        }
    }
    // 1, 2, 4, …, 60 s apart.
    assert!((6..=12).contains(&attempts), "{attempts} attempts in {} s", 890 - first);
    assert_eq!(name(&rotation, at(890)), None, "the last seconds are not used");
    let error = rotation.unavailable(at(890));
    assert!(error.message.contains("STS is down"));
    let RetryAdvice::AfterMs(wait) = error.retry else { panic!("{:?}", error.retry) };
    assert!(u64::from(wait) <= LONGEST_WAIT_MS);

    let second = due(&rotation, 890);
    assert_eq!(fetch(&mut rotation, until("B", second + 900), at(second), 0), Note::Recovered);
    assert_eq!(name(&rotation, at(second)).as_deref(), Some("B"));
    assert_ne!(rotation.usable(at(second)).unwrap().generation, 1);
}

#[test]
fn a_year_with_an_outage_a_day_is_not_noticed() {
    let mut rotation = Rotation::default();
    let (mut fetches, mut random) = (0_u32, 1_u32);
    for second in 0..365 * 24 * 60 * 2 {
        // Every half a minute; the service is away for eight minutes a day.
        let second = second * 30;
        let now = at(second);
        if rotation.is_due(now) {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let up = second == 0 || second % 86_400 > 480;
            let outcome = if up { until("A", second + 3600) } else { Err(Error::unavailable("down")) };
            fetch(&mut rotation, outcome, now, random);
            fetches += 1;
        }
        assert!(rotation.usable(now).is_some(), "second {second}");
    }
    let hours = 365 * 24;
    assert!((hours..hours * 2).contains(&fetches), "{fetches}");
}

#[test]
fn a_metadata_service_that_answers_the_same_is_not_asked_for_ever() {
    let mut rotation = Rotation::default();
    fetch(&mut rotation, until("A", 3600), at(0), 0);
    let mut asked = Vec::new();
    // It has new ones from five minutes before the end.
    for second in 0..3600 {
        if rotation.is_due(at(second)) {
            let generation = rotation.usable(at(second)).map(|issued| issued.generation);
            let fresh = second >= 3300;
            fetch(&mut rotation, if fresh { until("B", 7200) } else { until("A", 3600) }, at(second), 0);
            assert_eq!(rotation.usable(at(second)).map(|issued| issued.generation) == generation, !fresh);
            asked.push(second);
        }
        assert!(rotation.usable(at(second)).is_some(), "{second}");
    }
    assert!((1..=3).contains(&asked.len()), "{asked:?}");
    assert_eq!(name(&rotation, at(3599)).as_deref(), Some("B"));
}

#[test]
fn what_the_store_refuses_is_replaced_but_not_again_and_again() {
    let mut rotation = Rotation::default();
    fetch(&mut rotation, until("A", 3600), at(0), 0);
    assert!(!rotation.may_replace(at(9), true).unwrap(), "they are new: something else is wrong");
    assert!(rotation.may_replace(at(10), true).unwrap());
    assert!(!rotation.may_replace(at(299), false).unwrap() && rotation.may_replace(at(300), false).unwrap());
    rotation.begin();
    assert!(!rotation.may_replace(at(10), true).unwrap(), "that is being done");
    rotation.end(Err(Error::unavailable("down")), at(10), 0);
    assert!(rotation.may_replace(at(10), true).unwrap_err().message.contains("down"));
    fetch(&mut rotation, until("B", 3600), at(12), 0);
    assert_eq!(name(&rotation, at(12)).as_deref(), Some("B"));
}

#[test]
fn credentials_without_an_end_are_used_until_they_are_refused() {
    let mut rotation = Rotation::default();
    fetch(&mut rotation, Ok(Fetched { expires: None, ..until("A", 0).unwrap() }), at(0), 0);
    assert!(!rotation.is_due(at(10_000_000)) && rotation.usable(at(10_000_000)).is_some());
    assert!(rotation.may_replace(at(10_000_000), true).unwrap());
}

#[test]
fn what_has_expired_when_it_is_issued_is_the_clocks_fault() {
    for expires in [-3600, 0, LEEWAY_S, i64::MIN] {
        let mut rotation = Rotation::default();
        fetch(&mut rotation, until("A", expires), at(0), 0);
        assert!(rotation.usable(at(0)).is_none());
        assert!(rotation.unavailable(at(0)).message.contains("clock"), "{expires}");
    }
    let mut rotation = Rotation::default();
    fetch(&mut rotation, until("A", i64::MAX - START), at(0), u32::MAX);
    assert!(rotation.usable(at(0)).is_some(), "the far future overflows nothing");
}

#[test]
fn a_fetch_that_was_given_up_is_no_failure() {
    let mut rotation = Rotation::default();
    let given_up = Err(Error::new(ErrorKind::Interrupted, "given up"));
    assert_eq!(fetch(&mut rotation, given_up, at(0), 0), Note::None);
    assert!(rotation.is_due(at(0)), "the next request begins another at once");
}

#[test]
fn a_refusal_is_not_worth_repeating_at_once() {
    let mut rotation = Rotation::default();
    fetch(&mut rotation, Err(Error::unauthenticated("no such role")), at(0), 0);
    assert!(!rotation.is_due(at(0)) && rotation.is_due(at(1)));
    assert!(matches!(rotation.unavailable(at(0)).retry, RetryAdvice::Never));
}
