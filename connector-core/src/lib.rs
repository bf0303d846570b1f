//! What every Tributary connector shares: from a received event to its verdict.
//!
//! A connector reads one kind of event source and invokes the functions whose annotations ask for
//! its events. This crate is everything about that which is not one broker's protocol. Its promise:
//!
//! > An event is acknowledged to its broker only after every function mapped to it has answered
//! > well, or after it has been stored at its dead-letter destination, or after a policy dropped
//! > it, counted and logged. Nothing else.
//!
//! # Vocabulary
//!
//! A **source** is the broker side of one connector. It receives **events** (one message, or one
//! tick of a schedule), each matched on its **topic** against the **topic map**, which is built
//! from the annotations that the gateway lists. The source's own handle on a delivery is its
//! **place** (an offset, a receipt handle); it never leaves the connector's crate. Places that are
//! settled together form a **lane** (a Kafka partition, an SQS queue). A **slot** is a place in a
//! lane's window: no slot, no receive. One HTTP invocation of one function for one event is a
//! **call**. What became of an event is its **verdict**: [`Verdict::Done`] or
//! [`Verdict::Release`]; silence reads as release.
//!
//! # Where to start
//!
//! [`source::Source`] is the contract that a connector fulfils, [`lane`] how it hands events in,
//! [`pending`] how it learns what became of them, [`dispatch`] the policy in between, and
//! [`run::run`] the process around it all.

pub mod admin;
pub mod annotations;
pub mod budget;
pub mod conditions;
pub mod dead_letter;
pub mod dispatch;
pub mod event;
pub mod fail_point;
pub mod fingerprint;
pub mod fleet;
pub mod functions;
pub mod gateway;
pub mod headers;
pub mod hold;
pub mod invoke;
pub mod lane;
pub mod log;
mod memory;
pub mod metrics;
pub mod order;
pub mod pairs;
pub mod pending;
pub mod permits;
pub mod platform;
pub mod recent;
pub mod retry;
pub mod roster;
pub mod run;
pub mod secret;
pub mod settings;
pub mod settlement;
pub mod source;
pub mod status;
pub mod supervisor;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod topics;

pub use event::{Attribute, Event, EventId, FunctionName, OrderKey};
pub use fingerprint::fingerprint;
pub use lane::{Intake, Lane, LaneOptions, Loan, Redrive, Settled, Slot, Verdict};
pub use pending::{AnyOrder, InOrder, Pending};
pub use settlement::Settlement;
pub use source::{Source, SourceError};
