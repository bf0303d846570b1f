//! What queries came to over some time, and the table of that.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use integration::Prometheus;

use crate::alerts;
use crate::dashboard::{self, ROWS, sent};
use crate::expected::SLOW;
use crate::scene::Fired;

/// The lowest and the highest value of any series of each query, so far.
#[derive(Default)]
pub(crate) struct Samples(BTreeMap<&'static str, (f64, f64)>);

impl Samples {
    /// Asks every query of the dashboard once.
    pub(crate) async fn take(&mut self, prometheus: &Prometheus) {
        for query in dashboard::queries() {
            for sample in prometheus.query(&sent(query)).await {
                let range = self.0.entry(query).or_insert((sample.value, sample.value));
                *range = (range.0.min(sample.value), range.1.max(sample.value));
            }
        }
    }

    /// The lowest and the highest; `None` without a sample.
    pub(crate) fn of(&self, query: &str) -> Option<(f64, f64)> {
        self.0.get(query).copied()
    }

    fn shown(&self, query: &str) -> String {
        match self.of(query) {
            None => "-".to_owned(),
            Some((low, high)) if low == high => number(low),
            Some((low, high)) => format!("{} to {}", number(low), number(high)),
        }
    }
}

/// With four digits that count at most.
fn number(value: f64) -> String {
    let digits = if value.abs() >= 1_000.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        4
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A query as it stands in a cell.
pub(crate) fn cell(query: &str) -> String {
    let words: Vec<_> = query.split_whitespace().collect();
    format!("| `{}` |", words.join(" ").replace('|', "\\|"))
}

/// What every panel and every alert came to.
pub(crate) fn table(calm: &Samples, fault: &Samples, fired: &Fired) -> String {
    let mut text = "# Every query on a real Prometheus\n\n\
        Written by `BLESS=1 make prove-monitoring`: five kinds of connectors under load, then under every fault at once. \
        Of each query the lowest and the highest value of any series meanwhile; `-`: none had one.\n\n## Panels\n\n\
        | Panel | Query | In calm | In the faults |\n|---|---|---|---|\n"
        .to_owned();
    for row in ROWS {
        for panel in row.panels {
            for (query, _) in panel.queries {
                let (calm, fault) = (calm.shown(query), fault.shown(query));
                let (row, title, query) = (row.title, panel.title, cell(query));
                writeln!(text, "| {row}: {title} {query} {calm} | {fault} |")
                    .expect("a string takes everything");
            }
        }
    }
    let slow = SLOW.join(", ");
    write!(
        text,
        "\n## Alerts\n\nIn calm none fired. A second stood for each minute. By the job in which each fired; of \
         {slow} it was seen that they wait for their time, and the unit tests see them fire.\n\n\
         | Alert | Query | Fired for |\n|---|---|---|\n"
    )
    .expect("a string takes everything");
    for alert in alerts::all() {
        let jobs = fired.iter().filter(|(name, _)| *name == alert.name);
        let jobs: Vec<_> = jobs.map(|(_, job)| job.as_str()).collect();
        writeln!(text, "| {} {} {} |", alert.name, cell(&alert.expr), jobs.join(", "))
            .expect("a string takes everything");
    }
    text
}

#[test]
fn a_number_has_the_digits_that_count() {
    let shown = [0.0, 1.0, 0.12345, 12.34, 2_000.4, 300.0].map(number);
    assert_eq!(shown, ["0", "1", "0.1235", "12.3", "2000", "300"]);
}
