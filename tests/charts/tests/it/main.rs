//! The charts, tried with Helm.

mod generated;
mod rendered;
mod settings;
mod upstream;
