//! A scripted gateway: a real HTTP server whose answers a test decides.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// One call as the gateway saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) function: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Since the test began.
    pub(super) at: Duration,
    /// How many calls of this function came before.
    pub(super) nth: usize,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

/// What the gateway does with a call.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Answer(u16, Vec<(&'static str, &'static str)>, &'static str),
    After(Duration, Box<Act>),
    /// Closes the connection without an answer.
    Close,
    Hang,
}

pub(super) fn status(status: u16) -> Act {
    Act::Answer(status, Vec::new(), "answer")
}

pub(super) fn slow(took: Duration) -> Act {
    Act::After(took, Box::new(status(200)))
}

type Script = Box<dyn Fn(&Seen) -> Act + Send + Sync>;

/// The gateway of one test.
pub(super) struct Gateway {
    script: Script,
    began: Instant,
    seen: Mutex<Vec<Seen>>,
    /// For each function: running now, and the most at a time.
    running: Mutex<HashMap<String, (usize, usize)>>,
    pub(super) healthy: AtomicBool,
    pub(super) asked_health: AtomicUsize,
}

impl Gateway {
    pub(super) fn new(script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            script: Box::new(script),
            began: Instant::now(),
            seen: Mutex::default(),
            running: Mutex::default(),
            healthy: AtomicBool::new(true),
            asked_health: AtomicUsize::new(0),
        })
    }

    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let gateway = Arc::clone(&self);
            tokio::spawn(async move {
                let answer = service_fn(|request| gateway.answer(request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer);
                // A connection that a test closes ends in an error here: that is the test.
                drop(connection.await);
            });
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, &'static str> {
        let path = request.uri().path().to_owned();
        if path == "/healthz" {
            self.asked_health.fetch_add(1, Ordering::Relaxed);
            let status = if self.healthy.load(Ordering::Relaxed) { 200 } else { 502 };
            return Ok(respond(status, &[], ""));
        }
        let function = path.rsplit('/').next().unwrap_or_default().to_owned();
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| "body")?.to_bytes();
        let seen = {
            let mut all = self.seen.lock().expect("no panic");
            let nth = all.iter().filter(|seen| seen.function == function).count();
            let (headers, at) = (parts.headers, self.began.elapsed());
            let seen = Seen { path, function: function.clone(), headers, body, at, nth };
            all.push(seen.clone());
            seen
        };
        let _running = RunningOne::new(self, function);
        let mut act = (self.script)(&seen);
        loop {
            act = match act {
                Act::Answer(status, headers, body) => return Ok(respond(status, &headers, body)),
                Act::After(wait, then) => {
                    tokio::time::sleep(wait).await;
                    *then
                }
                Act::Close => return Err("closed by the test"),
                Act::Hang => std::future::pending().await,
            };
        }
    }

    pub(super) fn calls_of(&self, function: &str) -> Vec<Seen> {
        let seen = self.seen.lock().expect("no panic");
        seen.iter().filter(|seen| seen.function == function).cloned().collect()
    }

    pub(super) fn running(&self, function: &str) -> usize {
        self.running.lock().expect("no panic").get(function).map_or(0, |running| running.0)
    }

    /// The most calls of `function` that ran at a time.
    pub(super) fn most(&self, function: &str) -> usize {
        self.running.lock().expect("no panic").get(function).map_or(0, |running| running.1)
    }
}

struct RunningOne<'a>(&'a Gateway, String);

impl<'a> RunningOne<'a> {
    fn new(gateway: &'a Gateway, function: String) -> Self {
        let mut running = gateway.running.lock().expect("no panic");
        let (now, most) = running.entry(function.clone()).or_default();
        *now += 1;
        *most = (*most).max(*now);
        drop(running);
        Self(gateway, function)
    }
}

impl Drop for RunningOne<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.0.running.lock().expect("no panic").get_mut(&self.1) {
            running.0 -= 1;
        }
    }
}

fn respond(
    status: u16,
    headers: &[(&'static str, &'static str)],
    body: &'static str,
) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::new(Bytes::from_static(body.as_bytes()))).expect("a legal response")
}
