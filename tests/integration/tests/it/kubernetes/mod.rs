//! What asks the API server of Kubernetes: replicas of cron-connector that share a Lease, and the charts.
//!
//! [`replicas`] runs the connectors and keeps account of every tick, [`account`] is what a pod finds of its service
//! account. [`stand_in`] answers as the API server does, in this process, so that the worst of it is part of every run:
//! [`faults`].
//! [`lease`] and [`charts`] ask the real one, which takes a quarter of an hour to compile: `make prove-kubernetes`.

mod account;
mod charts;
mod faults;
mod lease;
mod replicas;
mod stand_in;
