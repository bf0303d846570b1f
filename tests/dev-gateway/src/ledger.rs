//! The ledger: every call with its beginning and its end, in memory for tests of this process and in a file for others.
//!
//! The end of a call is noted, and its record handed to the operating system, *before* the answer goes to the caller.
//! So whatever a caller has seen answered stands in the ledger, even if the gateway is killed right after. One record
//! is one `write(2)` to a file opened for appending: it costs a microsecond or two, which is why there is no writer
//! task to wait for. The file's lines are defined in `record`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{io, mem};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::calls::{Call, Calls, Cause, End, Moment};
use crate::gateway::OnCall;
use crate::record::LedgerFile;

/// How long the waiting methods of this crate wait before they panic.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The least time between two looks at the calls while waiting: a look may go through all of them.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

<<<<<<< HEAD
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
    pub headers: HeaderMap,
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
    /// Nanoseconds since the Unix epoch.
    pub wall_ns: u64,
}

impl Call {
    /// Whether the function answered 2xx and the answer went to the caller.
    pub fn answered_well(&self) -> bool {
        self.ended.is_some_and(|end| {
            (200..300).contains(&end.status) && end.cause != Some(Cause::TooLate)
        })
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
        let function = crate::functions::qualified(function);
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

    fn get_mut(&mut self, number: u64) -> Option<&mut Call> {
        let index = number.checked_sub(self.first)?;
        self.calls.get_mut(usize::try_from(index).ok()?)
    }

    fn push(&mut self, call: Call) {
        self.calls.push_back(call);
        self.running += 1;
        if self.calls.len() > self.limit {
            self.calls.pop_front();
            self.first += 1;
        }
    }
}

/// A readable account of the calls: counts for each function, and the last ones in full.
impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} calls begun, {} running", self.begun(), self.running)?;
        let mut counts = std::collections::BTreeMap::<_, usize>::new();
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

=======
>>>>>>> gw
/// The ledger of one gateway. Clones are the same ledger; it outlives the gateway's stops and restarts.
#[derive(Clone)]
pub struct Ledger(Arc<Shared>);

struct Shared {
    calls: Mutex<Calls>,
    changed: watch::Sender<()>,
    file: Option<LedgerFile>,
    opened: Instant,
    opened_wall: Duration,
    remember_bodies: usize,
    on_call: Option<OnCall>,
}

/// What the ledger is to keep.
#[derive(Clone, Debug)]
pub(crate) struct Retention {
    pub(crate) file: Option<PathBuf>,
    pub(crate) calls: usize,
    pub(crate) bodies: usize,
    pub(crate) file_bodies: usize,
}

impl Ledger {
    pub(crate) fn open(retention: &Retention, on_call: Option<OnCall>) -> io::Result<Self> {
        let opened = Instant::now();
        let opened_wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let file = match &retention.file {
            Some(path) => Some(LedgerFile::open(path, retention.file_bodies, opened_wall)?),
            None => None,
        };
        Ok(Self(Arc::new(Shared {
<<<<<<< HEAD
            calls: Mutex::new(Calls { limit: retention.calls, ..Calls::default() }),
=======
            calls: Mutex::new(Calls::at_most(retention.calls)),
>>>>>>> gw
            changed: watch::Sender::new(()),
            file,
            opened,
            opened_wall,
            remember_bodies: retention.bodies,
            on_call,
        })))
    }

    /// A copy of the calls remembered.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().iter().cloned().collect()
    }

    /// Looks at the calls without copying them. The ledger is locked meanwhile: do not use it within `look`.
    pub fn with<T>(&self, look: impl FnOnce(&Calls) -> T) -> T {
        look(&self.lock())
    }

    /// How many calls run now.
    pub fn running(&self) -> usize {
        self.lock().running()
    }

    /// Forgets the calls that have ended, up to the first that still runs. The file is left as it is.
    pub fn forget(&self) {
<<<<<<< HEAD
        let mut calls = self.lock();
        let ended = calls.calls.iter().take_while(|call| call.ended.is_some()).count();
        calls.calls.drain(..ended);
        calls.first += ended as u64;
=======
        self.lock().forget_ended();
>>>>>>> gw
    }

    /// Returns as soon as `reached` holds of the calls. Cancel safe.
    ///
    /// # Panics
    ///
    /// After [`PATIENCE`], naming `what` was waited for and showing the calls there were.
    pub async fn wait_for(&self, what: &str, reached: impl FnMut(&Calls) -> bool) {
        self.wait_for_within(PATIENCE, what, reached).await;
    }

    /// [`Ledger::wait_for`] with a patience of its own.
    pub async fn wait_for_within(
        &self,
        patience: Duration,
        what: &str,
        mut reached: impl FnMut(&Calls) -> bool,
    ) {
        let mut changed = self.0.changed.subscribe();
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            changed.mark_unchanged();
            if self.with(&mut reached) {
                return;
            }
            if tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
                panic!("waited {patience:?} for {what}; there are {}", self.with(Calls::to_string));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    pub(crate) fn now(&self) -> Moment {
        let elapsed = self.0.opened.elapsed();
        Moment { monotonic_ns: nanos(elapsed), wall_ns: nanos(self.0.opened_wall + elapsed) }
    }

    /// Notes that a function begins. The call runs until [`Running::end`], or until its `Running` is dropped.
    pub(crate) fn begin(
        &self,
        mut call: Call,
        body: &[u8],
        stopped: CancellationToken,
    ) -> io::Result<Running> {
        if body.len() <= self.0.remember_bodies {
            // Copied: the payload as it came keeps the connection's read buffer alive.
            call.body = Some(Bytes::copy_from_slice(body));
        }
        let mut calls = self.lock();
        call.number = calls.begun();
        call.started = self.now();
        if let Some(file) = &self.0.file {
            file.start(&call, body)?;
        }
        let number = call.number;
        calls.begin(call);
        drop(calls);
        self.0.changed.send_replace(());
        Ok(Running {
            ledger: self.clone(),
            number,
            when_dropped: Cause::CallerGone,
            stopped,
            late: Arc::default(),
            ended: false,
        })
    }

    fn end(&self, number: u64, status: u16, cause: Option<Cause>, reply: &[u8]) -> io::Result<()> {
        let mut calls = self.lock();
<<<<<<< HEAD
        let end = End { status, cause, at: self.now() };
        calls.running -= 1;
        let call = calls.get_mut(number).map(|call| {
            call.ended = Some(end);
            &*call
        });
        let written = self.0.file.as_ref().map_or(Ok(()), |file| file.end(number, call, end));
=======
        let at = self.now();
        let end = End { status, cause, at };
        let call = calls.end(number, end);
        let file = self.0.file.as_ref();
        let written = file.map_or(Ok(()), |file| file.end(number, call, end));
        let told = self
            .0
            .on_call
            .as_ref()
            .and_then(|on_call| Some((on_call, call?.clone())));
>>>>>>> gw
        drop(calls);
        self.0.changed.send_replace(());
        if let Some((on_call, call)) = told {
            let first_line = reply
                .split(|byte| *byte == b'\n')
                .next()
                .unwrap_or_default();
            on_call(&call, String::from_utf8_lossy(first_line).trim_end());
        }
        written
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that has begun and has not ended.
pub(crate) struct Running {
    ledger: Ledger,
    number: u64,
    when_dropped: Cause,
    stopped: CancellationToken,
    late: Arc<AtomicBool>,
    ended: bool,
}

impl Running {
    /// Notes the end; once this has returned the answer may go out.
    pub(crate) fn end(mut self, status: u16, cause: Option<Cause>, reply: &[u8]) -> io::Result<()> {
        self.ended = true;
<<<<<<< HEAD
        let cause = if self.late.load(Ordering::Relaxed) { Some(Cause::TooLate) } else { cause };
        self.ledger.end(self.number, status, cause)
=======
        let cause = if self.late.load(Ordering::Relaxed) {
            Some(Cause::TooLate)
        } else {
            cause
        };
        self.ledger.end(self.number, status, cause, reply)
>>>>>>> gw
    }

    /// To be set once the caller has been answered by a timeout: any end is [`Cause::TooLate`] from then on.
    pub(crate) fn late(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.late)
    }

    /// What the ledger says if the call is dropped from now on.
    pub(crate) fn when_dropped(&mut self, cause: Cause) {
        self.when_dropped = cause;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if mem::replace(&mut self.ended, true) {
            return;
        }
<<<<<<< HEAD
        let cause = if self.stopped.is_cancelled() { Cause::Stopped } else { self.when_dropped };
        if let Err(error) = self.ledger.end(self.number, 0, Some(cause)) {
=======
        let cause = if self.stopped.is_cancelled() {
            Cause::Stopped
        } else {
            self.when_dropped
        };
        if let Err(error) = self.ledger.end(self.number, 0, Some(cause), &[]) {
>>>>>>> gw
            tracing::error!(%error, "a record of the ledger was lost");
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
