//! `/_dev/...`: scripts a gateway that runs in another process. JSON in, JSON out; no credentials are asked for.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;

use crate::gateway::State;
use crate::server::{Answer, text};

pub(crate) async fn route(_state: &Arc<State>, _request: Request<Incoming>) -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}
