//! What the judge must see, and must not.

use std::collections::BTreeMap;

use crate::books::Books;
use crate::evidence::{Called, End, Evidence, Life, Outage, Stretch};
use crate::scene::FUNCTIONS;

/// When the process of these books began: the instant of a tick that it is too late for.
const BEGAN: i64 = 1_800_000_000;
/// The last tick before it was ended.
const LAST: i64 = BEGAN + 9;

fn at(instant: i64) -> String {
    let since = std::time::Duration::from_secs(instant.unsigned_abs());
    humantime::format_rfc3339_micros(std::time::UNIX_EPOCH + since).to_string()
}

fn call(function: &str, instant: i64) -> Called {
    Called {
        life: "process/0".to_owned(),
        function: format!("{function}.openfaas-fn"),
        instant,
        id: format!("cron:{function}.openfaas-fn@{}", at(instant)),
        began: instant * 1000 + 5,
        ended: Some(instant * 1000 + 10),
        well: true,
    }
}

/// One process that has called every tick.
fn perfect() -> Evidence {
    let mut evidence = Evidence::default();
    let mut log = Vec::new();
    for (name, _) in FUNCTIONS {
        log.push(format!("{}  INFO Added: {name}.openfaas-fn [* * * * * *]", at(BEGAN)));
        evidence.calls.extend((BEGAN + 1..=LAST).map(|instant| call(name, instant)));
    }
    log.push(format!("{}  INFO draining running=0", at(LAST)));
    let clock = vec![Stretch { ahead: 0, from: BEGAN * 1000, until: LAST * 1000 }];
    let life = Life { name: "process/0".to_owned(), clock, log, end: End::Drained };
    evidence.lives.push(life);
    evidence
}

/// The same without the calls of this tick.
fn without(instant: i64) -> Evidence {
    let mut evidence = perfect();
    evidence.calls.retain(|call| call.instant != instant || !call.function.starts_with("allowing"));
    evidence
}

fn say(evidence: &mut Evidence, line: &str) {
    evidence.lives[0].log.push(format!("{}  INFO {line}", at(LAST)));
}

#[track_caller]
fn violates(evidence: &Evidence, what: &[&str]) -> Books {
    let books = evidence.judge();
    let told: Vec<_> = books.violations.iter().filter_map(|it| it.split(':').next()).collect();
    assert_eq!(told, what);
    books
}

#[test]
fn what_was_called_once_is_well() {
    let books = violates(&perfect(), &[]);
    assert_eq!((books.called, books.missed), (4 * 9, 0));
}

#[test]
fn a_tick_without_an_account_is_found() {
    for instant in [BEGAN + 1, BEGAN + 5, LAST] {
        violates(&without(instant), &["nobody has called or missed"]);
    }
}

#[test]
fn a_tick_may_be_missed_or_given_up() {
    for said in [
        format!(
            "Missed: allowing.openfaas-fn [* * * * * *] why scheduled={} ticks=1",
            at(BEGAN + 5)
        ),
        format!(
            "Missed: allowing.openfaas-fn [* * * * * *] it could not be called in time scheduled={} ticks=2",
            at(BEGAN + 6)
        ),
        format!(
            "dropped: exhausted event.id=cron:allowing.openfaas-fn@{}/1 attempts=1",
            at(BEGAN + 5)
        ),
    ] {
        let mut evidence = without(BEGAN + 5);
        evidence.calls.retain(|call| call.instant != BEGAN + 4 || !said.contains("ticks=2"));
        // The others of the second that is missed as well are not what this is about.
        let others = FUNCTIONS[1..].iter().map(|(name, _)| call(name, BEGAN + 4));
        if said.contains("ticks=2") {
            evidence.calls.extend(others);
        }
        say(&mut evidence, &said);
        violates(&evidence, &[]);
    }
    let mut evidence = perfect();
    let missed =
        format!("Missed: allowing.openfaas-fn [* * * * * *] why scheduled={} ticks=1", at(LAST));
    say(&mut evidence, &missed);
    violates(&evidence, &["called, and counted as missed"]);
}

#[test]
fn a_second_call_is_found_unless_the_first_broke_off() {
    let mut evidence = perfect();
    evidence.calls.push(Called { began: LAST * 1000 + 500, ..call("allowing", LAST) });
    violates(&evidence, &["called too often"]);
    evidence.outages.push(Outage { from: (BEGAN + 2) * 1000, to: (BEGAN + 4) * 1000 });
    violates(&evidence, &["called too often"]);
    evidence.outages.push(Outage { from: LAST * 1000, to: (LAST + 1) * 1000 });
    assert_eq!(violates(&evidence, &[]).repeated, 1);
    let mut evidence = perfect();
    let successor = Called { life: "process/1".to_owned(), ..call("allowing", LAST) };
    evidence.calls.push(successor);
    assert_eq!(evidence.judge().violations.len(), 1);
}

#[test]
fn retries_are_as_many_as_are_asked_for() {
    let mut evidence = perfect();
    let is_last =
        |call: &&mut Called| call.instant == LAST && call.function.starts_with("retrying");
    evidence.calls.iter_mut().filter(is_last).for_each(|call| call.well = false);
    let failed = Called { well: false, ..call("retrying", LAST) };
    evidence.calls.extend([failed.clone(), call("retrying", LAST)]);
    violates(&evidence, &[]);
    evidence.calls.insert(0, failed);
    violates(&evidence, &["called too often"]);
}

#[test]
fn a_process_that_is_killed_may_take_its_last_ticks_with_it() {
    let mut evidence = without(LAST);
    let answered = FUNCTIONS.map(|(name, _)| (format!("{name}.openfaas-fn"), LAST - 1));
    evidence.lives[0].log.pop();
    evidence.lives[0].end =
        End::Killed { at: LAST * 1000 + 100, answered: BTreeMap::from(answered) };
    assert_eq!(violates(&evidence, &[]).lost, 1);
    evidence.calls.retain(|call| call.instant != LAST - 1);
    assert_eq!(evidence.judge().violations.len(), FUNCTIONS.len());
}

#[test]
fn what_a_clock_passes_over_is_counted() {
    const STEP: i64 = 3_700;
    let mut evidence = perfect();
    let (set, name) = (BEGAN + 4, "allowing.openfaas-fn");
    for call in evidence.calls.iter_mut().filter(|call| call.instant > set) {
        call.instant += STEP;
    }
    let life = &mut evidence.lives[0];
    life.clock[0].until = set * 1000 + 500;
    life.clock.push(Stretch { ahead: STEP, from: set * 1000 + 500, until: LAST * 1000 });
    *life.log.last_mut().expect("it drains") = format!("{}  INFO draining", at(LAST + STEP));
    for (name, _) in &FUNCTIONS[1..] {
        let jump = at(set + 1 + STEP);
        let line = format!(
            "Missed: {name}.openfaas-fn [* * * * * *] it could not be called in time scheduled={jump} ticks=100"
        );
        say(&mut evidence, &line);
    }
    let told = evidence.judge().violations;
    assert!(told.iter().all(|it| it.contains(name) && !told.is_empty()), "{told:#?}");
    let jump = at(set + 1 + STEP);
    say(
        &mut evidence,
        &format!(
            "Missed: {name} [* * * * * *] it could not be called in time scheduled={jump} ticks=100"
        ),
    );
    assert_eq!(violates(&evidence, &[]).jumps, 4);
    evidence.calls.retain(|call| call.instant != set + 3 + STEP);
    assert_eq!(evidence.judge().violations.len(), FUNCTIONS.len());
}
