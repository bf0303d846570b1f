//! One HTTP call of one function, and what its answer means.
//!
//! [`Invoker`] is concrete: its tests use a real HTTP server. What an answer means is decided by
//! [`judge`], a pure function, in the terms of the table in `docs/delivery.md`.

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use reqwest::{Client, Url};

use crate::lane::Reply;
use crate::retry::{RetryPolicy, parse_retry_after};

/// An answer's body is read to its end up to here, so that the connection can be used again.
const READ_AT_MOST: usize = 1 << 20;

/// Calls functions through the gateway.
#[derive(Debug, Clone)]
pub struct Invoker {
    client: Client,
    timeout: Option<Duration>,
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

impl Invoker {
    /// A caller with `timeout` for each whole call, answer included; `None` waits for ever.
    #[must_use]
    pub fn new(client: Client, timeout: Option<Duration>) -> Self {
        Self { client, timeout }
    }

    /// Calls once. Redirects are not followed.
    ///
    /// Not cancel-safe: a dropped call may or may not have reached the function.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn call(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, NoAnswer> {
        let mut request = self.client.post(url.clone()).headers(headers).body(body);
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        let timed_out = || NoAnswer::TimedOut(self.timeout.unwrap_or_default());
        let mut response = request.send().await.map_err(|error| match &error {
            e if e.is_connect() => NoAnswer::Unwritten(innermost(e)),
            e if e.is_timeout() => timed_out(),
            e if is_closed(e) => NoAnswer::Closed(innermost(e)),
            e => NoAnswer::Garbled(innermost(e)),
        })?;
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = READ_AT_MOST - body.len();
                    body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                    if room <= chunk.len() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) if error.is_timeout() => return Err(timed_out()),
                Err(error) => return Err(NoAnswer::Garbled(innermost(&error))),
            }
        }
        let headers = std::mem::take(response.headers_mut());
        Ok(Answer { status: response.status(), headers, body: body.freeze() })
    }
}

/// The connection was closed or reset before an answer, as opposed to an answer that is not HTTP.
fn is_closed(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && (hyper.is_incomplete_message() || hyper.is_canceled())
        {
            return true;
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return !matches!(io.kind(), std::io::ErrorKind::InvalidData);
        }
        source = cause.source();
    }
    false
}

/// The deepest cause: the outer layers only repeat that a request failed, and name the URL.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
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

/// The status and the beginning of the body, on one line.
fn describe(answer: &Answer) -> String {
    let body = answer.body.get(..200).unwrap_or(&answer.body);
    let text = String::from_utf8_lossy(body);
    let line = text.lines().next().unwrap_or_default().trim();
    match line {
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
