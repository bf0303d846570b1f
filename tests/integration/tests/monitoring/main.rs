//! The dashboard and the alerts, on a real Prometheus that scrapes real connectors.
//!
//! [`dashboard`] is what the dashboard shows, [`alerts`] what the file of alerts says, [`scene`]
//! connectors with something to do and the faults that befall them, [`expected`] what these have to
//! bring about, [`full`] every fault and every query, [`short`] a few of them, [`samples`] the table
//! of what queries came to, [`documents`] what the guide says of it, [`reference`](mod@reference)
//! the table of metrics.

mod alerts;
mod dashboard;
mod documents;
mod expected;
mod full;
mod reference;
mod samples;
mod scene;
mod short;
