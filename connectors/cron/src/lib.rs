//! Calls OpenFaaS functions on their schedules.

pub mod schedule;
