//! The dashboard and the alerts, on a real Prometheus that scrapes real connectors.
//!
//! [`dashboard`] is what the dashboard shows, [`alerts`] what the file of alerts says, [`station`]
//! connectors with something to do, [`full`] every fault and every query, [`short`] a few of them,
//! [`reference`](mod@reference) the table of metrics.

mod alerts;
mod dashboard;
mod documents;
mod full;
mod reference;
mod short;
mod station;
