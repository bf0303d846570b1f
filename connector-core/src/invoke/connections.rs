//! The connections to the gateway, each driven by the call that uses it.
//!
//! HTTP/1.1 carries one call at a time on a connection, so a connection needs no task of its own:
//! whoever waits for the answer also does the reading and writing. That saves two hand-overs
//! between tasks for every call. Between calls a connection rests here and nobody drives it; that
//! the gateway has closed it meanwhile is seen when it is taken out again, before anything is
//! written.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use tokio::time::{Instant, sleep_until};

use super::way::{Stream, Way};
use super::{NoAnswer, innermost, unanswered};
use crate::fail_point::{self, Step};
use crate::gateway::IDLE_TIMEOUT;

type Body = Full<Bytes>;

/// The connections of the process.
#[derive(Debug)]
pub(super) struct Connections {
    way: Way,
    resting: Arc<Resting>,
}

/// The connections that no call uses.
#[derive(Debug)]
struct Resting {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The one that has rested longest is in front.
    connections: VecDeque<Box<Connection>>,
    /// A task runs that closes what has rested too long.
    is_swept: bool,
}

/// In a box from the first to the last: it is large, and every call takes one out and puts it back.
#[derive(Debug)]
struct Connection {
    requests: SendRequest<Body>,
    /// Gone when it has ended: only so is a request told that it waits for it in vain.
    driver: Option<http1::Connection<Stream, Body>>,
    rests_since: Instant,
}

/// A request that has its answer's head. Dropped before its [`end`](Self::end), it closes its
/// connection: what is left of the answer stands in the way of the next.
pub(super) struct Exchange<'a> {
    pub(super) response: Response<Incoming>,
    connection: Box<Connection>,
    resting: &'a Arc<Resting>,
}

impl Connections {
    /// No connections yet. At most `most` are kept while no call uses them.
    pub(super) fn new(way: Way, most: usize) -> Self {
        Self { way, resting: Arc::new(Resting { most, state: Mutex::default() }) }
    }

    /// The way they lead.
    pub(super) fn way(&self) -> &Way {
        &self.way
    }

    /// Sends a request and waits for the head of its answer. `written`: it may have been, so far.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
        written: &AtomicBool,
    ) -> Result<Exchange<'_>, NoAnswer> {
        loop {
            let (mut connection, rested) = match self.resting.take() {
                Some(connection) => (connection, true),
                // In a box: it is large, and rare.
                None => (Box::pin(self.connect()).await?, false),
            };
            written.store(true, Ordering::Relaxed);
            let mut error = match connection.send(request).await {
                Ok(response) => return Ok(self.exchange(connection, response)),
                Err(error) => error,
            };
            match error.take_message() {
                // The gateway closed it just now: nothing was written, and another will do.
                Some(unsent) if rested => request = unsent,
                Some(_) => return Err(NoAnswer::Unwritten(innermost(error.error()))),
                None => return Err(unanswered(error.error())),
            }
            written.store(false, Ordering::Relaxed);
        }
    }

    fn exchange(&self, connection: Box<Connection>, response: Response<Incoming>) -> Exchange<'_> {
        Exchange { response, connection, resting: &self.resting }
    }

    async fn connect(&self) -> Result<Box<Connection>, NoAnswer> {
        let stream = self.way.connect().await.map_err(NoAnswer::Unwritten)?;
        let (requests, driver) = http1::handshake(stream)
            .await
            .map_err(|error| NoAnswer::Unwritten(innermost(&error)))?;
        let rests_since = Instant::now();
        Ok(Box::new(Connection { requests, driver: Some(driver), rests_since }))
    }
}

impl Exchange<'_> {
    /// The next piece of the answer's body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> hyper::Result<Option<Bytes>> {
        let Self { response, connection, .. } = self;
        loop {
            if response.body().is_end_stream() {
                return Ok(None);
            }
            let mut frame = response.body_mut().frame();
            let frame = poll_fn(|cx| {
                // A small answer has come whole, with its head.
                if let ready @ Poll::Ready(_) = Pin::new(&mut frame).poll(cx) {
                    return ready;
                }
                connection.drive(cx);
                Pin::new(&mut frame).poll(cx)
            });
            match frame.await.transpose()? {
                None => return Ok(None),
                // Trailers are nothing to us.
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Lets the next call have the connection, if the answer was read to its end.
    pub(super) fn end(self) {
        self.resting.keep(self.connection);
    }
}

impl Connection {
    async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        let mut answer = pin!(self.requests.try_send_request(request));
        let answer = poll_fn(|cx| {
            self.drive(cx);
            answer.as_mut().poll(cx)
        });
        fail_point::sent(Step::Called, 1, answer).await
    }

    /// Reads and writes what can be read and written now.
    fn drive(&mut self, cx: &mut Context<'_>) {
        // What went wrong is told to the call, if there is one.
        self.driver.take_if(|driver| Pin::new(driver).poll(cx).is_ready());
    }

    /// Whether a request can be sent on it, as far as is known here, without a look at the network.
    fn is_ready(&self) -> bool {
        self.driver.is_some() && self.requests.is_ready()
    }

    /// Looks whether anything has come that nobody waits for, which can only be the end. It may not be
    /// seen yet: a task that has looked at much in one turn sees nothing more in it.
    fn look(&mut self) {
        self.drive(&mut Context::from_waker(Waker::noop()));
    }
}

impl Resting {
    /// The connection that was used last, if there is one that can be used.
    fn take(&self) -> Option<Box<Connection>> {
        loop {
            let mut connection = self.lock().connections.pop_back()?;
            connection.look();
            if connection.rests_since.elapsed() < IDLE_TIMEOUT && connection.is_ready() {
                return Some(connection);
            }
        }
    }

    fn keep(self: &Arc<Self>, mut connection: Box<Connection>) {
        if !connection.is_ready() {
            // It becomes so when the end of the answer has been seen, not just its last byte.
            connection.look();
            if !connection.is_ready() {
                return;
            }
        }
        connection.rests_since = Instant::now();
        let mut state = self.lock();
        if state.connections.len() < self.most {
            state.connections.push_back(connection);
            if !std::mem::replace(&mut state.is_swept, true) {
                tokio::spawn(Arc::clone(self).sweep());
            }
        }
    }

    /// Closes what has rested too long, until nothing rests.
    async fn sweep(self: Arc<Self>) {
        while let Some(due) = self.next_due() {
            sleep_until(due).await;
        }
    }

    /// Closes what has rested too long; tells when to look again.
    fn next_due(&self) -> Option<Instant> {
        let mut state = self.lock();
        let now = Instant::now();
        while let Some(oldest) = state.connections.front() {
            let due = oldest.rests_since + IDLE_TIMEOUT;
            if due > now {
                return Some(due);
            }
            state.connections.pop_front();
        }
        state.is_swept = false;
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A connection is put in or taken out in one step: a panic elsewhere cannot tear the list.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
