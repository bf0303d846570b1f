//! Every branch of dispatch, in process: a real HTTP server, tokio's clock paused.
//!
//! Server and client share one thread, so whatever one has written the other finds before the
//! paused clock is moved on: waits of minutes pass at once, and in order.

mod bench;
mod calls;
mod gateway;
mod holds;
mod lent;
mod letters;
mod order;
mod platform;
mod status;
mod unmatched;
