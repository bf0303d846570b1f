#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use jiff::SignedDuration;
use jiff::civil::date;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

/// Days on which zones of ours change their offset, and one in UTC.
const CHANGES: &[(&str, Date)] = &[
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Africa/Cairo", date(2026, 4, 24)),
    ("Africa/Cairo", date(2026, 10, 29)),
    ("UTC", date(2026, 2, 28)),
];

fn options(zone: &str, fold: Fold) -> ScheduleOptions {
    ScheduleOptions { zone: TimeZone::get(zone).unwrap(), seconds: true, fold }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Returns the ticks in `[from, to)` as wall-clock times with their offsets.
fn fires(expression: &str, zone: &str, fold: Fold, from: &str, to: &str) -> Vec<String> {
    let options = options(zone, fold);
    let before = at(from) - SignedDuration::from_nanos(1);
    Schedule::parse(expression, &options)
        .unwrap()
        .ticks_after(before, before)
        .take_while(|tick| *tick < at(to))
        .take(100)
        .map(|tick| {
            options.zone.to_offset(tick).to_datetime(tick).to_string()
                + &options.zone.to_offset(tick).to_string()
        })
        .collect()
}

const BERLIN_GAP: [&str; 2] = ["2026-03-29T00:00+01:00", "2026-03-29T05:00+02:00"];
const BERLIN_FOLD: [&str; 2] = ["2026-10-25T01:00+02:00", "2026-10-25T05:00+01:00"];

#[test]
fn every_hour_means_elapsed_time_however_it_is_written() {
    let [from, to] = BERLIN_FOLD;
    for hours in ["*", "?", "*/1", "0-23", "0/1", "*,5", "0-11,12-23"] {
        let fold = fires(&format!("0 {hours} * * *"), "Europe/Berlin", Fold::Once, from, to);
        assert_eq!(
            fold,
            [
                "2026-10-25T01:00:00+02",
                "2026-10-25T02:00:00+02",
                "2026-10-25T02:00:00+01",
                "2026-10-25T03:00:00+01",
                "2026-10-25T04:00:00+01",
            ],
            "{hours}"
        );
    }
    let [from, to] = BERLIN_GAP;
    assert_eq!(
        fires("30 * * * *", "Europe/Berlin", Fold::Once, from, to),
        [
            "2026-03-29T00:30:00+01",
            "2026-03-29T01:30:00+01",
            "2026-03-29T03:30:00+02",
            "2026-03-29T04:30:00+02",
        ]
    );
}

#[test]
fn times_of_day_fire_once_in_the_fold_and_not_in_the_gap() {
    let [from, to] = BERLIN_FOLD;
    for expression in ["30 2 * * *", "30 */2 * * *", "30 2 25 10 *", "30 2 * * sun"] {
        let once = fires(expression, "Europe/Berlin", Fold::Once, from, "2026-10-25T04:00+01:00");
        assert_eq!(once, ["2026-10-25T02:30:00+02"], "{expression}");
        let twice = fires(expression, "Europe/Berlin", Fold::Twice, from, "2026-10-25T04:00+01:00");
        assert_eq!(twice, ["2026-10-25T02:30:00+02", "2026-10-25T02:30:00+01"], "{expression}");
    }
    let hourly_names = fires("0 0-22 * * *", "Europe/Berlin", Fold::Once, from, to);
    assert_eq!(hourly_names.len(), 4, "{hourly_names:?}");

    let [from, to] = BERLIN_GAP;
    for fold in [Fold::Once, Fold::Twice] {
        assert!(fires("30 2 * * *", "Europe/Berlin", fold, from, to).is_empty());
        assert_eq!(
            fires("30 1-3 * * *", "Europe/Berlin", fold, from, to),
            ["2026-03-29T01:30:00+01", "2026-03-29T03:30:00+02"]
        );
    }
}

#[test]
fn a_search_that_begins_in_the_second_pass_finds_nothing_of_it() {
    let options = options("America/New_York", Fold::Once);
    let schedule = Schedule::parse("*/10 1 * * *", &options).unwrap();
    let second_pass = at("2026-11-01T01:00:00-05:00");
    for minutes in 0..60 {
        let instant = second_pass + SignedDuration::from_mins(minutes);
        assert_eq!(schedule.next_after(instant, instant), Some(at("2026-11-02T01:00:00-05:00")));
    }
}

#[test]
fn a_missing_midnight_costs_the_day_nothing_else() {
    let day = ["2026-04-24T01:00+03:00", "2026-04-25T00:00+03:00"];
    let cairo = |expression| fires(expression, "Africa/Cairo", Fold::Once, day[0], day[1]);
    assert!(cairo("0 0 * * *").is_empty());
    assert_eq!(cairo("0 12 * * 5"), ["2026-04-24T12:00:00+03"]);
    assert!(cairo("0 6 */2 * mon").is_empty());
}

#[test]
fn half_an_hour_of_change_moves_no_other_time() {
    let day = ["2026-10-03T13:30:00Z", "2026-10-04T13:00:00Z"];
    let lord_howe =
        |expression| fires(expression, "Australia/Lord_Howe", Fold::Twice, day[0], day[1]);
    assert_eq!(lord_howe("0 12 * * *"), ["2026-10-04T12:00:00+11"]);
    assert_eq!(lord_howe("30 1 * * *"), ["2026-10-04T01:30:00+10:30"]);
    assert!(lord_howe("15 2 * * *").is_empty());
}

#[test]
fn ticks_are_strictly_later_and_on_whole_seconds() {
    let schedule = Schedule::parse("* * * * * *", &options("UTC", Fold::Once)).unwrap();
    for (instant, next) in [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
        ("2026-01-01T00:00:00.000000001Z", "2026-01-01T00:00:01Z"),
        ("2025-12-31T23:59:59.999999999Z", "2026-01-01T00:00:00Z"),
        ("1969-12-31T23:59:58.5Z", "1969-12-31T23:59:59Z"),
    ] {
        assert_eq!(schedule.next_after(at(instant), at(instant)), Some(at(next)));
    }
}

#[test]
fn gives_up_after_the_fifth_calendar_year() {
    let leap = Schedule::parse("0 0 29 2 *", &options("UTC", Fold::Once)).unwrap();
    let next = |instant| leap.next_after(at(instant), at(instant));
    assert_eq!(next("2096-03-01T00:00:00Z"), None);
    assert_eq!(next("2098-12-31T23:59:58Z"), None);
    // The second after it lies in 2099.
    assert_eq!(next("2098-12-31T23:59:59Z"), Some(at("2104-02-29T00:00:00Z")));

    for never in [
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        ", * * * *",
        "* , * * *",
        "* * , , ,",
        "* * , * *",
        "* * * , *",
    ] {
        for zone in ["UTC", "Europe/Berlin"] {
            let schedule = Schedule::parse(never, &options(zone, Fold::Once)).unwrap();
            assert_eq!(
                schedule.next_after(Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH),
                None,
                "{never}"
            );
        }
    }
}

#[test]
fn periods_count_from_when_the_schedule_was_added() {
    let schedule = Schedule::parse("@every 90s", &options("UTC", Fold::Once)).unwrap();
    let added = at("2026-01-01T00:00:10.75Z");
    for (instant, next) in [
        ("2026-01-01T00:00:10.75Z", "2026-01-01T00:01:40Z"),
        ("2026-01-01T00:01:39.9Z", "2026-01-01T00:01:40Z"),
        ("2026-01-01T00:01:40Z", "2026-01-01T00:03:10Z"),
        ("2026-01-01T01:00:00Z", "2026-01-01T01:00:10Z"),
        // The clock was set back.
        ("2025-06-01T00:00:00Z", "2026-01-01T00:01:40Z"),
    ] {
        assert_eq!(schedule.next_after(at(instant), added), Some(at(next)), "{instant}");
    }
}

#[test]
fn expressions_of_a_list_fire_independently_and_together_once() {
    let added = at("2026-01-01T00:00:00Z");
    let schedule = Schedule::parse(
        "0 * * * *; TZ=Asia/Kolkata 0 6 * * *;@every 25m",
        &options("UTC", Fold::Once),
    )
    .unwrap();
    let ticks: Vec<String> = schedule
        .ticks_after(added, added)
        .take(9)
        .map(|tick| tick.to_string()[11..16].to_owned())
        .collect();
    assert_eq!(
        ticks,
        ["00:25", "00:30", "00:50", "01:00", "01:15", "01:40", "02:00", "02:05", "02:30"]
    );

    let schedule = Schedule::parse("0 * * * *; */30 * * * *", &options("UTC", Fold::Once)).unwrap();
    assert_eq!(schedule.ticks_after(added, added).take(4).last(), Some(at("2026-01-01T02:00:00Z")));
}

/// One item of a field, kept as it was drawn and judged without a bit set.
#[derive(Clone, Debug)]
enum Item {
    Star(Option<i8>),
    From(i8, Option<i8>),
    Range(i8, i8, Option<i8>),
}

impl Item {
    fn render(&self) -> String {
        let (range, step) = match self {
            Self::Star(step) => ("*".to_owned(), step),
            Self::From(low, step) => (low.to_string(), step),
            Self::Range(low, high, step) => (format!("{low}-{high}"), step),
        };
        step.map_or(range.clone(), |step| format!("{range}/{step}"))
    }

    fn allows(&self, value: i8, min: i8) -> bool {
        match *self {
            Self::Star(step) => (value - min) % step.unwrap_or(1) == 0,
            Self::From(low, None) => value == low,
            Self::From(low, Some(step)) => value >= low && (value - low) % step == 0,
            Self::Range(low, high, step) => {
                (low..=high).contains(&value) && (value - low) % step.unwrap_or(1) == 0
            }
        }
    }
}

/// An expression of six fields, seconds first.
#[derive(Clone, Debug)]
struct Drawn([Vec<Item>; 6]);

const LIMITS: [(i8, i8); 6] = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];

impl Drawn {
    fn render(&self) -> String {
        let fields =
            self.0.iter().map(|items| items.iter().map(Item::render).collect::<Vec<_>>().join(","));
        fields.collect::<Vec<_>>().join(" ")
    }

    fn field_allows(&self, field: usize, value: i8) -> bool {
        self.0[field].iter().any(|item| item.allows(value, LIMITS[field].0))
    }

    fn day_allowed(&self, date: Date) -> bool {
        let by_month = self.field_allows(3, date.day());
        let by_week = self.field_allows(5, date.weekday().to_sunday_zero_offset());
        let star = |field: usize| {
            self.0[field].iter().any(|item| matches!(item, Item::Star(None | Some(1))))
        };
        let day = if star(3) || star(5) { by_month && by_week } else { by_month || by_week };
        day && self.field_allows(4, date.month())
    }

    fn fires_at(&self, instant: Timestamp, options: &ScheduleOptions) -> bool {
        let wall = options.zone.to_datetime(instant);
        if !(self.field_allows(0, wall.second())
            && self.field_allows(1, wall.minute())
            && self.field_allows(2, wall.hour())
            && self.day_allowed(wall.date()))
        {
            return false;
        }
        let elapsed = (0..24).all(|hour| self.field_allows(2, hour));
        let first_pass = || options.zone.to_ambiguous_timestamp(wall).earlier().unwrap();
        elapsed || options.fold == Fold::Twice || first_pass() == instant
    }
}

fn item(field: usize) -> impl Strategy<Value = Item> {
    let (min, max) = LIMITS[field];
    let step = || option::of(1..=(max / 2));
    prop_oneof![
        2 => step().prop_map(Item::Star),
        3 => (min..=max, step()).prop_map(|(low, step)| Item::From(low, step)),
        2 => (min..=max, min..=max, step()).prop_map(|(a, b, step)| Item::Range(a.min(b), a.max(b), step)),
    ]
}

/// A field that is a plain star as often as `stars` in 10 times.
fn drawn_field(field: usize, stars: u32) -> impl Strategy<Value = Vec<Item>> {
    prop_oneof![
        stars => Just(vec![Item::Star(None)]),
        10 - stars => vec(item(field), 1..4),
    ]
}

fn zero() -> Just<Vec<Item>> {
    Just(vec![Item::From(0, None)])
}

fn fold() -> impl Strategy<Value = Fold> {
    prop_oneof![Just(Fold::Once), Just(Fold::Twice)]
}

/// Compares with a walk over every `step` seconds, from `hours` before a change of the clocks to as long after it.
/// Only so many ticks are asked for that an endless sequence of wrong ones is a failure too.
fn same_as_a_walk(
    drawn: &Drawn,
    change: usize,
    fold: Fold,
    hours: i64,
    step: i64,
    jitter: i64,
) -> Result<(), TestCaseError> {
    let (zone, day) = CHANGES[change];
    let options = options(zone, fold);
    let schedule = Schedule::parse(&drawn.render(), &options).unwrap();
    let middle =
        options.zone.to_ambiguous_timestamp(day.at(2, 0, 0, 0)).compatible().unwrap().as_second();
    let (from, to) = (middle - hours * 3600 + jitter, middle + hours * 3600);
    let aligned = from.div_euclid(step) * step;
    let walked: Vec<i64> = (aligned..to)
        .step_by(step as usize)
        .filter(|second| {
            *second > from && drawn.fires_at(Timestamp::from_second(*second).unwrap(), &options)
        })
        .collect();
    let start = Timestamp::from_second(from).unwrap();
    let found: Vec<i64> = schedule
        .ticks_after(start, start)
        .map(Timestamp::as_second)
        .take_while(|tick| *tick < to)
        .take(walked.len() + 1)
        .collect();
    prop_assert_eq!(found, walked, "{} in {}", drawn.render(), zone);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn finds_the_minutes_that_a_walk_finds(
        fields in (zero(), drawn_field(1, 2), drawn_field(2, 3), drawn_field(3, 5), drawn_field(4, 8), drawn_field(5, 5)),
        change in 0..CHANGES.len(), fold in fold(), jitter in 0_i64..86_400,
    ) {
        same_as_a_walk(&Drawn(fields.into()), change, fold, 48, 60, jitter)?;
    }

    #[test]
    fn finds_the_seconds_that_a_walk_finds(
        fields in (drawn_field(0, 2), drawn_field(1, 4), drawn_field(2, 4), drawn_field(3, 8), drawn_field(4, 9), drawn_field(5, 8)),
        change in 0..CHANGES.len(), fold in fold(), jitter in 0_i64..3_600,
    ) {
        same_as_a_walk(&Drawn(fields.into()), change, fold, 3, 1, jitter)?;
    }

    #[test]
    fn finds_the_day_that_a_walk_finds(
        days in (drawn_field(3, 2), drawn_field(4, 2), drawn_field(5, 4)),
        start in 0_i64..40_000,
    ) {
        let noon = vec![Item::From(12, None)];
        let drawn = Drawn([zero().0, zero().0, noon, days.0, days.1, days.2]);
        let start = Timestamp::from_second(start * 86_400 + 50_000).unwrap();
        let schedule = Schedule::parse(&drawn.render(), &options("UTC", Fold::Once)).unwrap();
        let today = TimeZone::UTC.to_datetime(start).date();
        let walked = today.tomorrow().unwrap()
            .series(jiff::Span::new().days(1))
            .take_while(|day| day.year() <= today.year() + 5)
            .find(|day| drawn.day_allowed(*day))
            .map(|day| day.at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp());
        prop_assert_eq!(schedule.next_after(start, start), walked, "{}", drawn.render());
    }

    #[test]
    fn answers_any_instant(
        expression in prop_oneof![
            Just("* * * * * *"), Just("0 0 29 2 *"), Just("@every 1s"), Just("@every 2562047h"), Just("0 0 31 12 *"), Just("0 2 * * *"),
        ],
        change in 0..CHANGES.len(), fold in fold(),
        instant in prop_oneof![
            any::<i128>().prop_map(|nanoseconds| Timestamp::from_nanosecond(nanoseconds % 253_402_207_200_000_000_000).unwrap_or(Timestamp::MIN)),
            Just(Timestamp::MIN), Just(Timestamp::MAX),
        ],
        added in prop_oneof![Just(Timestamp::MIN), Just(Timestamp::MAX), Just(Timestamp::UNIX_EPOCH)],
    ) {
        let schedule = Schedule::parse(expression, &options(CHANGES[change].0, fold)).unwrap();
        if let Some(next) = schedule.next_after(instant, added) {
            prop_assert!(next > instant);
            prop_assert_eq!(next.subsec_nanosecond(), 0);
        }
    }
}
