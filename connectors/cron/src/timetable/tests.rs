use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const START: &str = "2026-03-01T12:00:00.4Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

fn name(text: &str) -> FunctionName {
    FunctionName::new(text)
}

fn table(now: &str, wanted: &[(&str, &str)]) -> Timetable {
    let mut table = Timetable::new(ScheduleOptions::default(), at(now));
    apply(&mut table, now, wanted);
    table
}

fn apply(table: &mut Timetable, now: &str, wanted: &[(&str, &str)]) -> Vec<String> {
    let names: Vec<_> = wanted.iter().map(|(function, text)| (name(function), *text)).collect();
    let changes = table.apply(names.iter().map(|(function, text)| (function, *text)), at(now));
    changes.iter().map(told).collect()
}

fn told(change: &Change) -> String {
    match change {
        Change::Added { function, schedule, fires: true } => format!("+{function} {schedule}"),
        Change::Added { function, schedule, fires: false } => format!("+{function} {schedule} !"),
        Change::Removed { function, schedule } => format!("-{function} {schedule}"),
        Change::Refused { function, schedule, .. } => format!("?{function} {schedule}"),
    }
}

/// What is due, as `function instant[/era][ +passed over]`.
fn due(table: &mut Timetable, now: &str) -> Vec<String> {
    let due = table.advance(at(now)).into_iter();
    due.map(|Due { tick, passed_over }| {
        let era = if tick.era > 0 { format!("/{}", tick.era) } else { String::new() };
        let passed = if passed_over > 0 { format!(" +{passed_over}") } else { String::new() };
        format!("{} {}{era}{passed}", tick.function, tick.instant)
    })
    .collect()
}

#[test]
fn unchanged_schedules_keep_their_timers() {
    let mut table = table(START, &[("a", "@every 10s"), ("b", "* * * * *"), ("c", "nonsense")]);
    let later = "2026-03-01T12:00:06Z";
    assert_eq!(due(&mut table, later), Vec::<String>::new());
    let wanted = [("a", "@every 10s"), ("b", "@hourly"), ("c", "nonsense"), ("d", "0 0 30 2 *")];
    assert_eq!(
        apply(&mut table, later, &wanted),
        ["-b * * * * *", "+b @hourly", "+d 0 0 30 2 * !"],
        "neither the unchanged one nor the one refused already is news"
    );
    assert_eq!(due(&mut table, "2026-03-01T12:00:10Z"), ["a 2026-03-01T12:00:10Z"]);
    assert_eq!((table.in_force(), table.refused().len()), (3, 1));
    assert_eq!(table.silent().map(|(function, _)| function.as_str()).collect::<Vec<_>>(), ["d"]);
    assert_eq!(apply(&mut table, later, &[("c", "@daily")]).last(), Some(&"+c @daily".to_owned()));
    assert_eq!((table.in_force(), table.refused().len()), (1, 0));
}

#[test]
fn expressions_that_meet_are_one_tick() {
    let mut table = table(START, &[("a", "* * * * *; */5 * * * *; @every 1m")]);
    assert_eq!(due(&mut table, "2026-03-01T12:05:00Z"), ["a 2026-03-01T12:05:00Z +4"]);
}

#[test]
fn a_long_sleep_gives_out_the_last_tick_alone() {
    let mut table = table(START, &[("a", "* * * * *"), ("b", "@every 1s"), ("c", "0 15 * * *")]);
    assert_eq!(
        due(&mut table, "2026-03-01T13:30:30Z"),
        ["a 2026-03-01T13:30:00Z +89", "b 2026-03-01T13:30:30Z +100"],
    );
    assert_eq!(table.nearest(), Some(at("2026-03-01T13:30:31Z")));
}

#[test]
fn a_step_forward_by_a_day_and_by_centuries() {
    let mut table = table(START, &[("a", "* * * * *"), ("b", "30 8 * * *"), ("c", "@every 1s")]);
    assert_eq!(
        due(&mut table, "2026-03-02T12:00:00Z"),
        ["a 2026-03-02T12:00:00Z +100", "b 2026-03-02T08:30:00Z", "c 2026-03-02T12:00:00Z +100"],
    );
    assert_eq!(
        due(&mut table, "2900-01-01T00:00:01Z"),
        [
            "a 2900-01-01T00:00:00Z +100",
            "b 2899-12-31T08:30:00Z +100",
            "c 2900-01-01T00:00:01Z +100"
        ],
    );
}

#[test]
fn a_small_step_back_repeats_nothing() {
    let mut table = table(START, &[("a", "*/10 * * * *")]);
    assert_eq!(due(&mut table, "2026-03-01T12:10:00Z"), ["a 2026-03-01T12:10:00Z"]);
    assert!(due(&mut table, "2026-03-01T11:45:00Z").is_empty());
    assert_eq!(table.nearest(), Some(at("2026-03-01T12:20:00Z")));
    for minute in ["11:50", "12:00", "12:10"] {
        assert!(due(&mut table, &format!("2026-03-01T{minute}:00Z")).is_empty(), "{minute}");
    }
    assert_eq!(due(&mut table, "2026-03-01T12:20:00Z"), ["a 2026-03-01T12:20:00Z"]);
}

#[test]
fn a_step_back_by_a_day_is_a_new_time() {
    let mut table = table(START, &[("a", "0 * * * *"), ("b", "@every 10m")]);
    assert_eq!(due(&mut table, "2026-03-01T13:00:00Z").len(), 2);
    assert!(due(&mut table, "2026-02-28T13:30:00Z").is_empty());
    // Neither is silent for a day.
    assert_eq!(table.nearest(), Some(at("2026-02-28T13:40:00Z")));
    assert_eq!(due(&mut table, "2026-02-28T14:00:00Z").len(), 2);
    // An instant that is reached anew is another tick.
    let again = due(&mut table, "2026-03-01T13:00:00Z");
    assert_eq!(again.first().map(String::as_str), Some("a 2026-03-01T13:00:00Z/1 +22"));
    assert_eq!(due(&mut table, "2026-03-01T14:00:00Z").first().unwrap(), "a 2026-03-01T14:00:00Z");
}

#[test]
fn a_step_back_finds_what_now_lies_ahead() {
    // Its last tick was before the time it is now: nothing was given out that could repeat.
    let mut table = table("2026-03-01T20:00:00Z", &[("a", "0 15 * * *")]);
    assert_eq!(table.nearest(), Some(at("2026-03-02T15:00:00Z")));
    assert!(due(&mut table, "2026-03-01T12:00:00Z").is_empty());
    assert_eq!(table.nearest(), Some(at("2026-03-01T15:00:00Z")));
}

#[test]
fn a_clock_that_is_set_for_the_first_time_passes_over_nothing() {
    let mut table = table("1970-01-01T00:00:20Z", &[("a", "0 0 1 * *"), ("b", "@every 10s")]);
    assert_eq!(due(&mut table, "1970-01-01T00:00:30Z"), ["b 1970-01-01T00:00:30Z"]);
    assert!(due(&mut table, START).is_empty());
    assert_eq!(table.nearest(), Some(at("2026-03-01T12:00:10Z")));
    assert_eq!(due(&mut table, "2026-03-01T12:00:10Z"), ["b 2026-03-01T12:00:10Z"]);
}

#[test]
fn what_is_changed_or_gone_for_a_moment_repeats_nothing() {
    let mut table = table(START, &[("a", "* * * * *")]);
    assert_eq!(due(&mut table, "2026-03-01T12:01:00Z").len(), 1);
    apply(&mut table, "2026-03-01T12:01:01Z", &[]);
    assert!(due(&mut table, "2026-03-01T12:00:30Z").is_empty());
    apply(&mut table, "2026-03-01T12:00:30Z", &[("a", "*/1 * * * *")]);
    assert_eq!(table.nearest(), Some(at("2026-03-01T12:02:00Z")));
}

#[test]
fn a_function_that_was_gone_when_the_clock_was_set_back_repeats_no_tick() {
    let mut table = table(START, &[("a", "0 * * * *")]);
    assert_eq!(due(&mut table, "2026-03-01T13:00:00Z"), ["a 2026-03-01T13:00:00Z"]);
    due(&mut table, "2026-03-03T12:00:00Z");
    apply(&mut table, "2026-03-03T20:00:00Z", &[]);
    assert!(due(&mut table, "2026-03-01T12:30:00Z").is_empty());
    apply(&mut table, "2026-03-01T12:30:00Z", &[("a", "0 * * * *")]);
    assert_eq!(due(&mut table, "2026-03-01T13:00:00Z"), ["a 2026-03-01T13:00:00Z/1"]);
}

#[test]
fn a_silent_schedule_is_asked_again_daily() {
    // 2100 is no leap year: from 2097 on the next 29 February is in 2104, beyond what is searched.
    let mut table = table("2098-12-30T00:00:00Z", &[("a", "0 0 29 2 *")]);
    assert_eq!((table.silent().count(), table.nearest()), (1, Some(at("2098-12-31T00:00:00Z"))));
    assert!(due(&mut table, "2098-12-31T00:00:00Z").is_empty());
    assert_eq!((table.silent().count(), table.nearest()), (1, Some(at("2099-01-01T00:00:00Z"))));
    assert!(due(&mut table, "2099-01-01T00:00:00Z").is_empty());
    assert_eq!((table.silent().count(), table.nearest()), (0, Some(at("2104-02-29T00:00:00Z"))));
}

/// One thing that happens to a timetable.
#[derive(Debug, Clone)]
enum Act {
    /// Time passes, or the clock is stepped, by so many milliseconds.
    Move(i64),
    /// The functions have these schedules from now on.
    Want(Vec<(u8, usize)>),
}

const TEXTS: [&str; 8] = [
    "@every 1s",
    "@every 90s",
    "* * * * *",
    "*/7 3-20 * * *; @every 5m",
    "TZ=Europe/Berlin 30 2 * * *",
    "0 0 1 * mon",
    "0 0 30 2 *",
    "not a schedule",
];

fn act() -> impl Strategy<Value = Act> {
    let hour = 3_600_000_i64;
    prop_oneof![
        6 => (0..5_000_i64).prop_map(Act::Move),
        4 => (0..10 * hour).prop_map(Act::Move),
        2 => (-hour..0).prop_map(Act::Move),
        1 => (-30 * 24 * hour..30 * 24 * hour).prop_map(Act::Move),
        4 => prop::collection::vec((0..4_u8, 0..TEXTS.len()), 0..5).prop_map(Act::Want),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Against a model that knows nothing but [`Schedule`]: every tick is one of its schedule's
    /// instants, the last one at or before now and after whatever was read before; none is missing
    /// when the clock goes forward; none belongs to a schedule that is gone; no tick is given out
    /// twice, and no instant either unless the clock went back by more than an hour.
    #[test]
    fn ticks_are_those_of_a_naive_model(acts in prop::collection::vec(act(), 1..60)) {
        let options = ScheduleOptions::default();
        let mut now = at(START);
        let mut table = Timetable::new(options.clone(), now);
        // Function, text, schedule, when it came into force, and after what it is due next.
        let mut model: BTreeMap<FunctionName, (&str, Schedule, Timestamp, Timestamp)> = BTreeMap::new();
        let mut given_out = BTreeSet::new();
        let mut instants = BTreeSet::new();
        // Whether a reading went so far back that instants may come again, and whether the model
        // is still exact: it does not know what a step back does.
        let (mut new_time, mut exact, mut highest) = (false, true, now);
        for act in acts {
            match act {
                Act::Move(by) => {
                    now += SignedDuration::from_millis(by);
                    exact &= by >= 0;
                }
                Act::Want(wanted) => {
                    let wanted: BTreeMap<_, _> = wanted
                        .into_iter()
                        .map(|(function, text)| (name(&function.to_string()), TEXTS[text]))
                        .collect();
                    table.apply(wanted.iter().map(|(function, text)| (function, *text)), now);
                    model.retain(|function, (text, ..)| wanted.get(function) == Some(text));
                    for (function, text) in wanted {
                        if let Ok(schedule) = Schedule::parse(text, &options) {
                            model.entry(function).or_insert((text, schedule, now, now));
                        }
                    }
                }
            }
            new_time |= highest > now + STEP_BACK;
            highest = highest.max(now);
            let mut seen: BTreeMap<_, _> = table
                .advance(now)
                .into_iter()
                .map(|due| (due.tick.function.clone(), due))
                .collect();
            for (function, (text, schedule, added, after)) in &mut model {
                let due = seen.remove(function);
                if exact {
                    let expected: Vec<_> = schedule
                        .ticks_after(*after, *added)
                        .take_while(|instant| *instant <= now)
                        .collect();
                    prop_assert_eq!(due.as_ref().map(|due| due.tick.instant), expected.last().copied());
                    let passed_over = expected.len().saturating_sub(1);
                    prop_assert_eq!(
                        due.as_ref().map_or(0, |due| due.passed_over as usize),
                        passed_over.min(MOST_COUNTED as usize)
                    );
                    *after = now;
                }
                let Some(Due { tick, .. }) = due else { continue };
                prop_assert_eq!(&*tick.schedule, *text);
                prop_assert!(tick.instant <= now);
                let before = tick.instant - SignedDuration::from_secs(1);
                // A step back may have moved what periods count from.
                if exact || !text.contains("@every") {
                    prop_assert_eq!(schedule.next_after(before, *added), Some(tick.instant));
                }
                let key = (function.clone(), tick.instant);
                prop_assert!(instants.insert(key) || new_time, "an instant came again: {tick:?}");
                let key = (function.clone(), tick.instant, tick.era);
                prop_assert!(given_out.insert(key), "the same tick again: {tick:?}");
            }
            prop_assert!(seen.is_empty(), "of a schedule that is gone: {seen:?}");
            prop_assert!(table.nearest().is_none_or(|nearest| nearest > now));
        }
    }

    /// A schedule is not silent for longer than an hour because of a step back.
    #[test]
    fn no_step_back_silences_for_longer_than_an_hour(back in 0..10_000_000_i64, ran in 0..10_000_i64) {
        let start = at(START);
        let mut table = table(START, &[("a", "* * * * *"), ("b", "@every 1m")]);
        let mut now = start;
        for _ in 0..ran / 600 {
            now += SignedDuration::from_mins(10);
            table.advance(now);
        }
        now -= SignedDuration::from_secs(back);
        table.advance(now);
        let nearest = table.nearest().unwrap();
        prop_assert!(nearest <= now + STEP_BACK + SignedDuration::from_mins(1), "{now} {nearest}");
    }
}
