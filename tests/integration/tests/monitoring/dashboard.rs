//! The dashboard: what it shows, as a table.
//!
//! The file that Grafana imports says the same in forty times the words: [`grafana`] writes it.
//! A panel takes its instances from the variable `instance`, which follows the one that people
//! choose, `connector`.

mod brokers;
mod every;
mod grafana;

use brokers::{CRON, KAFKA, MQTT, NATS, SQS};
use every::{EVENTS, GATEWAY, LATENCY, LIMITS, OVERVIEW, PROCESS, RETRIES, WAITING};

/// A row of panels. One that is not open is about one kind of broker.
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) open: bool,
    pub(crate) panels: &'static [Panel],
}

/// One panel, and the queries it is drawn from, each with its legend.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    /// What it means, for whoever points at it.
    pub(crate) about: &'static str,
    pub(crate) form: Form,
    pub(crate) unit: &'static str,
    /// Of the 24 columns.
    pub(crate) width: u64,
    pub(crate) queries: &'static [(&'static str, &'static str)],
}

/// How a panel looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One number; green at this value and red beyond it, where there is one.
    Number(Option<Good>),
    Lines,
    Stacked,
    Heatmap,
}

/// What is good for a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Good {
    One,
    Zero,
}

/// Everything on the dashboard, from the top.
pub(crate) const ROWS: &[Row] = &[
    Row { title: "Overview", open: true, panels: OVERVIEW },
    Row { title: "Events and calls", open: true, panels: EVENTS },
    Row { title: "Latency", open: true, panels: LATENCY },
    Row { title: "What waits", open: true, panels: WAITING },
    Row { title: "Limits", open: true, panels: LIMITS },
    Row { title: "Retries and dead letters", open: true, panels: RETRIES },
    Row { title: "Gateway, map, broker", open: true, panels: GATEWAY },
    Row { title: "Kafka", open: false, panels: KAFKA },
    Row { title: "SQS", open: false, panels: SQS },
    Row { title: "NATS", open: false, panels: NATS },
    Row { title: "MQTT", open: false, panels: MQTT },
    Row { title: "Cron", open: false, panels: CRON },
    Row { title: "Process", open: true, panels: PROCESS },
];

/// Every query, from the top.
pub(crate) fn queries() -> impl Iterator<Item = &'static str> {
    let panels = ROWS.iter().flat_map(|row| row.panels);
    panels.flat_map(|panel| panel.queries).map(|(query, _)| *query)
}

/// A query as Grafana would send it, for all connectors and these last seconds.
pub(crate) fn sent(query: &str) -> String {
    query.replace("$__rate_interval", "10s").replace("$__range", "10m").replace("$instance", ".*")
}
