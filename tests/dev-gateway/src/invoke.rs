//! `/function/...` and `/async-function/...`: from a request to a function's answer, with the ledger kept on the way.
//!
//! The order of things is the point of this file: the start is noted before the function begins, and the end before
//! anything of the answer is sent.

use std::future::pending;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use hyper::body::Incoming;

use crate::arrived::{Arrived, CALL_ID, START_TIME, nanos_value};
use crate::calls::{Cause, Mode};
use crate::faults::{Met, Outcome};
use crate::functions::{Function, Reply};
use crate::gateway::State;
use crate::ledger::Running;
use crate::platform::TimeoutAnswer;
use crate::server::{Answer, Break, Connection, text};

const DURATION: HeaderName = HeaderName::from_static("x-duration-seconds");
const CALLBACK_URL: HeaderName = HeaderName::from_static("x-callback-url");
const FUNCTION_STATUS: HeaderName = HeaderName::from_static("x-function-status");
const FUNCTION_NAME: HeaderName = HeaderName::from_static("x-function-name");

/// The synchronous route; `rest` is the path behind `/function/`.
pub(crate) async fn call(
    state: &Arc<State>,
    connection: Connection,
    rest: &str,
    request: http::Request<Incoming>,
) -> Result<Answer, Break> {
    let taken = [
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::GET,
        Method::OPTIONS,
        Method::HEAD,
    ];
    let arrived = match Arrived::take(connection, rest, request, &taken).await {
        Ok(arrived) => arrived,
        Err(refusal) => return Ok(*refusal),
    };
    let (platform_fault, timeout, timeout_answer) = {
        let platform = state.platform();
        (
            platform.calls.clone(),
            platform.upstream_timeout_ms.map(Duration::from_millis),
            platform.timeout_answer,
        )
    };
    let function = state.catalog().get(&arrived.qualified);
    let met = match (platform_fault, &function) {
        (Some(fault), _) => fault.meet_once(),
        (None, Some(_)) => state.faults.meet(&arrived.qualified),
        (None, None) => Met::nothing(),
    };
    let hangs = met.outcome == Outcome::Hang;
    let running = match begin(state, &arrived, Mode::Sync) {
        Ok(running) => running,
        Err(refusal) => return Ok(*refusal),
    };
    let (seen, late) = (arrived.seen(), running.late());
    let mut answering = Box::pin(perform(Arc::clone(state), running, met, function, arrived));
    let Some(timeout) = timeout else {
        return answering.await.map(|reply| seen.answer(reply));
    };
    match tokio::time::timeout(timeout, &mut answering).await {
        Ok(answered) => answered.map(|reply| seen.answer(reply)),
        Err(_elapsed) => {
            if !hangs {
                late.store(true, Ordering::Relaxed);
                let ended = state.ended.clone();
                tokio::spawn(async move { ended.run_until_cancelled(answering).await });
            }
            match timeout_answer {
                TimeoutAnswer::Empty502 => Ok(seen.answer(Reply::status(502))),
                TimeoutAnswer::Close => Err(Break::Close),
            }
        }
    }
}

/// The asynchronous route; `rest` is the path behind `/async-function/`.
pub(crate) async fn queue(
    state: &Arc<State>,
    connection: Connection,
    rest: &str,
    request: http::Request<Incoming>,
) -> Result<Answer, Break> {
    if state.platform().async_off {
        return Ok(text(StatusCode::NOT_FOUND, "404 page not found\n"));
    }
    let arrived = match Arrived::take(connection, rest, request, &[Method::POST]).await {
        Ok(arrived) => arrived,
        Err(refusal) => return Ok(*refusal),
    };
    let callback = match arrived.headers.get(CALLBACK_URL).map(|url| Uri::try_from(url.as_bytes()))
    {
        Some(Err(error)) => return Ok(text(StatusCode::BAD_REQUEST, error.to_string())),
        Some(Ok(url)) => Some(url),
        None => None,
    };
    let met = state.queue_faults.meet(&arrived.qualified);
    let running = match begin(state, &arrived, Mode::Queued) {
        Ok(running) => running,
        Err(refusal) => return Ok(*refusal),
    };
    let seen = arrived.seen();
    let reply = match face(running, met).await? {
        ControlFlow::Break(reply) => reply,
        ControlFlow::Continue(running) => {
            finish(running, &Reply::status(202), None)?;
            let run = run_queued(Arc::clone(state), arrived, callback);
            let ended = state.ended.clone();
            tokio::spawn(async move { ended.run_until_cancelled(run).await });
            Reply::status(202)
        }
    };
    Ok(seen.answer(reply))
}

/// The queue worker's part: runs the function for a request that has been accepted, and tells the callback.
async fn run_queued(state: Arc<State>, mut arrived: Arrived, callback: Option<Uri>) {
    // As the real one: the gateway stamps the request a second time when the queue worker brings it.
    arrived.headers.append(START_TIME, nanos_value());
    let started = Instant::now();
    let function = state.catalog().get(&arrived.qualified);
    let met =
        function.as_ref().map_or_else(Met::nothing, |_| state.faults.meet(&arrived.qualified));
    let (call_id, name) = (arrived.headers.get(CALL_ID).cloned(), arrived.name.clone());
    let Ok(running) = begin(&state, &arrived, Mode::Async) else {
        return;
    };
    let reply = match perform(Arc::clone(&state), running, met, function, arrived).await {
        Ok(reply) => reply,
        // To the queue worker a transport failure is a 503.
        Err(_) => Reply::status(503),
    };
    let Some(url) = callback else { return };
    let mut headers = reply.headers;
    headers.insert(DURATION, seconds_value(started.elapsed()));
    headers.insert(FUNCTION_STATUS, HeaderValue::from(reply.status.as_u16()));
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(FUNCTION_NAME, name);
    }
    if let Some(call_id) = call_id {
        headers.insert(CALL_ID, call_id);
    }
    if let Err(error) = state.runner.post(url.clone(), headers, reply.body).await {
        tracing::warn!(error = &*error, %url, "a callback could not be delivered");
    }
}

/// One run of a function, its end noted before this returns.
async fn perform(
    state: Arc<State>,
    running: Running,
    met: Met,
    function: Option<Arc<Function>>,
    arrived: Arrived,
) -> Result<Reply, Break> {
    let running = match face(running, met).await? {
        ControlFlow::Break(reply) => return Ok(reply),
        ControlFlow::Continue(running) => running,
    };
    let Some(function) = function else {
        let name = &arrived.qualified;
        let reply = Reply::status(404).body(format!(
            "error finding function {name}: server returned non-200 status code (404) for function, {name}, body: "
        ));
        finish(running, &reply, Some(Cause::Unknown))?;
        return Ok(reply);
    };
    let started = Instant::now();
    let mut reply = state.runner.run(&function, arrived.into_request()).await;
    reply.headers.entry(DURATION).or_insert_with(|| seconds_value(started.elapsed()));
    finish(running, &reply, None)?;
    Ok(reply)
}

/// Goes through a fault: breaks off with what it ends in, or continues to the function.
async fn face(mut running: Running, met: Met) -> Result<ControlFlow<Reply, Running>, Break> {
    if !met.delay.is_zero() {
        tokio::time::sleep(met.delay).await;
    }
    if let Some(gate) = &met.gate {
        gate.pass().await;
    }
    let (broken, cause) = match met.outcome {
        Outcome::Pass => return Ok(ControlFlow::Continue(running)),
        Outcome::Answer(reply) => {
            finish(running, &reply, Some(Cause::Scripted))?;
            return Ok(ControlFlow::Break(reply));
        }
        Outcome::Hang => {
            running.when_dropped(Cause::Hang);
            return pending().await;
        }
        Outcome::Reset => (Break::Reset, Cause::Reset),
        Outcome::Close => (Break::Close, Cause::Close),
    };
    end(running, 0, Some(cause), &[])?;
    Err(broken)
}

fn finish(running: Running, reply: &Reply, cause: Option<Cause>) -> Result<(), Break> {
    end(running, reply.status.as_u16(), cause, &reply.body)
}

/// Notes the end. A caller must not see an answer that the ledger could not take: its connection is closed instead.
fn end(running: Running, status: u16, cause: Option<Cause>, body: &[u8]) -> Result<(), Break> {
    running.end(status, cause, body).map_err(|error| {
        tracing::error!(%error, "the ledger cannot be written; the answer is withheld");
        Break::Close
    })
}

fn begin(state: &State, arrived: &Arrived, mode: Mode) -> Result<Running, Box<Answer>> {
    state.ledger.begin(arrived.as_call(mode), &arrived.body, arrived.stop(mode, state)).map_err(
        |error| {
            tracing::error!(%error, "the ledger cannot be written; the call is refused");
            Box::new(text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the ledger cannot be written: {error}"),
            ))
        },
    )
}

fn seconds_value(duration: Duration) -> HeaderValue {
    HeaderValue::from_str(&format!("{:.6}", duration.as_secs_f64()))
        .expect("digits and a dot are legal in a header")
}
