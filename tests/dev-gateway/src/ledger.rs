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
            calls: Mutex::new(Calls::at_most(retention.calls)),
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
        self.lock().forget_ended();
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
        let at = self.now();
        let end = End { status, cause, at };
        let call = calls.end(number, end);
        let file = self.0.file.as_ref();
        let written = file.map_or(Ok(()), |file| file.end(number, call, end));
        let told = self.0.on_call.as_ref().and_then(|on_call| Some((on_call, call?.clone())));
        drop(calls);
        self.0.changed.send_replace(());
        if let Some((on_call, call)) = told {
            let first_line = reply.split(|byte| *byte == b'\n').next().unwrap_or_default();
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
        let cause = if self.late.load(Ordering::Relaxed) { Some(Cause::TooLate) } else { cause };
        self.ledger.end(self.number, status, cause, reply)
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
        let cause = if self.stopped.is_cancelled() { Cause::Stopped } else { self.when_dropped };
        if let Err(error) = self.ledger.end(self.number, 0, Some(cause), &[]) {
            tracing::error!(%error, "a record of the ledger was lost");
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
