//! A local stand-in for the OpenFaaS gateway, with scriptable faults and a ledger of every call.
//!
//! Integration tests, benches and the demo start one in their own process ([`DevGateway`]); the binary `dev-gateway`
//! serves the functions of a `stack.yml` on a laptop. It speaks the part of the gateway's API that event connectors
//! use: listing, invoking, queueing, health.
//!
//! It deliberately has no scaling, no builds, no deployments over the gateway's API, and no TLS.
//!
//! ```no_run
//! # async fn example() -> Result<(), dev_gateway::StartError> {
//! use dev_gateway::{Config, DevGateway, Fault, Function};
//!
//! let gateway = DevGateway::start(Config::default()).await?;
//! gateway.deploy(Function::named("resize").topic("images").echo());
//! gateway.fault("resize", Fault::status(500).times(2));
//! // ... point a connector at gateway.url() ...
//! gateway.ledger().wait_for("two failures and a success", |calls| calls.of("resize").count() == 3).await;
//! # Ok(())
//! # }
//! ```

mod admin;
mod arrived;
mod calls;
mod faults;
mod functions;
mod gate;
mod gateway;
mod headers;
mod invoke;
mod ledger;
mod listing;
mod platform;
mod port;
mod record;
mod run;
mod server;
mod stack;

pub use calls::{Call, Calls, Cause, End, Mode, Moment};
pub use faults::Fault;
pub use functions::{DEFAULT_NAMESPACE, Function, Reply, Request};
pub use gate::Gate;
pub use gateway::{Config, Credentials, DevGateway, OnCall, StartError};
pub use headers::Headers;
pub use ledger::{Ledger, PATIENCE};
pub use platform::{HealthFault, ListingFault, Platform, TimeoutAnswer};
pub use port::HeldPort;
pub use stack::StackError;
