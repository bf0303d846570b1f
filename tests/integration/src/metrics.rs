//! What a connector says of itself on `/metrics`, and whether it adds up.

use std::collections::BTreeMap;
use std::fmt;

/// One page of metrics.
#[derive(Clone, PartialEq)]
pub struct Metrics {
    /// By name with labels, as the page has them.
    samples: BTreeMap<String, f64>,
    text: String,
}

impl Metrics {
    /// Reads a page in the text format.
    ///
    /// # Panics
    /// When a line is not in that format, or the page breaks off.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with("# EOF\n"), "the page of metrics breaks off: {text}");
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a sample has a name and a value");
            (name.to_owned(), value.parse().expect("a sample's value is a number"))
        });
        Self { samples: samples.collect(), text: text.to_owned() }
    }

    /// The sum of all samples of a metric whose labels contain every one of `labels`, such as
    /// `("outcome", "delivered")`. 0 when there is none: most families begin empty.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<_> = labels.iter().map(|(l, v)| format!("{l}=\"{v}\"")).collect();
        self.samples
            .iter()
            .filter(|(sample, _)| sample.split('{').next() == Some(name))
            .filter(|(sample, _)| wanted.iter().all(|label| sample.contains(label.as_str())))
            .map(|(_, value)| value)
            .sum()
    }

    /// The same of what is counted in whole numbers.
    #[must_use]
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        whole(self.sum(name, labels))
    }

    /// How many deliveries were taken from the source.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.count("tributary_events_received_total", &[])
    }

    /// How many deliveries came to this: `delivered`, `dead_lettered`, `dropped`, `unmatched`,
    /// `repeated` or `released`.
    #[must_use]
    pub fn came(&self, outcome: &str) -> u64 {
        self.count("tributary_events_total", &[("outcome", outcome)])
    }

    /// How many deliveries have no verdict.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.count("tributary_events_in_flight", &[])
    }

    /// The law of conservation: each delivery is counted once, by the worst outcome of its
    /// functions, or is in flight.
    ///
    /// # Panics
    /// When the books do not balance.
    pub fn balance(&self) {
        const OUTCOMES: [&str; 6] =
            ["delivered", "dead_lettered", "dropped", "unmatched", "repeated", "released"];
        assert!(
            self.samples.contains_key("tributary_events_received_total"),
            "the page has no tributary_events_received_total: {}",
            self.text
        );
        let counted = OUTCOMES.map(|outcome| self.came(outcome));
        let (received, in_flight) = (self.received(), self.in_flight());
        assert_eq!(
            received,
            counted.iter().sum::<u64>() + in_flight,
            "received is not {OUTCOMES:?} {counted:?} and {in_flight} in flight"
        );
    }
}

/// The samples as on the page, without the remarks.
impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.samples.iter().try_for_each(|(name, value)| writeln!(f, "{name} {value}"))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of a test are small and whole"
)]
fn whole(value: f64) -> u64 {
    assert!(value >= 0.0 && value.fract() == 0.0, "{value} counts nothing");
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# TYPE tributary_events_received counter
tributary_events_received_total 7
tributary_events_total{outcome=\"delivered\"} 4
tributary_events_total{outcome=\"released\"} 1
tributary_events_in_flight 2
tributary_calls_total{function=\"a\",outcome=\"well\"} 3
tributary_calls_total{function=\"b\",outcome=\"well\"} 5
# EOF
";

    #[test]
    fn samples_are_summed_by_label() {
        let metrics = Metrics::parse(PAGE);
        assert_eq!(metrics.sum("tributary_calls_total", &[("outcome", "well")]), 8.0);
        assert_eq!(metrics.sum("tributary_calls_total", &[("function", "b")]), 5.0);
        assert_eq!(metrics.came("dropped"), 0);
        metrics.balance();
    }

    #[test]
    #[should_panic(expected = "received is not")]
    fn a_lost_delivery_is_noticed() {
        Metrics::parse(&PAGE.replace("delivered\"} 4", "delivered\"} 3")).balance();
    }

    #[test]
    #[should_panic(expected = "breaks off")]
    fn half_a_page_is_noticed() {
        drop(Metrics::parse("tributary_events_received_total 7\n"));
    }
}
