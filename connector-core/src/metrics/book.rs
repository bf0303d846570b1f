//! The book of metrics: each is entered once, and what it is entered with is both what `/metrics`
//! tells of it and its row in the reference.
//!
//! Names are written as they stand on the page, so that one found on a dashboard is found in the
//! code: a counter's ends in `_total`, and a unit is part of it. Labels are written beside the
//! types that fill them in, since an empty family has none to show; a test compares the two on
//! pages of running connectors.

use std::fmt::Write as _;

use prometheus_client::collector::Collector;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Metric, Registry, Unit};

/// Every metric of the process.
#[derive(Debug, Default)]
pub struct Book {
    registry: Registry,
    rows: Vec<Row>,
}

/// What is said of one metric.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// Its name on the page.
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) labels: &'static [&'static str],
    /// What it means, without a full stop.
    pub(super) help: &'static str,
}

impl Book {
    /// Enters a metric under its name on the page.
    ///
    /// # Panics
    /// When the name of a counter does not end in `_total`, or that of an info in `_info`.
    pub fn enter(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        metric: impl Metric,
    ) {
        // The text format appends what tells the kind, and the registry the unit.
        let (kind, stem) = match metric.metric_type() {
            MetricType::Counter => ("counter", without(name, "_total")),
            MetricType::Info => ("info", without(name, "_info")),
            MetricType::Histogram => ("histogram", name),
            MetricType::Gauge | MetricType::Unknown => ("gauge", name),
        };
        match unit(stem) {
            Some((stem, unit)) => self.registry.register_with_unit(stem, help, unit, metric),
            None => self.registry.register(stem, help, metric),
        }
        self.rows.push(Row { name, kind, labels, help });
    }

    /// Enters what makes its metrics when it is asked, with a row for each of them.
    pub(super) fn enter_collector(
        &mut self,
        rows: impl IntoIterator<Item = Row>,
        collector: Box<dyn Collector>,
    ) {
        self.registry.register_collector(collector);
        self.rows.extend(rows);
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }
}

fn without(name: &'static str, suffix: &str) -> &'static str {
    name.strip_suffix(suffix).expect("the name of such a metric ends so")
}

/// The unit that a name ends in, and what stands before it.
fn unit(stem: &str) -> Option<(&str, Unit)> {
    let seconds = stem.strip_suffix("_seconds").map(|stem| (stem, Unit::Seconds));
    seconds.or_else(|| stem.strip_suffix("_bytes").map(|stem| (stem, Unit::Bytes)))
}

/// Rows as a table of Markdown.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text =
        "| Metric | Type | Unit | Labels | Meaning |\n|---|---|---|---|---|\n".to_owned();
    for Row { name, kind, labels, help } in rows {
        let stem = name.strip_suffix("_total").unwrap_or(name);
        let unit = unit(stem).map_or("", |(_, unit)| match unit {
            Unit::Bytes => "bytes",
            _ => "seconds",
        });
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | {help} |")
            .expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode_registry;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    #[test]
    fn names_are_on_the_page_as_they_were_entered() {
        let mut book = Book::default();
        book.enter("a_total", &[], "Counted", Counter::<u64>::default());
        book.enter("b_seconds_total", &[], "Time spent", Counter::<u64>::default());
        book.enter("c_bytes", &[], "Memory", Gauge::<i64>::default());
        let mut page = String::new();
        encode_registry(&mut page, book.registry()).unwrap();
        for line in ["a_total 0", "# UNIT b_seconds seconds", "b_seconds_total 0", "c_bytes 0"] {
            assert!(page.lines().any(|it| it == line), "{line} is missing in\n{page}");
        }
        let table = table(book.rows());
        assert!(table.ends_with("| `c_bytes` | gauge | bytes |  | Memory |\n"), "{table}");
        assert!(table.contains("| `b_seconds_total` | counter | seconds |  |"), "{table}");
    }

    #[test]
    #[should_panic(expected = "ends so")]
    fn a_counter_is_named_like_one() {
        Book::default().enter("a", &[], "Counted", Counter::<u64>::default());
    }
}
