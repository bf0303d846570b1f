//! Why a schedule was refused, in words that say what would have been accepted.

use std::fmt;

use thiserror::Error;

/// Why a `schedule` annotation was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// There is no expression in it.
    #[error(
        "the schedule is empty: expected five fields such as \"*/5 * * * *\", or a descriptor such as @hourly"
    )]
    Empty,
    /// An expression has too few or too many fields.
    #[error("{text} has {found} fields: expected {accepted}")]
    FieldCount {
        /// The expression without its zone.
        text: Excerpt,
        /// How many fields there are.
        found: usize,
        /// What the fields have to be.
        accepted: &'static str,
    },
    /// One item of a field's comma list cannot be read.
    #[error("{field} field: {item}: {problem}")]
    Item {
        /// The field.
        field: Field,
        /// The item.
        item: Excerpt,
        /// What is wrong with it.
        problem: ItemProblem,
    },
    /// A word after `@` means nothing.
    #[error(
        "{text} is not a descriptor: expected @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly \
         (lower case), or @every and a duration"
    )]
    Descriptor {
        /// The expression without its zone.
        text: Excerpt,
    },
    /// The period of `@every` cannot be read.
    #[error(
        "@every: {text} is not a duration: expected numbers with units, such as 1h30m or 90s, after one space"
    )]
    Period {
        /// What follows `@every` and its space.
        text: Excerpt,
    },
    /// A zone prefix has nothing after it.
    #[error("time zone {text}: expected a space and an expression after it")]
    ZoneAlone {
        /// The whole expression.
        text: Excerpt,
    },
    /// A zone prefix names no zone.
    #[error("time zone {name} is unknown: expected a name such as Europe/Berlin, UTC or Local")]
    UnknownZone {
        /// The name.
        name: Excerpt,
    },
}

/// What is wrong with one item of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemProblem {
    /// A bound of the range is neither a number nor one of the field's names.
    NotANumber {
        /// The bound.
        bound: Excerpt,
        /// What it has to be.
        accepted: &'static str,
    },
    /// A bound of the range is not in the field's range.
    OutOfRange {
        /// What they have to be.
        accepted: &'static str,
    },
    /// The range ends before it begins.
    Reversed,
    /// More than one hyphen.
    Hyphens,
    /// More than one slash.
    Slashes,
    /// The step is not a number above zero.
    Step,
}

impl fmt::Display for ItemProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber { bound, accepted } => write!(f, "{bound} is not {accepted}"),
            Self::OutOfRange { accepted } => write!(f, "out of range: expected {accepted}"),
            Self::Reversed => {
                f.write_str("the range ends before it begins: expected the lower bound first")
            }
            Self::Hyphens => f.write_str("more than one hyphen: expected a range such as 1-5"),
            Self::Slashes => f.write_str("more than one slash: expected a step such as */5"),
            Self::Step => f.write_str("the step is not a number from 1 up"),
        }
    }
}

/// A field of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Second of the minute.
    Second,
    /// Minute of the hour.
    Minute,
    /// Hour of the day.
    Hour,
    /// Day of the month.
    DayOfMonth,
    /// Month of the year.
    Month,
    /// Day of the week.
    DayOfWeek,
}

impl Field {
    /// Says what a bound of a range in this field has to be.
    pub(super) fn accepts(self) -> &'static str {
        match self {
            Self::Second | Self::Minute => "a number from 0 to 59",
            Self::Hour => "a number from 0 to 23",
            Self::DayOfMonth => "a number from 1 to 31",
            Self::Month => "a number from 1 to 12 or a name from jan to dec",
            Self::DayOfWeek => "a number from 0 (Sunday) to 6 or a name from sun to sat",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day-of-month",
            Self::Month => "month",
            Self::DayOfWeek => "day-of-week",
        })
    }
}

/// A piece of an annotation as an error shows it: in quotes, escaped, and cut short.
///
/// Annotations are other people's text of any length, and errors end up in log lines.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt {
    text: String,
    cut: bool,
}

impl Excerpt {
    /// How many characters are kept.
    const LENGTH: usize = 60;
}

impl From<&str> for Excerpt {
    fn from(text: &str) -> Self {
        Self {
            text: text.chars().take(Self::LENGTH).collect(),
            cut: text.chars().nth(Self::LENGTH).is_some(),
        }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{}", self.text, if self.cut { "..." } else { "" })
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
