//! Durations as Go writes them, because that is how every OpenFaaS setting is written.

use std::fmt::Write as _;
use std::time::Duration;

/// What Go counts in: a signed 64-bit number of nanoseconds.
const MOST: u64 = i64::MAX as u64;

/// Reads a duration in Go's syntax: `300ms`, `1.5h`, `2h45m`. Units are `h`, `m`, `s`, `ms`, `us`
/// (`µs`, `μs`) and `ns`; a bare `0` needs none.
///
/// # Errors
/// What is wrong with the text: no unit, an unknown one, no number, below zero, or beyond Go's
/// range (some 292 years).
pub fn parse_go_duration(text: &str) -> Result<Duration, String> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if unsigned.is_empty() {
        return Err("has no number".to_owned());
    }
    let nanos = if unsigned == "0" { 0 } else { sum(unsigned)? };
    if negative && nanos > 0 {
        return Err("is below zero".to_owned());
    }
    Ok(Duration::from_nanos(nanos))
}

/// Writes a duration as Go does: `1h0m0s`, `1.5s`, `300ms`, `0s`.
#[must_use]
pub fn format_go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (unit, name) = match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let mut text = String::new();
    let mut whole = nanos / unit;
    if name == "s" && whole >= 60 {
        let minutes = whole / 60;
        if minutes >= 60 {
            write!(text, "{}h", minutes / 60).expect("a string takes everything");
        }
        write!(text, "{}m", minutes % 60).expect("a string takes everything");
        whole %= 60;
    }
    write!(text, "{whole}").expect("a string takes everything");
    let fraction = nanos % unit;
    if fraction > 0 {
        let digits = unit.ilog10() as usize;
        let padded = format!("{fraction:0digits$}");
        text.push('.');
        text.push_str(padded.trim_end_matches('0'));
    }
    text.push_str(name);
    text
}

/// Adds up the parts of an unsigned duration, `2h` and `45m`.
fn sum(mut rest: &str) -> Result<u64, String> {
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err("has no number before a unit".to_owned());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        if name.is_empty() {
            return Err("has no unit".to_owned());
        }
        let unit = nanos_of(name).ok_or_else(|| format!("has the unknown unit `{name}`"))?;
        total = part(whole, fraction, unit)
            .and_then(|part| total.checked_add(part))
            .filter(|&total| total <= MOST)
            .ok_or("is too long")?;
        rest = after;
    }
    Ok(total)
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `whole.fraction` units in nanoseconds, the fraction rounded towards zero as in Go.
fn part(whole: &str, fraction: &str, unit: u64) -> Option<u64> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // More digits than these are below a nanosecond even of an hour; Go drops surplus ones too.
    let digits = &fraction[..fraction.len().min(18)];
    let fraction: u64 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let scale = 10_u128.pow(u32::try_from(digits.len()).ok()?);
    let below = u64::try_from(u128::from(fraction) * u128::from(unit) / scale).ok()?;
    whole.checked_mul(unit)?.checked_add(below)
}

fn nanos_of(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // The micro sign and the Greek letter mu.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("0s", 0),
            ("-0s", 0),
            ("5s", 5_000_000_000),
            ("+5s", 5_000_000_000),
            ("300ms", 300_000_000),
            ("1.5h", 5_400_000_000_000),
            ("2h45m", 9_900_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1us", 1_000),
            ("1\u{b5}s", 1_000),
            ("1\u{3bc}s", 1_000),
            ("1ns", 1),
            ("0.9ns", 0),
            ("0.100000000000000000000h", 360_000_000_000),
            ("1m1m", 120_000_000_000),
            ("9223372036854775807ns", i64::MAX as u64),
        ] {
            assert_eq!(parse_go_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses_and_what_lies_before_now() {
        for text in [
            "",
            "-",
            "+",
            "30",
            "s",
            ".",
            ".s",
            "1.5",
            "1x",
            "1 s",
            " 1s",
            "1s ",
            "1S",
            "1d",
            "--1s",
            "-1s",
            "-1ns",
            "1s2",
            "1,5s",
            "9223372036854775808ns",
            "2562048h",
            "99999999999999999999999s",
            "\u{1f980}",
        ] {
            assert!(parse_go_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn writes_as_go_writes() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (60_000_000_000, "1m0s"),
            (245_000_000_001, "4m5.000000001s"),
            (3_600_000_000_000, "1h0m0s"),
            (18_367_001_000_000, "5h6m7.001s"),
        ] {
            assert_eq!(format_go_duration(Duration::from_nanos(nanos)), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in 0..=MOST) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_go_duration(&format_go_duration(duration)), Ok(duration));
        }

        #[test]
        fn what_is_read_survives_a_round_trip(
            text in "[+-]?([0-9]{1,4}(\\.[0-9]{0,3})?(h|m|s|ms|us|µs|ns)){1,4}"
        ) {
            if let Ok(duration) = parse_go_duration(&text) {
                prop_assert_eq!(parse_go_duration(&format_go_duration(duration)), Ok(duration));
            } else {
                prop_assert!(text.starts_with('-'));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let read = parse_go_duration(&text);
            prop_assert!(read.is_ok() || !read.unwrap_err().is_empty());
        }
    }
}
