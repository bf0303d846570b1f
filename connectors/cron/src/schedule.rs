//! When a function's schedule fires: a pure answer, without a clock and without a timer.
//!
//! The grammar is that of robfig/cron 3.0.1, which the schedules in use today were written for, so that every annotation
//! keeps its meaning; it lives in `grammar`. Beyond it: lists of expressions separated by `;`, an optional field
//! of seconds, white space around an expression, and time zones that need no files on the host.
//!
//! This file searches for the next instant. It goes from one change of the zone's offset to the next: between two of
//! them wall-clock time is linear, so months, days and times of day are found in bit sets and never tried one by one. It
//! gives up where robfig does, after the fifth calendar year.
//!
//! # Daylight saving time
//!
//! A wall-clock time that a zone skips (the *gap*) does not fire. A time that a zone has twice (the *fold*) fires
//!
//! - in both passes if the hour field allows **every hour**, however that is written (`*`, `?`, `*/1`, `0-23`): such a
//!   schedule means elapsed time, and one pass left out would be a hole in it;
//! - otherwise once, in the first pass: such a schedule names times of day, and a day has each of them once. A stepped
//!   star such as `*/2` is a list of hours like any other, as it is in the rule for days;
//! - with [`Fold::Twice`] in both passes always, as robfig has it.
//!
//! What this module deliberately does not do: sleep, remember when a function was last called, or decide what becomes of
//! ticks that were missed.

mod error;
mod grammar;

#[cfg(test)]
mod tests;

use std::iter;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

pub use self::error::{Excerpt, Field, ItemProblem, ScheduleError};

/// How many calendar years after the present one are searched before a schedule counts as never firing again.
const YEARS_SEARCHED: i16 = 5;

/// What a schedule's text does not say by itself.
#[derive(Clone, Debug)]
pub struct ScheduleOptions {
    /// The zone of an expression without a `TZ=` prefix, and of `TZ=Local`.
    pub zone: TimeZone,
    /// Whether an expression may have six fields, the first being seconds. Five fields are accepted all the same.
    pub seconds: bool,
    /// What happens to named times of day in the fold.
    pub fold: Fold,
}

/// UTC, five fields, [`Fold::Once`].
impl Default for ScheduleOptions {
    fn default() -> Self {
        Self { zone: TimeZone::UTC, seconds: false, fold: Fold::Once }
    }
}

/// How often a time of day fires that a zone has twice on one day.
///
/// A schedule whose hour field allows every hour fires in both passes under either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fold {
    /// In the first pass only.
    #[default]
    Once,
    /// In both passes, as robfig has it.
    Twice,
}

/// The parsed schedule of one function: one or more expressions, which fire independently of each other.
///
/// Instants at which several of them fire are one tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    expressions: Vec<Expression>,
}

impl Schedule {
    /// Parses the value of a `schedule` annotation.
    ///
    /// One bad expression in a `;` list refuses the list: a function whose schedule is half understood would be called
    /// at half its times, and nobody would notice. Any text is answered in time proportional to its length.
    pub fn parse(text: &str, options: &ScheduleOptions) -> Result<Self, ScheduleError> {
        grammar::schedule(text, options).map(|expressions| Self { expressions })
    }

    /// Returns the first tick strictly after `instant`, on a whole second, or `None` if the schedule never fires again.
    ///
    /// `added` is when the schedule came into force; only `@every` looks at it. Its ticks are `added`, cut to the whole
    /// second, plus one period, plus two, and so on: they do not drift, and the other expressions of a list do not move
    /// them.
    ///
    /// Never means: not before the end of the fifth calendar year after `instant`'s. A schedule whose next tick is
    /// farther away (29 February across 2100) has to be asked again later.
    pub fn next_after(&self, instant: Timestamp, added: Timestamp) -> Option<Timestamp> {
        self.expressions
            .iter()
            .filter_map(|expression| match expression {
                Expression::Every { period } => period_after(*period, instant, added),
                Expression::Wall(times) => times.next_after(instant),
            })
            .min()
    }

    /// Yields the ticks strictly after `instant`, one after the other.
    ///
    /// The sequence is endless for most schedules.
    pub fn ticks_after(
        &self,
        instant: Timestamp,
        added: Timestamp,
    ) -> impl Iterator<Item = Timestamp> {
        iter::successors(self.next_after(instant, added), move |last| self.next_after(*last, added))
    }
}

/// One expression of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    /// `@every`: a period in whole seconds, at least 1.
    Every { period: i64 },
    /// Everything else.
    Wall(WallTimes),
}

/// The wall-clock times of one zone that an expression allows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WallTimes {
    seconds: Bits,
    minutes: Bits,
    hours: Bits,
    days_of_month: Bits,
    months: Bits,
    /// Sunday is 0.
    days_of_week: Bits,
    day_rule: DayRule,
    fold: Fold,
    zone: TimeZone,
}

/// How the two day fields are read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DayRule {
    /// One of them has a star: a day must be in both.
    Both,
    /// Neither has: a day must be in one of them.
    Either,
}

/// A set of numbers from 0 to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bits(u64);

impl WallTimes {
    fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        if self.is_never() {
            return None;
        }
        let mut start = Timestamp::from_second(floor_second(instant) + 1).ok()?;
        let last_year = self.zone.to_datetime(start).year() + YEARS_SEARCHED;
        loop {
            let stretch = Stretch::around(start, &self.zone);
            let mut from = stretch.offset.to_datetime(start);
            if from.year() > last_year {
                return None;
            }
            if !self.repeats_in_fold() {
                from = from.max(stretch.repeats_before);
            }
            let until = stretch.end.map_or(DateTime::MAX, |end| stretch.offset.to_datetime(end));
            if let Some(found) = self.first_between(from, until, last_year) {
                return stretch.offset.to_timestamp(found).ok();
            }
            start = stretch.end?;
        }
    }

    /// Whether a field other than those of the days is empty, as `,` is.
    fn is_never(&self) -> bool {
        [self.seconds, self.minutes, self.hours, self.months].contains(&Bits::default())
    }

    fn repeats_in_fold(&self) -> bool {
        self.fold == Fold::Twice || self.hours == Bits::range(0, 23, 1)
    }

    /// Returns the first allowed wall-clock time from `from` on, before `until` and within `last_year`.
    fn first_between(&self, from: DateTime, until: DateTime, last_year: i16) -> Option<DateTime> {
        let (mut year, mut month, mut day) = (from.year(), from.month(), from.day());
        while year <= last_year {
            // Refused only beyond the last year that a calendar of ours has.
            let first = Date::new(year, month, 1).ok()?;
            if first > until.date() {
                return None;
            }
            if self.months.contains(month) {
                let days = self.days_of(first);
                while let Some(matching) = days.next(day) {
                    let date = Date::new(year, month, matching).ok()?;
                    let earliest = if date == from.date() { from.time() } else { Time::midnight() };
                    if let Some(time) = self.first_time(earliest) {
                        let found = date.to_datetime(time);
                        return (found < until).then_some(found);
                    }
                    day = matching + 1;
                }
            }
            day = 1;
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
        None
    }

    /// Returns the days that are allowed in the month that begins with `first`.
    fn days_of(&self, first: Date) -> Bits {
        let all = Bits::range(1, first.days_in_month(), 1);
        let before_first = first.weekday().to_sunday_zero_offset() + 6;
        let by_week = (1..=first.days_in_month())
            .filter(|day| self.days_of_week.contains((before_first + day) % 7))
            .fold(Bits::default(), |days, day| days.union(Bits::range(day, day, 1)));
        match self.day_rule {
            DayRule::Both => Bits(self.days_of_month.0 & by_week.0 & all.0),
            DayRule::Either => Bits((self.days_of_month.0 | by_week.0) & all.0),
        }
    }

    /// Returns the first allowed time of a day that is not before `earliest`.
    fn first_time(&self, earliest: Time) -> Option<Time> {
        let (hour, minute, second) = (earliest.hour(), earliest.minute(), earliest.second());
        if self.hours.contains(hour) {
            if self.minutes.contains(minute)
                && let Some(second) = self.seconds.next(second)
            {
                return Time::new(hour, minute, second, 0).ok();
            }
            if let Some(minute) = self.minutes.next(minute + 1) {
                return Time::new(hour, minute, self.seconds.next(0)?, 0).ok();
            }
        }
        let hour = self.hours.next(hour + 1)?;
        Time::new(hour, self.minutes.next(0)?, self.seconds.next(0)?, 0).ok()
    }
}

/// A stretch of time in which a zone's offset does not change.
struct Stretch {
    offset: Offset,
    /// When the next one begins.
    end: Option<Timestamp>,
    /// Wall-clock times before this one were already had in the stretch before.
    repeats_before: DateTime,
}

impl Stretch {
    fn around(instant: Timestamp, zone: &TimeZone) -> Self {
        let second = jiff::SignedDuration::from_secs(1);
        // Offsets change on whole seconds, so what lies before the next second has begun by now.
        let begin = (instant.saturating_add(second).ok())
            .and_then(|next| zone.preceding(next).next())
            .map(|change| change.timestamp());
        let repeats_before = (begin
            .and_then(|begin| Some((begin, begin.checked_sub(second).ok()?))))
        .map_or(DateTime::MIN, |(begin, before)| zone.to_offset(before).to_datetime(begin));
        Self {
            offset: zone.to_offset(instant),
            end: zone.following(instant).next().map(|change| change.timestamp()),
            repeats_before,
        }
    }
}

impl Bits {
    /// The numbers from `low` to `high`, every `step`th of them.
    fn range(low: i8, high: i8, step: usize) -> Self {
        Self((low..=high).step_by(step).fold(0, |bits, number| bits | 1 << number))
    }

    fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn contains(self, number: i8) -> bool {
        self.0 & (1 << number) != 0
    }

    /// Returns the smallest member that is not below `from`.
    fn next(self, from: i8) -> Option<i8> {
        let rest = self.0 & (u64::MAX << from);
        (rest != 0).then(|| rest.trailing_zeros() as i8)
    }
}

/// Returns the first tick of a period that is after `instant` and at least one period after `added`.
fn period_after(period: i64, instant: Timestamp, added: Timestamp) -> Option<Timestamp> {
    let first = floor_second(added);
    let elapsed = floor_second(instant) - first;
    let periods = (elapsed.div_euclid(period) + 1).max(1);
    Timestamp::from_second(first.checked_add(periods.checked_mul(period)?)?).ok()
}

/// Returns the last whole second that is not after `instant`.
fn floor_second(instant: Timestamp) -> i64 {
    // Before 1970 the parts of a timestamp are both negative.
    instant.as_second() - i64::from(instant.subsec_nanosecond() < 0)
}
