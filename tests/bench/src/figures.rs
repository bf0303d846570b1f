//! What is said of measurements: medians, how far they lie apart, units; and the rows they stand in.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// A line of a table: what was measured, what came of it, and between which bounds it lay in repeated runs.
pub(crate) struct Row {
    what: String,
    value: String,
    bounds: String,
}

impl Row {
    /// Measured once.
    pub(crate) fn new(what: impl Into<String>, value: impl Into<String>) -> Self {
        Self { what: what.into(), value: value.into(), bounds: String::new() }
    }

    /// Measured in several runs.
    pub(crate) fn median(what: &str, of: &[f64], shown: impl Fn(f64) -> String) -> Self {
        let sorted = sorted(of);
        let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
        let bounds = format!("{} to {}", shown(least), shown(most));
        Self { what: what.to_owned(), value: shown(median(of)), bounds }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} | {} |", self.what, self.value, self.bounds)
    }
}

/// A table of Markdown.
pub(crate) fn table(head: &[&str], lines: impl IntoIterator<Item = String>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for line in lines {
        writeln!(text, "{line}").expect("it is a string");
    }
    text
}

/// The middle one; of an even number, the mean of the middle two.
pub(crate) fn median(of: &[f64]) -> f64 {
    let sorted = sorted(of);
    let upper = sorted[sorted.len() / 2];
    let lower = sorted[(sorted.len() - 1) / 2];
    f64::midpoint(lower, upper)
}

/// What this share of them, 0 to 1, does not exceed.
pub(crate) fn quantile(of: &[f64], share: f64) -> f64 {
    let sorted = sorted(of);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn sorted(of: &[f64]) -> Vec<f64> {
    assert!(!of.is_empty(), "something was measured");
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// `21.9 µs`.
pub(crate) fn micros(micros: f64) -> String {
    format!("{micros:.1} µs")
}

/// `0.52 ms`.
pub(crate) fn millis(millis: f64) -> String {
    format!("{millis:.2} ms")
}

/// `50.9 MiB`.
pub(crate) fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / 1_048_576.0)
}

/// `1.57`.
pub(crate) fn ratio(ratio: f64) -> String {
    format!("{ratio:.2}")
}

/// With commas between thousands: `33,488`.
pub(crate) fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds of one of so many.
pub(crate) fn each(used: Duration, events: u64) -> f64 {
    used.as_secs_f64() * 1e6 / events as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_string(), "2");
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]).to_string(), "2.5");
        let hundred: Vec<_> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.5).to_string(), "50");
        assert_eq!(quantile(&hundred, 0.99).to_string(), "99");
        assert_eq!(quantile(&hundred, 0.999).to_string(), "100");
    }

    #[test]
    fn a_row_says_how_far_runs_lie_apart() {
        let row = Row::median("ratio", &[1.5, 1.7, 1.4], ratio);
        assert_eq!(row.to_string(), "| ratio | 1.50 | 1.40 to 1.70 |");
        assert_eq!(Row::new("a", "b").to_string(), "| a | b |  |");
        let counts = [1.0, 999.4, 1_000.0, 1_234_567.0].map(count);
        assert_eq!(counts, ["1", "999", "1,000", "1,234,567"]);
    }
}
