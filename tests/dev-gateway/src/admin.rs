//! `/_dev/...`: scripts a gateway that runs in another process. JSON in, JSON out.
//!
//! No credentials are asked for, so nothing here runs commands: a function with `dev.exec` can come from a stack file
//! only. Bodies are read whatever their content type; a browser's page cannot send the methods used without asking first.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::calls::{Call, Cause};
use crate::faults::Fault;
use crate::functions::{is_legal_name, qualified};
use crate::gateway::{Credentials, State};
use crate::platform::Platform;
use crate::record::Start;
use crate::server::{Answer, BODY_LIMIT, empty, json, text};
use crate::stack::{Declared, EXEC};

/// A refusal: 400 and what was wrong.
type Outcome = Result<Answer, String>;

pub(crate) async fn route(state: &Arc<State>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return text(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let path = head.uri.path().trim_start_matches("/_dev/");
    let (kind, name) = path.split_once('/').unwrap_or((path, ""));
    let outcome = match (head.method.as_str(), kind) {
        ("GET", "state") => Ok(show(state)),
        ("GET", "calls") => calls(state, head.uri.query()),
        ("PATCH", "platform") => patch_platform(state, &body),
        ("POST", "stop") => stop(state, &body),
        (method, kind) => match change(state, method, kind, name, &body) {
            Some(changed) => changed.map(|()| empty(StatusCode::NO_CONTENT)),
            None => Ok(text(StatusCode::NOT_FOUND, "404 page not found\n")),
        },
    };
    outcome.unwrap_or_else(|reason| text(StatusCode::BAD_REQUEST, reason))
}

/// The changes that have nothing to say but that they were made; `None` if there is no such change.
fn change(
    state: &State,
    method: &str,
    kind: &str,
    name: &str,
    body: &Bytes,
) -> Option<Result<(), String>> {
    let named = is_legal_name(name);
    Some(match (method, kind) {
        ("PUT", "functions") if named => deploy(state, name, body),
        ("DELETE", "functions") if named => match state.catalog_mut().remove(&qualified(name)) {
            true => Ok(()),
            false => return None,
        },
        ("PUT", "faults") if named => fault(body).map(|fault| state.faults.set(name, fault)),
        ("PUT", "queue-faults") if named => {
            fault(body).map(|fault| state.queue_faults.set(name, fault))
        }
        ("PUT", "credentials") => {
            parse::<GivenCredentials>(body).map(|given| state.set_credentials(Some(given.into())))
        }
        (method, kind) => {
            match (method, kind) {
                ("DELETE", "faults") if named => state.faults.clear(name),
                ("DELETE", "faults") if name.is_empty() => state.heal(),
                ("DELETE", "queue-faults") if named => state.queue_faults.clear(name),
                ("DELETE", "credentials") => state.set_credentials(None),
                _ => return None,
            }
            Ok(())
        }
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenCredentials {
    user: String,
    password: String,
}

impl From<GivenCredentials> for Credentials {
    fn from(given: GivenCredentials) -> Self {
        Self { user: given.user, password: given.password }
    }
}

fn deploy(state: &State, name: &str, body: &Bytes) -> Result<(), String> {
    let declared: Declared = if body.is_empty() { Declared::default() } else { parse(body)? };
    if declared.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(EXEC)) {
        return Err(format!("{EXEC} is taken from a stack file only"));
    }
    let function = declared.into_function(name, Path::new("."))?;
    state.catalog_mut().deploy(function);
    Ok(())
}

fn fault(body: &Bytes) -> Result<Fault, String> {
    let fault: Fault = parse(body)?;
    fault.check()?;
    Ok(fault)
}

/// Sets the members given and leaves the others.
fn patch_platform(state: &State, body: &Bytes) -> Outcome {
    let given: serde_json::Map<String, serde_json::Value> = parse(body)?;
    let mut platform = state.platform_mut();
    let mut whole = serde_json::to_value(&*platform).map_err(|error| error.to_string())?;
    for (name, value) in given {
        whole[name] = value;
    }
    let changed: Platform = serde_json::from_value(whole).map_err(|error| error.to_string())?;
    changed.calls.as_ref().map_or(Ok(()), Fault::check)?;
    let shown = json(StatusCode::OK, &changed);
    *platform = changed;
    Ok(shown)
}

/// Stops the gateway after this answer, and starts it again after the time given.
fn stop(state: &Arc<State>, body: &Bytes) -> Outcome {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Stop {
        for_ms: u64,
    }
    let Stop { for_ms } = parse(body)?;
    let state = Arc::clone(state);
    tokio::spawn(async move {
        // Long enough for this answer to leave; a client that misses it has seen the stop all the same.
        tokio::time::sleep(Duration::from_millis(50)).await;
        state.stop().await;
        tokio::time::sleep(Duration::from_millis(for_ms)).await;
        while let Err(error) = state.restart().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot start again yet");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    Ok(empty(StatusCode::ACCEPTED))
}

fn show(state: &State) -> Answer {
    #[derive(Serialize)]
    struct Shown {
        functions: Vec<String>,
        running: usize,
        begun: u64,
        listings: u64,
        health_checks: u64,
        faults: std::collections::BTreeMap<String, Fault>,
        queue_faults: std::collections::BTreeMap<String, Fault>,
        platform: Platform,
    }
    let (running, begun) = state.ledger.with(|calls| (calls.running(), calls.begun()));
    json(
        StatusCode::OK,
        &Shown {
            functions: state.catalog().iter().map(|function| function.qualified_name()).collect(),
            running,
            begun,
            listings: *state.listings.borrow(),
            health_checks: *state.health_checks.borrow(),
            faults: state.faults.snapshot(),
            queue_faults: state.queue_faults.snapshot(),
            platform: state.platform().clone(),
        },
    )
}

/// The calls remembered, from number `from` on; `status` is absent while they run.
fn calls(state: &State, query: Option<&str>) -> Outcome {
    #[derive(Serialize)]
    struct Shown<'a> {
        #[serde(flatten)]
        start: Start<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        #[serde(skip_serializing_if = "Option::is_none")]
        fault: Option<Cause>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ended_mono_ns: Option<u64>,
    }
    fn shown(call: &Call) -> Shown<'_> {
        Shown {
            start: Start::of(call, call.body.as_deref()),
            status: call.ended.map(|end| end.status),
            fault: call.ended.and_then(|end| end.cause),
            ended_mono_ns: call.ended.map(|end| end.at.monotonic_ns),
        }
    }
    let from = match query.and_then(|query| query.strip_prefix("from=")) {
        Some(from) => from.parse::<u64>().map_err(|error| format!("from is {from:?}: {error}"))?,
        None => 0,
    };
    Ok(state.ledger.with(|calls| {
        json(
            StatusCode::OK,
            &calls.iter().filter(|call| call.number >= from).map(shown).collect::<Vec<_>>(),
        )
    }))
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}
