//! One HTTP call of one function, and what its answer means.
//!
//! [`Invoker`] is concrete: its tests use a real HTTP server. What an answer means is decided by
//! [`judge`], a pure function, in the terms of the table in `docs/delivery.md`.
//!
//! This is the one request that is made for every event, so it does without the general client that
//! everything else uses: see `docs/decisions/0007-the-hot-call.md`.

mod connections;
mod way;

use std::error::Error;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::uri::InvalidUri;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use reqwest::Url;

use self::connections::{Connections, Exchange};
pub use self::way::Way;
use crate::lane::Reply;
use crate::retry::{RetryPolicy, parse_retry_after};

/// An answer's body is read to its end up to here, so that the connection can be used again.
const READ_AT_MOST: usize = 1 << 20;

/// Calls functions through the gateway.
#[derive(Debug)]
pub struct Invoker {
    line: Line,
    timeout: Option<Duration>,
}

/// What calls go over.
#[derive(Debug)]
enum Line {
    Http(Connections),
    /// Answers made up in this process, for models of everything around the call.
    #[cfg(any(test, feature = "testing"))]
    MadeUp(crate::testing::Line),
}

/// Where a function is called, ready for the request line.
#[derive(Debug)]
pub struct Target {
    /// Whole, as a proxy wants it, and without the gateway's name. An error: the function's name
    /// is too long for any address.
    uris: Result<(Uri, Uri), InvalidUri>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, cut at 1 MiB.
    pub body: Bytes,
}

/// There was no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// No connection, so the call was never written: repeating it is free.
    Unwritten(String),
    /// The connection ended before an answer. The function may have run.
    Closed(String),
    /// No answer within `upstream_timeout`.
    TimedOut(Duration),
    /// Something that is not HTTP, or a body that broke off.
    Garbled(String),
}

/// What a call came to, as far as this call alone can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// Answered well.
    Well,
    /// To be tried again.
    Retry {
        /// What happened, in a few words.
        why: String,
        /// How long the answer asks to wait.
        after: Option<Duration>,
        /// Whether it may be the platform that is down rather than the function that failed.
        platform: bool,
        /// Whether the call was never written, so that repeating it costs no attempt.
        unwritten: bool,
    },
    /// Set up wrongly: not this event's fault, and every other would fail alike.
    Misconfigured(String),
    /// Refused for good.
    Refused(String),
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unwritten(why) => write!(f, "not reached: {why}"),
            Self::Closed(why) => write!(f, "connection closed before an answer: {why}"),
            Self::TimedOut(after) => write!(f, "no answer within {after:?}"),
            Self::Garbled(why) => write!(f, "unreadable answer: {why}"),
        }
    }
}

impl Target {
    /// The target of calls to this address.
    #[must_use]
    pub fn new(url: &Url) -> Self {
        let whole: Result<Uri, _> = url.as_str().parse();
        let uris = whole.map(|whole| {
            let path = whole.path_and_query().cloned();
            let path = path.map_or_else(Uri::default, Uri::from);
            (whole, path)
        });
        Self { uris }
    }

    #[cfg(any(test, feature = "testing"))]
    fn path(&self) -> &str {
        self.uris.as_ref().map_or("", |(_, path)| path.path())
    }
}

impl Invoker {
    /// A caller with `timeout` for each whole call, answer included; `None` waits for ever. At most
    /// `idle` connections are kept open between calls.
    #[must_use]
    pub fn new(way: Way, idle: usize, timeout: Option<Duration>) -> Self {
        Self { line: Line::Http(Connections::new(way, idle)), timeout }
    }

    /// A caller whose answers are made up.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn made_up(line: crate::testing::Line, timeout: Option<Duration>) -> Self {
        Self { line: Line::MadeUp(line), timeout }
    }

    /// Calls once. Redirects are not followed.
    ///
    /// Not cancel-safe: a dropped call may or may not have reached the function.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn call(
        &self,
        target: &Target,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, NoAnswer> {
        // Stays where it is: it would be moved into the time limit and out of it again.
        let written = AtomicBool::new(false);
        let call = pin!(self.call_for_ever(target, headers, body, &written));
        let Some(most) = self.timeout else { return call.await };
        match tokio::time::timeout(most, call).await {
            Ok(called) => called,
            Err(_) if written.load(Ordering::Relaxed) => Err(NoAnswer::TimedOut(most)),
            Err(_) => Err(NoAnswer::Unwritten(format!("no connection within {most:?}"))),
        }
    }

    async fn call_for_ever(
        &self,
        target: &Target,
        headers: HeaderMap,
        body: Bytes,
        written: &AtomicBool,
    ) -> Result<Answer, NoAnswer> {
        match &self.line {
            Line::Http(connections) => post(connections, target, headers, body, written).await,
            #[cfg(any(test, feature = "testing"))]
            Line::MadeUp(line) => {
                written.store(true, Ordering::Relaxed);
                line.call(target.path(), headers, body).await
            }
        }
    }
}

/// Makes the call over a connection of ours, and reads its answer.
async fn post(
    connections: &Connections,
    target: &Target,
    headers: HeaderMap,
    body: Bytes,
    written: &AtomicBool,
) -> Result<Answer, NoAnswer> {
    let way = connections.way();
    let (whole, path) = match &target.uris {
        Ok(uris) => uris,
        Err(error) => return Err(NoAnswer::Garbled(error.to_string())),
    };
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = if way.takes_whole_addresses() { whole } else { path }.clone();
    *request.headers_mut() = headers;
    way.sign(request.headers_mut()).map_err(|error| NoAnswer::Garbled(error.to_string()))?;
    let mut exchange = connections.send(request, written).await?;
    let status = exchange.response.status();
    let headers = std::mem::take(exchange.response.headers_mut());
    let body = read(&mut exchange).await?;
    exchange.end();
    Ok(Answer { status, headers, body })
}

/// Reads an answer's body, up to [`READ_AT_MOST`].
async fn read(exchange: &mut Exchange<'_>) -> Result<Bytes, NoAnswer> {
    let garbled = |error: hyper::Error| NoAnswer::Garbled(innermost(&error));
    let Some(first) = exchange.chunk().await.map_err(garbled)? else { return Ok(Bytes::new()) };
    // Nearly every answer comes in one piece, which is then not copied.
    let Some(second) = exchange.chunk().await.map_err(garbled)? else { return Ok(first) };
    let mut body = BytesMut::from(&*first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        let room = READ_AT_MOST.saturating_sub(body.len());
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if room <= chunk.len() {
            break;
        }
        next = exchange.chunk().await.map_err(garbled)?;
    }
    Ok(body.freeze())
}

/// What became of a request that was, or may have been, written.
fn unanswered(error: &hyper::Error) -> NoAnswer {
    let why = innermost(error);
    if is_closed(error) { NoAnswer::Closed(why) } else { NoAnswer::Garbled(why) }
}

/// The connection was closed or reset before an answer, as opposed to an answer that is not HTTP.
fn is_closed(error: &hyper::Error) -> bool {
    if error.is_incomplete_message() || error.is_canceled() {
        return true;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return !matches!(io.kind(), std::io::ErrorKind::InvalidData);
        }
        source = cause.source();
    }
    false
}

/// The deepest cause: the outer layers only repeat that a request failed, and name the URL.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Judges one call. `asynchronous`: it went to the gateway's queue.
#[must_use]
pub fn judge(
    call: &Result<Answer, NoAnswer>,
    asynchronous: bool,
    policy: &RetryPolicy,
    now: SystemTime,
) -> Judged {
    let answer = match call {
        Ok(answer) => answer,
        Err(none) => return judge_silence(none),
    };
    let status = answer.status;
    let well = if asynchronous { status == StatusCode::ACCEPTED } else { status.is_success() };
    if well {
        return Judged::Well;
    }
    let not_found = answer.body.starts_with(b"error finding function");
    let internal = answer.headers.contains_key("x-openfaas-internal");
    let why = describe(answer);
    let unauthorised = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        && answer.headers.contains_key(header::WWW_AUTHENTICATE);
    if status.is_redirection() || status == StatusCode::METHOD_NOT_ALLOWED || unauthorised {
        return Judged::Misconfigured(why);
    }
    if asynchronous && status == StatusCode::NOT_FOUND && !not_found {
        let why = format!("the gateway has no route for asynchronous calls ({why})");
        return Judged::Misconfigured(why);
    }
    // A 404 of this form reaches us only for a function that is mapped, so it is on its way.
    let finding =
        not_found && matches!(status, StatusCode::NOT_FOUND | StatusCode::INTERNAL_SERVER_ERROR);
    let empty_502 = status == StatusCode::BAD_GATEWAY && answer.body.is_empty();
    if finding || internal || empty_502 || policy.retries_status(status.as_u16()) {
        let after = answer.headers.get(header::RETRY_AFTER);
        return Judged::Retry {
            why,
            after: after.and_then(|value| parse_retry_after(value.as_bytes(), now)),
            platform: finding || empty_502,
            unwritten: false,
        };
    }
    Judged::Refused(why)
}

fn judge_silence(none: &NoAnswer) -> Judged {
    let (platform, unwritten) = match none {
        NoAnswer::Unwritten(_) => (true, true),
        NoAnswer::Closed(_) => (true, false),
        NoAnswer::TimedOut(_) | NoAnswer::Garbled(_) => (false, false),
    };
    Judged::Retry { why: none.to_string(), after: None, platform, unwritten }
}

/// The status and the beginning of the body, on one line and without control characters: it is
/// shown in logs and on the status page, and stored with dead letters.
fn describe(answer: &Answer) -> String {
    let body = answer.body.get(..200).unwrap_or(&answer.body);
    let text = String::from_utf8_lossy(body);
    let line = text.lines().next().unwrap_or_default().replace(char::is_control, "");
    match line.trim() {
        "" => format!("status {}", answer.status.as_u16()),
        line => format!("status {}: {line}", answer.status.as_u16()),
    }
}

impl Answer {
    /// The answer as a publisher gets it that waits for one.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let content_type = self.headers.get(header::CONTENT_TYPE);
        Reply {
            status: self.status.as_u16(),
            content_type: content_type.map(|v| Bytes::copy_from_slice(v.as_bytes())),
            body: self.body.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
