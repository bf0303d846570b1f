//! Sockets and routes: accepts connections, speaks HTTP/1.1 on them, and hands each request to its route.
//!
//! A route may ask for the connection to be reset or closed instead of answering; that is done here, because hyper has
//! no word for it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gateway::State;
use crate::{admin, invoke, listing};

/// The largest request body taken in.
pub(crate) const BODY_LIMIT: usize = 32 * 1024 * 1024;

/// More than a record with a hundred headers of its own needs; hyper's default is 100.
const HEADER_LIMIT: usize = 500;

pub(crate) type Answer = Response<Full<Bytes>>;

/// Instead of an answer.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
pub(crate) enum Break {
    #[error("the connection is reset as scripted")]
    Reset,
    #[error("the connection is closed without an answer")]
    Close,
}

/// What a route needs to know of the connection its request came on.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) number: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) stop: CancellationToken,
}

/// Serves until `stop` is cancelled.
pub(crate) async fn accept(
    state: Arc<State>,
    listener: TcpListener,
    stop: CancellationToken,
    tracker: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection =
                    Connection { number: state.next_connection(), peer, stop: stop.clone() };
                tracker.spawn(serve(Arc::clone(&state), stream, connection));
            }
            Err(error) => {
                // Out of file descriptors, or a peer that gave up in the backlog.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn serve(state: Arc<State>, stream: TcpStream, connection: Connection) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    let reset = Arc::new(AtomicBool::new(false));
    let wire = Wire { stream, reset: Arc::clone(&reset) };
    let stop = connection.stop.clone();
    let service = service_fn(|request| {
        let (state, connection, reset) =
            (Arc::clone(&state), connection.clone(), Arc::clone(&reset));
        async move {
            let answered = route(&state, connection, request).await;
            if answered.as_ref().err() == Some(&Break::Reset) {
                reset.store(true, Ordering::Relaxed);
            }
            answered
        }
    });
    let serving = http1::Builder::new()
        .max_headers(HEADER_LIMIT)
        .serve_connection(TokioIo::new(wire), service);
    tokio::select! {
        () = stop.cancelled() => {}
        // An error is a broken connection, ours or the peer's; the ledger has what there is to know.
        _ = serving => {}
    }
}

async fn route(
    state: &Arc<State>,
    connection: Connection,
    request: Request<Incoming>,
) -> Result<Answer, Break> {
    let path = request.uri().path();
    if let Some(clean) = without_double_slashes(path) {
        return Ok(redirect(StatusCode::MOVED_PERMANENTLY, &clean));
    }
    if let Some(rest) = path.strip_prefix("/function/") {
        let rest = rest.to_owned();
        return invoke::call(state, connection, &rest, request).await;
    }
    if let Some(rest) = path.strip_prefix("/async-function/") {
        let rest = rest.to_owned();
        return invoke::queue(state, connection, &rest, request).await;
    }
    if path.starts_with("/system/") {
        return listing::route(state, &request).await;
    }
    if path.starts_with("/_dev/") {
        return Ok(admin::route(state, request).await);
    }
    match (request.method(), path) {
        (&Method::GET | &Method::HEAD, "/healthz") => listing::health(state).await,
        (_, "/") => Ok(redirect(StatusCode::TEMPORARY_REDIRECT, "/ui/")),
        _ => Ok(text(StatusCode::NOT_FOUND, "404 page not found\n")),
    }
}

/// A plain-text answer.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_type(status, "text/plain; charset=utf-8", body)
}

pub(crate) fn with_type(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = empty(status);
    *answer.body_mut() = Full::new(body.into());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(crate) fn json(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => with_type(status, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// Nanoseconds since the Unix epoch, as `X-Start-Time` has them.
pub(crate) fn unix_nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}

fn redirect(status: StatusCode, location: &str) -> Answer {
    let mut answer = empty(status);
    if let Ok(location) = HeaderValue::from_str(location) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    answer
}

/// The gateway's router redirects to the cleaned path.
fn without_double_slashes(path: &str) -> Option<String> {
    let mut clean = path.to_owned();
    while clean.contains("//") {
        clean = clean.replace("//", "/");
    }
    (clean.len() < path.len()).then_some(clean)
}

/// A stream that can end in a reset instead of an orderly close.
struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed)
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::warn!(%error, "a connection could not be reset and is closed instead");
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            // A FIN now would let the peer take the reset for an orderly close.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
