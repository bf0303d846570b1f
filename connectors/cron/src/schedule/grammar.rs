//! The grammar of robfig/cron 3.0.1, from text to bit sets.
//!
//! What it accepts is what robfig's standard parser accepts, oddities included: they are in annotations that work today.
//! Items of a field may be empty (`1,,2`), and a field of nothing but commas never matches; `+5` is 5; what follows the
//! hyphen after a star is not looked at (`*-7` is `*`); an `@every` below one second, even a negative one, is one second.
//! Two things are taken more kindly: white space around an expression, and upper and lower case in the name of a zone.

#[cfg(test)]
mod tests;

use jiff::tz::TimeZone;

use super::error::{Field, ItemProblem, ScheduleError};
use super::{Bits, DayRule, Expression, ScheduleOptions, WallTimes};

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Reads a list of expressions separated by `;`. Empty ones count for nothing, as empty items of a field do.
pub(super) fn schedule(
    text: &str,
    options: &ScheduleOptions,
) -> Result<Vec<Expression>, ScheduleError> {
    let expressions = (text.split(';').map(str::trim))
        .filter(|text| !text.is_empty())
        .map(|text| expression(text, options))
        .collect::<Result<Vec<_>, _>>()?;
    if expressions.is_empty() {
        return Err(ScheduleError::Empty);
    }
    Ok(expressions)
}

fn expression(text: &str, options: &ScheduleOptions) -> Result<Expression, ScheduleError> {
    let (zone, rest) = match text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) {
        None => (options.zone.clone(), text),
        Some(prefixed) => {
            // A space and no other white space: robfig takes a tab for a part of the name.
            let Some((name, rest)) = prefixed.split_once(' ') else {
                return Err(ScheduleError::ZoneAlone { text: text.into() });
            };
            (zone(name, options)?, rest.trim())
        }
    };
    if rest.starts_with('@') {
        return descriptor(rest, zone, options);
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let (seconds, fields) = match fields.as_slice() {
        [second, fields @ ..] if options.seconds && fields.len() == 5 => (*second, fields),
        fields => ("0", fields),
    };
    let &[minutes, hours, days_of_month, months, days_of_week] = fields else {
        return Err(ScheduleError::FieldCount {
            text: rest.into(),
            found: fields.len(),
            accepted: if options.seconds {
                "minute, hour, day of month, month and day of week, and optionally seconds before them"
            } else {
                "five: minute, hour, day of month, month and day of week"
            },
        });
    };
    let (seconds, _) = field(seconds, Field::Second)?;
    let (minutes, _) = field(minutes, Field::Minute)?;
    let (hours, _) = field(hours, Field::Hour)?;
    let (days_of_month, any_day_of_month) = field(days_of_month, Field::DayOfMonth)?;
    let (months, _) = field(months, Field::Month)?;
    let (days_of_week, any_day_of_week) = field(days_of_week, Field::DayOfWeek)?;
    Ok(Expression::Wall(WallTimes {
        seconds,
        minutes,
        hours,
        days_of_month,
        months,
        days_of_week,
        day_rule: if any_day_of_month || any_day_of_week { DayRule::Both } else { DayRule::Either },
        fold: options.fold,
        zone,
    }))
}

fn zone(name: &str, options: &ScheduleOptions) -> Result<TimeZone, ScheduleError> {
    match name {
        "" => Ok(TimeZone::UTC),
        "Local" => Ok(options.zone.clone()),
        name => TimeZone::get(name).map_err(|_| ScheduleError::UnknownZone { name: name.into() }),
    }
}

fn descriptor(
    text: &str,
    zone: TimeZone,
    options: &ScheduleOptions,
) -> Result<Expression, ScheduleError> {
    if let Some(period) = text.strip_prefix("@every ") {
        let nanoseconds =
            go_duration(period).ok_or_else(|| ScheduleError::Period { text: period.into() })?;
        let period = (nanoseconds / 1_000_000_000).max(1);
        return Ok(Expression::Every { period });
    }
    let zero = Bits::range(0, 0, 1);
    let first = Bits::range(1, 1, 1);
    let mut times = WallTimes {
        seconds: zero,
        minutes: zero,
        hours: zero,
        days_of_month: span(Field::DayOfMonth),
        months: span(Field::Month),
        days_of_week: span(Field::DayOfWeek),
        day_rule: DayRule::Both,
        fold: options.fold,
        zone,
    };
    match text {
        "@yearly" | "@annually" => (times.months, times.days_of_month) = (first, first),
        "@monthly" => times.days_of_month = first,
        "@weekly" => times.days_of_week = zero,
        "@daily" | "@midnight" => {}
        "@hourly" => times.hours = span(Field::Hour),
        _ => return Err(ScheduleError::Descriptor { text: text.into() }),
    }
    Ok(Expression::Wall(times))
}

/// Reads one field. The flag says that one of its items is a star which is not stepped.
fn field(text: &str, field: Field) -> Result<(Bits, bool), ScheduleError> {
    let (mut bits, mut star) = (Bits::default(), false);
    for item in text.split(',').filter(|item| !item.is_empty()) {
        let (item_bits, item_star) = parse_item(item, field)
            .map_err(|problem| ScheduleError::Item { field, item: item.into(), problem })?;
        bits = bits.union(item_bits);
        star |= item_star;
    }
    Ok((bits, star))
}

fn parse_item(item: &str, field: Field) -> Result<(Bits, bool), ItemProblem> {
    let (range, step) = match item.split_once('/') {
        None => (item, None),
        Some((_, step)) if step.contains('/') => return Err(ItemProblem::Slashes),
        Some((range, step)) => (range, Some(step)),
    };
    let (min, max) = limits(field);
    let (low, high) = range.split_once('-').unzip();
    let low = low.unwrap_or(range);
    let star = matches!(low, "*" | "?");
    let (low, high) = match high {
        _ if star => (min, max),
        Some(high) if high.contains('-') => return Err(ItemProblem::Hyphens),
        Some(high) => (bound(low, field)?, bound(high, field)?),
        // `5/10` is every tenth from 5 on, but `5` is 5 alone.
        None if step.is_some() => (bound(low, field)?, max),
        None => (bound(low, field)?, bound(low, field)?),
    };
    if low > high {
        return Err(ItemProblem::Reversed);
    }
    let step = match step {
        None => 1,
        Some(step) => number(step).filter(|step| *step > 0).ok_or(ItemProblem::Step)?,
    };
    // No field has as many values as the largest `usize`, so a larger step is as good as that one.
    let bits = Bits::range(low, high, usize::try_from(step).unwrap_or(usize::MAX));
    Ok((bits, star && step == 1))
}

/// Reads one end of a range: a number, or a name where the field has names.
fn bound(text: &str, field: Field) -> Result<i8, ItemProblem> {
    let (names, first): (&[&str], i8) = match field {
        Field::Month => (&MONTHS, 1),
        Field::DayOfWeek => (&DAYS, 0),
        _ => (&[], 0),
    };
    if let Some(value) = (first..).zip(names).find(|(_, name)| name.eq_ignore_ascii_case(text)) {
        return Ok(value.0);
    }
    let (min, max) = limits(field);
    let Some(value) = number(text) else {
        return Err(ItemProblem::NotANumber { bound: text.into(), accepted: field.accepts() });
    };
    i8::try_from(value)
        .ok()
        .filter(|value| (min..=max).contains(value))
        .ok_or_else(|| ItemProblem::OutOfRange { accepted: field.accepts() })
}

/// Reads a number as Go's `Atoi` does on a 64-bit machine: a sign is allowed, nothing else beside the digits is.
fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// The least and the greatest value of a field.
fn limits(field: Field) -> (i8, i8) {
    match field {
        Field::Second | Field::Minute => (0, 59),
        Field::Hour => (0, 23),
        Field::DayOfMonth => (1, 31),
        Field::Month => (1, 12),
        Field::DayOfWeek => (0, 6),
    }
}

/// Every value of a field.
fn span(field: Field) -> Bits {
    let (min, max) = limits(field);
    Bits::range(min, max, 1)
}

/// Reads a duration as Go's `ParseDuration` does, in nanoseconds: `1h30m`, `1.5s`, `-2m`, `0`.
///
/// The settings' own reader is another one on purpose: it refuses what is below zero and cuts fractions, where a schedule
/// that works today may have the one and depend on how Go rounds the other.
fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    // Nanoseconds as whole numbers. More than 2^63 of them is refused, as in Go, so that no sum can overflow.
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let nanoseconds: u64 = match &after[..end] {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = &after[end..];
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total += u128::from(whole) * u128::from(nanoseconds) + fraction_of(fraction, nanoseconds);
        if total > 1 << 63 {
            return None;
        }
    }
    if negative {
        return i64::try_from(-i128::try_from(total).ok()?).ok();
    }
    i64::try_from(total).ok()
}

/// Returns the part of `unit` that the digits after a decimal point stand for, rounded as Go does: in a float, from as
/// many digits as make a number of at most 2^63. So `0.1111111111111111h` is 400 s and not one nanosecond less, which
/// would be cut to 399 s.
fn fraction_of(digits: &str, unit: u64) -> u128 {
    let (mut value, mut scale) = (0_u64, 1.0_f64);
    for digit in digits.bytes() {
        let longer = value.checked_mul(10).map(|value| value + u64::from(digit - b'0'));
        let Some(longer) = longer.filter(|longer| *longer <= 1 << 63) else {
            break;
        };
        value = longer;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u128
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}
