//! The charts, tried with Helm.

mod examples;
mod generated;
mod rendered;
