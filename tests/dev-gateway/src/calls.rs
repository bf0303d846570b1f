//! One call, and the calls remembered: what tests look at.
//!
//! Plain data; the ledger fills it in.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Serialize;

use crate::functions::qualified;
use crate::headers::Headers;

/// One call of one function.
#[derive(Clone, Debug)]
pub struct Call {
    /// Counts the calls of this gateway from 0.
    pub number: u64,
    /// How the call came about.
    pub mode: Mode,
    /// `name.namespace`.
    pub function: String,
    /// `X-Call-Id`, the caller's or the gateway's.
    pub call_id: String,
    /// `X-Topic`.
    pub topic: Option<String>,
    /// `X-Event-Id`.
    pub event_id: Option<String>,
    /// `X-Event-Attempt`.
    pub attempt: Option<u64>,
    /// `X-Kafka-Key` as sent: base64 where the header `X-Kafka-Key-Enc` says so.
    pub key: Option<String>,
    /// `X-Kafka-Partition`.
    pub partition: Option<i64>,
    /// `X-Kafka-Offset`.
    pub offset: Option<i64>,
    /// `User-Agent`.
    pub caller: Option<String>,
    /// The caller's end of the connection.
    pub peer: SocketAddr,
    /// Counts the connections of this gateway from 0, so that callers behind one address can be told apart.
    pub connection: u64,
    /// The method.
    pub method: Method,
    /// The path below the function's own, with its query.
    pub path: String,
    /// Every header as received.
    pub headers: Headers,
    /// The payload, where it is not larger than `Config::remember_bodies`.
    pub body: Option<Bytes>,
    /// The payload's length.
    pub body_length: usize,
    /// The payload's FNV-1a hash of 64 bits.
    pub body_hash: u64,
    /// When the function began.
    pub started: Moment,
    /// How the call ended; `None` while it runs.
    pub ended: Option<End>,
}

/// How a call came about.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// `/function/...`: the caller waits for the function.
    Sync,
    /// The request to `/async-function/...` itself; ends with the 202.
    Queued,
    /// The function's run for a queued request. Same call id.
    Async,
}

/// The end of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct End {
    /// The status of the answer; 0 if there was none.
    pub status: u16,
    /// What kept the function's own answer from the caller, if anything did.
    pub cause: Option<Cause>,
    /// When.
    pub at: Moment,
}

/// Why a call ended otherwise than by its function's answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A scripted status.
    Scripted,
    /// A scripted reset of the connection.
    Reset,
    /// A scripted close of the connection.
    Close,
    /// A scripted hang, ended by the caller.
    Hang,
    /// The caller closed the connection, and the function was cut.
    CallerGone,
    /// The gateway was stopped, and the function was cut.
    Stopped,
    /// The function answered after the gateway's timeout; the caller has seen that instead.
    TooLate,
    /// There is no such function.
    Unknown,
}

/// A point in time on two clocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Nanoseconds since the ledger was opened; never goes back.
    pub monotonic_ns: u64,
    /// Nanoseconds since the Unix epoch, by the clock as it stood when the ledger was opened: later steps do not show.
    pub wall_ns: u64,
}

impl Call {
    /// Whether the function answered 2xx and the answer went to the caller.
    pub fn answered_well(&self) -> bool {
        self.ended.is_some_and(|end| {
            (200..300).contains(&end.status) && end.cause != Some(Cause::TooLate)
        })
    }

    /// The first value of a header, its name given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// Whether the two ran at the same time, if only for an instant.
    pub fn overlaps(&self, other: &Call) -> bool {
        let end = |call: &Call| call.ended.map_or(u64::MAX, |end| end.at.monotonic_ns);
        self.started.monotonic_ns < end(other) && other.started.monotonic_ns < end(self)
    }

    /// The payload as text, for comparisons in tests; empty if it was not kept.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body.as_deref().unwrap_or_default()).into_owned()
    }

    /// How long the function ran, once it has ended.
    pub fn duration(&self) -> Option<Duration> {
        self.ended.map(|end| Duration::from_nanos(end.at.monotonic_ns - self.started.monotonic_ns))
    }
}

/// The calls remembered, in the order in which they began.
#[derive(Debug, Default)]
pub struct Calls {
    calls: VecDeque<Call>,
    /// The number of the first call still remembered.
    first: u64,
    running: usize,
    limit: usize,
}

impl Calls {
    /// All of them.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Call> + Clone {
        self.calls.iter()
    }

    /// Those of one function, given as `name` or `name.namespace`.
    pub fn of(&self, function: &str) -> impl DoubleEndedIterator<Item = &Call> + Clone {
        let function = qualified(function);
        self.calls.iter().filter(move |call| call.function == function)
    }

    /// Those that came with this `X-Topic`.
    pub fn topic<'a>(
        &'a self,
        topic: &'a str,
    ) -> impl DoubleEndedIterator<Item = &'a Call> + Clone {
        self.calls.iter().filter(move |call| call.topic.as_deref() == Some(topic))
    }

    /// Those that were answered well.
    pub fn well(&self) -> impl DoubleEndedIterator<Item = &Call> + Clone {
        self.calls.iter().filter(|call| call.answered_well())
    }

    /// How many calls have begun, those no longer remembered included.
    pub fn begun(&self) -> u64 {
        self.first + self.calls.len() as u64
    }

    /// How many calls have ended.
    pub fn ended(&self) -> u64 {
        self.begun() - self.running as u64
    }

    /// How many calls run now.
    pub fn running(&self) -> usize {
        self.running
    }

    pub(crate) fn at_most(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// The call of this number, if it is remembered.
    pub fn get(&self, number: u64) -> Option<&Call> {
        let index = number.checked_sub(self.first)?;
        self.calls.get(usize::try_from(index).ok()?)
    }

    /// Adds a call that begins; its number has to be [`Calls::begun`].
    pub(crate) fn begin(&mut self, call: Call) {
        self.calls.push_back(call);
        self.running += 1;
        if self.calls.len() > self.limit {
            self.calls.pop_front();
            self.first += 1;
        }
    }

    /// Notes an end, to be noted once for each call; `None` if the call is no longer remembered.
    pub(crate) fn end(&mut self, number: u64, end: End) -> Option<&Call> {
        self.running -= 1;
        let index = number.checked_sub(self.first)?;
        let call = self.calls.get_mut(usize::try_from(index).ok()?)?;
        call.ended = Some(end);
        Some(call)
    }

    /// Forgets the calls that have ended, up to the first that still runs.
    pub(crate) fn forget_ended(&mut self) {
        let ended = self.calls.iter().take_while(|call| call.ended.is_some()).count();
        self.calls.drain(..ended);
        self.first += ended as u64;
    }
}

/// A readable account of the calls: counts for each function, and the last ones in full.
impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} calls begun, {} running", self.begun(), self.running)?;
        let mut counts = BTreeMap::<_, usize>::new();
        for call in &self.calls {
            *counts.entry((&call.function, describe_end(call))).or_default() += 1;
        }
        for ((function, end), count) in counts {
            writeln!(f, "  {count} of {function}: {end}")?;
        }
        const SHOWN: usize = 20;
        for call in self.calls.iter().skip(self.calls.len().saturating_sub(SHOWN)) {
            let unknown = "-".to_owned();
            writeln!(
                f,
                "  #{} {} topic={} event={} attempt={} {} bytes: {}",
                call.number,
                call.function,
                call.topic.as_ref().unwrap_or(&unknown),
                call.event_id.as_ref().unwrap_or(&unknown),
                call.attempt.unwrap_or_default(),
                call.body_length,
                describe_end(call),
            )?;
        }
        Ok(())
    }
}

fn describe_end(call: &Call) -> String {
    let mut text = match call.mode {
        Mode::Sync => String::new(),
        Mode::Queued => "queued ".to_owned(),
        Mode::Async => "async ".to_owned(),
    };
    match call.ended {
        None => text.push_str("running"),
        Some(End { status, cause: None, .. }) => _ = write!(text, "{status}"),
        Some(End { status, cause: Some(cause), .. }) => _ = write!(text, "{status} {cause:?}"),
    }
    text
}
