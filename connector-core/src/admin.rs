//! The admin server: whether the process is alive and ready, its metrics and its status.
//!
//! It answers from memory and asks nobody, least of all broker or gateway: a probe must not fail,
//! nor take long, because something else is down. Small hosts have ports that are taken, so the
//! process goes on without it.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::conditions::Subject;

/// How many connections are open at a time; further ones wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 32;

/// How long a client may take to send the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection lives. One request each, so a client that stalls keeps no place.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after a failed `accept`: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// What the status page may do: run what it brings along and ask this server. Names that
/// publishers and annotations choose are shown on it.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// What the pages are made from. Whatever is asked answers from memory and must not block, but for
/// the fleet, which asks other processes.
pub trait Pages: Send + Sync + 'static {
    /// Behind `/readyz`.
    ///
    /// # Errors
    /// What keeps the process from being ready, and why.
    fn ready(&self) -> Result<(), Vec<(Subject, String)>>;

    /// Behind `/metrics`: the text in the OpenMetrics format.
    fn metrics(&self) -> String;

    /// Behind `/status`: a JSON document.
    ///
    /// # Errors
    /// It cannot be written as JSON, which is a mistake of ours.
    fn status(&self) -> serde_json::Result<String>;

    /// Behind `/fleet`: a JSON list of the other connectors' documents.
    ///
    /// # Errors
    /// As for [`status`](Self::status).
    fn fleet(&self) -> impl Future<Output = serde_json::Result<String>> + Send;
}

/// The admin server, bound to its port.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Binds `port` on all addresses, IPv6 and IPv4 where the host has both. 0: any free port.
    ///
    /// `None`: it cannot be bound, which is logged; the process does without.
    pub async fn bind(port: u16) -> Option<Self> {
        let bound = match listen(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).await {
            Ok(bound) => Ok(bound),
            // A host without IPv6. A port that is taken is refused once more.
            Err(_) => listen(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).await,
        };
        match bound {
            Ok(admin) => Some(admin),
            Err(error) => {
                tracing::warn!(port, %error, "no admin server: cannot bind its port");
                None
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests. Never ends; dropping it closes the port and leaves what is being answered
    /// to end by itself.
    pub async fn serve<P: Pages>(self, pages: Arc<P>) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "admin server cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let pages = Arc::clone(&pages);
            tokio::spawn(async move {
                let _place = place;
                answer(stream, pages).await;
            });
        }
    }
}

async fn listen(address: IpAddr, port: u16) -> std::io::Result<Admin> {
    let listener = TcpListener::bind((address, port)).await?;
    let address = listener.local_addr()?;
    Ok(Admin { listener, address })
}

/// Answers the one request of a connection.
async fn answer<P: Pages>(stream: TcpStream, pages: Arc<P>) {
    let service = service_fn(move |request| {
        let pages = Arc::clone(&pages);
        async move { Ok::<_, Infallible>(respond(&*pages, &request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "admin connection ended early"),
        Err(_) => tracing::debug!("admin connection took too long"),
    }
}

async fn respond<B>(pages: &impl Pages, request: &Request<B>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = page(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET or HEAD only\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/" => status_page(),
        "/healthz" => page(StatusCode::OK, PLAIN, "ok\n"),
        "/readyz" => match pages.ready() {
            Ok(()) => page(StatusCode::OK, PLAIN, "ready\n"),
            Err(reasons) => {
                let lines: String = reasons
                    .iter()
                    .map(|(subject, why)| {
                        format!("{subject}: {}\n", why.replace(['\r', '\n'], " "))
                    })
                    .collect();
                page(StatusCode::SERVICE_UNAVAILABLE, PLAIN, lines)
            }
        },
        "/metrics" => page(StatusCode::OK, OPEN_METRICS, pages.metrics()),
        "/status" => json(pages.status()),
        "/fleet" => json(pages.fleet().await),
        _ => page(StatusCode::NOT_FOUND, PLAIN, "no such page\n"),
    }
}

/// The status page: one file, which asks for everything else at this same address.
fn status_page() -> Response<Full<Bytes>> {
    let mut response = page(StatusCode::OK, HTML, include_str!("admin/page.html"));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

fn json(document: serde_json::Result<String>) -> Response<Full<Bytes>> {
    match document {
        Ok(document) => page(StatusCode::OK, JSON, document),
        Err(error) => page(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{error}\n")),
    }
}

fn page(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
