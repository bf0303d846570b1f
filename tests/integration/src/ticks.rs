//! What the log of cron-connector says of ticks that were missed, one line for each with `debug`.
//!
//! Instants are whole seconds since 1970.

use std::ops::RangeInclusive;
use std::time::{SystemTime, UNIX_EPOCH};

/// A line about ticks that were missed, of a function with one each second.
#[derive(Debug, Clone, Copy)]
pub struct Missed<'a> {
    /// Whose: `name.namespace`.
    pub function: &'a str,
    /// The tick that the line is about, or the one that came after those it is about.
    pub instant: i64,
    /// How many.
    pub ticks: i64,
    passed_over: bool,
}

impl<'a> Missed<'a> {
    /// Reads a line; `None`: it is about something else.
    #[must_use]
    pub fn read(line: &'a str) -> Option<Self> {
        let (_, said) = line.split_once(" Missed: ")?;
        let field = |name: &str| said.split(' ').find_map(|word| word.strip_prefix(name));
        Some(Self {
            function: said.split(' ').next()?,
            instant: moment(field("scheduled=")?) / 1000,
            ticks: field("ticks=")?.parse().ok()?,
            // Nothing is called a minute late in a test, so it is never the tick itself.
            passed_over: said.contains("could not be called in time"),
        })
    }

    /// Which.
    #[must_use]
    pub fn instants(&self) -> RangeInclusive<i64> {
        match self.passed_over {
            true => self.instant - self.ticks..=self.instant - 1,
            false => self.instant..=self.instant,
        }
    }
}

/// What RFC 3339 says, in milliseconds since 1970.
///
/// # Panics
/// When the text is no such moment.
#[must_use]
pub fn moment(text: &str) -> i64 {
    since_1970(humantime::parse_rfc3339(text).unwrap_or_else(|_| panic!("no instant: {text}")))
}

/// Now, in milliseconds since 1970.
#[must_use]
pub fn now() -> i64 {
    since_1970(SystemTime::now())
}

fn since_1970(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("a moment of this age")
}
