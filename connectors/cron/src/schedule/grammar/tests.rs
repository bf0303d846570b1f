#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::{Fold, Schedule};
use super::*;

fn parse(text: &str) -> Result<Schedule, ScheduleError> {
    Schedule::parse(text, &ScheduleOptions::default())
}

fn with_seconds(text: &str) -> Result<Schedule, ScheduleError> {
    let options = ScheduleOptions { seconds: true, ..ScheduleOptions::default() };
    Schedule::parse(text, &options)
}

#[test]
fn spellings_of_the_same_schedule_are_equal() {
    for (one, other) in [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 jan ?"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * sun"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "00 00 ?/1 1-12 0-6"),
        ("@hourly", "0 * * * *"),
        ("*/15 * * * *", "0,15,30,45 * * * *"),
        ("10/20 * * * *", "10,30,50 * * * *"),
        ("* * * * MON-fri", "*-7 * * * 1-5"),
        ("@every 90s", "TZ=Asia/Tokyo @every 1m30.9s"),
        ("@every 1s", "@every -1h"),
        ("  0 0 * * * ", "\t0\u{a0}0 * * *;"),
        ("TZ=Europe/Berlin @daily", " CRON_TZ=europe/berlin   @daily\n"),
        ("TZ= @daily", "TZ=Local @daily"),
        (";0 0 * * *; ;", "0 0 * * *"),
    ] {
        assert_eq!(parse(one).unwrap(), parse(other).unwrap(), "{one} and {other}");
    }
}

#[test]
fn the_star_of_a_stepped_field_is_no_star_to_the_day_rule() {
    for (expression, rule) in [
        ("0 0 13 * 5", DayRule::Either),
        ("0 0 */2 * 5", DayRule::Either),
        ("0 0 1-31 * 5", DayRule::Either),
        ("0 0 , * 5", DayRule::Either),
        ("0 0 * * 5", DayRule::Both),
        ("0 0 ? * 5", DayRule::Both),
        ("0 0 */1 * 5", DayRule::Both),
        ("0 0 13,* * 5", DayRule::Both),
        ("0 0 */2 * ?", DayRule::Both),
    ] {
        let expressions = schedule(expression, &ScheduleOptions::default()).unwrap();
        let [Expression::Wall(times)] = expressions.as_slice() else {
            panic!("{expression} is not one expression of fields");
        };
        assert_eq!(times.day_rule, rule, "{expression}");
    }
}

#[test]
fn seconds_are_a_sixth_field_in_front_and_only_if_wanted() {
    assert_eq!(with_seconds("0 5 * * * *"), parse("5 * * * *"));
    assert_eq!(with_seconds("5 * * * *"), parse("5 * * * *"));
    assert!(with_seconds("* * * * * * *").is_err());
    assert!(with_seconds("* * * *").is_err());
    assert!(parse("0 5 * * * *").is_err());
}

#[test]
fn the_zone_of_an_expression_is_its_own_or_else_the_default() {
    let options =
        |zone| ScheduleOptions { zone: TimeZone::get(zone).unwrap(), ..ScheduleOptions::default() };
    let parse = |text, zone| Schedule::parse(text, &options(zone)).unwrap();
    assert_eq!(parse("@daily", "Asia/Tokyo"), parse("TZ=Asia/Tokyo @daily", "UTC"));
    assert_eq!(parse("TZ=Local @daily", "Asia/Tokyo"), parse("@daily", "Asia/Tokyo"));
    assert_eq!(parse("TZ= @daily", "Asia/Tokyo"), parse("@daily", "UTC"));
    assert_eq!(
        parse("TZ=UTC @daily; @daily", "Asia/Tokyo"),
        parse("@daily;TZ=Asia/Tokyo @daily", "UTC")
    );
}

#[test]
fn an_error_names_the_field_the_text_and_what_is_accepted() {
    for (text, message) in [
        (
            "",
            "the schedule is empty: expected five fields such as \"*/5 * * * *\", or a descriptor such as @hourly",
        ),
        (
            " ; ",
            "the schedule is empty: expected five fields such as \"*/5 * * * *\", or a descriptor such as @hourly",
        ),
        (
            "* * * *",
            "\"* * * *\" has 4 fields: expected five: minute, hour, day of month, month and day of week",
        ),
        ("* 24 * * *", "hour field: \"24\": out of range: expected a number from 0 to 23"),
        (
            "* * * * 7",
            "day-of-week field: \"7\": out of range: expected a number from 0 (Sunday) to 6 or a name from sun to sat",
        ),
        (
            "* * * 1,foo-12 *",
            "month field: \"foo-12\": \"foo\" is not a number from 1 to 12 or a name from jan to dec",
        ),
        (
            "* 22-2 * * *",
            "hour field: \"22-2\": the range ends before it begins: expected the lower bound first",
        ),
        (
            "* * 1-2-3 * *",
            "day-of-month field: \"1-2-3\": more than one hyphen: expected a range such as 1-5",
        ),
        (
            "1/2/3 * * * *",
            "minute field: \"1/2/3\": more than one slash: expected a step such as */5",
        ),
        ("*/0 * * * *", "minute field: \"*/0\": the step is not a number from 1 up"),
        (
            "0 0 * * *; @reboot",
            "\"@reboot\" is not a descriptor: expected @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly \
             (lower case), or @every and a duration",
        ),
        (
            "@every 5",
            "@every: \"5\" is not a duration: expected numbers with units, such as 1h30m or 90s, after one space",
        ),
        ("TZ=UTC", "time zone \"TZ=UTC\": expected a space and an expression after it"),
        (
            "TZ=Mars/Base * * * * *",
            "time zone \"Mars/Base\" is unknown: expected a name such as Europe/Berlin, UTC or Local",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), message);
    }
    assert_eq!(
        with_seconds("60 * * * * *").unwrap_err().to_string(),
        "second field: \"60\": out of range: expected a number from 0 to 59"
    );
    assert_eq!(
        with_seconds("*").unwrap_err().to_string(),
        "\"*\" has 1 fields: expected minute, hour, day of month, month and day of week, and optionally seconds before them"
    );
}

#[test]
fn an_error_is_one_short_line_whatever_the_annotation_is() {
    for text in [
        "x".repeat(1 << 20),
        "\u{1f980}\n".repeat(1 << 16) + "* * * *",
        "@".repeat(1 << 20),
        "TZ=".repeat(1 << 19),
    ] {
        let message = parse(&text).unwrap_err().to_string();
        assert!(message.len() < 500 && !message.contains('\n'), "{message}");
    }
    // Long, but nothing is wrong with it.
    parse(&(",".repeat(1 << 20) + "5 * * * *")).unwrap();
}

#[test]
fn a_zone_is_a_name_and_never_a_path() {
    for name in
        ["../UTC", "/etc/localtime", "Europe/../Europe/Berlin", "Europe", "CET-1CEST", "\0", ":UTC"]
    {
        assert!(parse(&format!("TZ={name} @daily")).is_err(), "{name:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_answered(
        text in prop_oneof![
            any::<String>(),
            "[-*?/,0-9a-fjmnosuT@=; \t.\u{b5}\u{1f980}\u{a0}]{0,40}",
            "(TZ=|CRON_TZ=)?[A-Z/ ]{0,8}@every [-+]?[0-9.]{0,25}(ns|us|\u{b5}s|\u{3bc}s|ms|s|m|h|\u{1f980})?[0-9.hms]{0,8}",
            "([-*?/,0-9]{1,4} ){4,5}[-*?/,0-9a-z]{1,4}",
        ],
        seconds in any::<bool>(),
    ) {
        let options = ScheduleOptions { seconds, fold: Fold::Once, zone: TimeZone::UTC };
        match Schedule::parse(&text, &options) {
            Ok(schedule) => if let Some(next) = schedule.next_after(Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH) {
                prop_assert!(next > Timestamp::UNIX_EPOCH);
            },
            Err(error) => prop_assert!(error.to_string().len() < 700),
        }
    }
}
