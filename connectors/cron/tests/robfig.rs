//! Our answers beside those of robfig/cron 3.0.1, which ran over the same expressions.
//!
//! The two tables were written by `reference/main.go`; its head says how, and what the columns are. Schedules are read
//! with [`Fold::Twice`] here: that is the setting that stands for robfig's behaviour.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;

use cron_connector::schedule::{Fold, Schedule, ScheduleOptions};
use jiff::Timestamp;
use jiff::civil::date;
use jiff::tz::TimeZone;

/// Where robfig departs from its own rule, and we do not: expression, zone, its fires in 2026, ours.
///
/// - Its search steps by whole hours from midnight. On the two days on which Lord Howe moves its clocks by half an hour
///   every later step is off by that half hour, so `0 12 * * *` has no noon on either day; and where clocks go forward,
///   `30 1 * * *` fires at 01:30 and once more at 02:30.
/// - It takes a day for the midnight that begins it. In Cairo, Friday 24 April 2026 begins at 01:00: `0 12 * * 5` does not
///   fire on it, and `0 6 */2 * mon` does, which asks for odd days and Mondays.
const DEPARTURES: &[(&str, &str, u32, u32)] = &[
    ("+5 +4 * * *", "Australia/Lord_Howe", 363, 365),
    ("0 */2 * * *", "Australia/Lord_Howe", 4378, 4379),
    ("0 0 * * *", "Australia/Lord_Howe", 363, 365),
    ("0 0 1,15 * sun", "Australia/Lord_Howe", 68, 70),
    ("0 12 * * *", "Australia/Lord_Howe", 363, 365),
    ("0 12 * * 5", "Africa/Cairo", 51, 52),
    ("0 12 13 * 5", "Africa/Cairo", 60, 61),
    ("0 2 * * *", "Australia/Lord_Howe", 363, 364),
    ("0 3 * * *", "Australia/Lord_Howe", 363, 365),
    ("0 6 * * */2", "Africa/Cairo", 210, 209),
    ("0 6 * * */2", "Australia/Lord_Howe", 207, 209),
    ("0 6 */2 * mon", "Africa/Cairo", 213, 212),
    ("0 6 */2 * mon", "Australia/Lord_Howe", 211, 212),
    ("0 6 1-31 * mon", "Australia/Lord_Howe", 363, 365),
    ("0,,30 5 * * *", "Australia/Lord_Howe", 728, 730),
    ("15 2 * * *", "Australia/Lord_Howe", 363, 364),
    ("30 1 * * *", "Australia/Lord_Howe", 367, 366),
    ("45 1 * * *", "Australia/Lord_Howe", 367, 366),
    ("5,35 0/3 * * *", "Australia/Lord_Howe", 5838, 5840),
    ("@daily", "Australia/Lord_Howe", 363, 365),
    ("@midnight", "Australia/Lord_Howe", 363, 365),
    ("@weekly", "Australia/Lord_Howe", 50, 52),
];

#[test]
fn fires_as_robfig_does_for_a_year_in_five_zones() {
    let mut departures = BTreeSet::new();
    for line in include_str!("robfig-2026.tsv").lines() {
        let [expression, zone, count, hash, first, last] = columns(line);
        let options = options(zone);
        let end = date(2027, 1, 1).to_zoned(options.zone.clone()).unwrap().timestamp();
        let start = date(2025, 12, 31)
            .at(23, 59, 59, 0)
            .to_zoned(options.zone.clone())
            .unwrap()
            .timestamp();
        let schedule = Schedule::parse(expression, &options).unwrap();
        let fires: Vec<i64> = schedule
            .ticks_after(start, start)
            .take_while(|tick| *tick < end)
            .take(40_000)
            .map(Timestamp::as_second)
            .collect();

        let robfigs = (count.to_owned(), hash.to_owned(), first.to_owned(), last.to_owned());
        let ours = (
            fires.len().to_string(),
            format!("{:016x}", fnv1a(&fires)),
            fires.first().copied().unwrap_or(0).to_string(),
            fires.last().copied().unwrap_or(0).to_string(),
        );
        if robfigs != ours {
            departures.insert((expression, zone, count.parse().unwrap(), fires.len() as u32));
        }
    }
    assert_eq!(departures, DEPARTURES.iter().copied().collect());
}

#[test]
fn accepts_what_robfig_accepts_and_means_the_same() {
    let options = options("UTC");
    let start = date(2026, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
    for line in include_str!("robfig-grammar.tsv").lines() {
        let [answer, hash, quoted] = columns(line);
        let expression = unquote(quoted);
        // Where robfig panics, we refuse.
        let schedule = match Schedule::parse(&expression, &options) {
            Ok(schedule) => schedule,
            Err(error) => {
                assert_ne!(answer, "yes", "{quoted}: {error}");
                continue;
            }
        };
        assert_eq!(answer, "yes", "{quoted}");
        let fires: Vec<i64> =
            schedule.ticks_after(start, start).take(20).map(Timestamp::as_second).collect();
        assert_eq!(hash, format!("{:016x}", fnv1a(&fires)), "{quoted}: {fires:?}");
    }
}

fn options(zone: &str) -> ScheduleOptions {
    ScheduleOptions {
        zone: TimeZone::get(zone).unwrap(),
        fold: Fold::Twice,
        ..ScheduleOptions::default()
    }
}

fn columns<const N: usize>(line: &str) -> [&str; N] {
    line.split('\t').collect::<Vec<_>>().try_into().unwrap()
}

/// Reads a Go string literal, as far as the tables need it.
fn unquote(literal: &str) -> String {
    let mut text = String::new();
    let mut rest = literal.trim_matches('"');
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        rest = if let Some(after) = escape.strip_prefix('t') {
            text.push('\t');
            after
        } else {
            let (code, after) = escape.strip_prefix('u').unwrap().split_at(4);
            text.push(char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap());
            after
        };
    }
    text + rest
}

fn fnv1a(seconds: &[i64]) -> u64 {
    (seconds.iter().flat_map(|second| second.to_le_bytes()))
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}
