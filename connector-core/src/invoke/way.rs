//! The way to the gateway: directly or through a proxy, in the clear or over TLS.
//!
//! The environment is obeyed as the upstream connectors do: `http_proxy`, `https_proxy`,
//! `all_proxy` and `no_proxy`. An `http` gateway behind a proxy is asked for by its whole address;
//! an `https` one through a tunnel (`CONNECT`).

use std::fmt;
use std::sync::Arc;

use http::header::{ACCEPT, HOST, MaxSizeReached, PROXY_AUTHORIZATION};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use hyper::rt::{Read, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use rustls::ClientConfig;
use tower_service::Service;

use super::innermost;
use crate::gateway::CONNECT_TIMEOUT;

/// What a connection reads from and writes to.
pub(super) type Stream = Box<dyn Io>;

pub(super) trait Io: Read + Write + Unpin + Send + fmt::Debug {}

impl<T: Read + Write + Unpin + Send + fmt::Debug> Io for T {}

/// How connections are made, and what every request on them says beside its own.
pub struct Way {
    connector: Connector,
    /// What is connected to: the gateway, or the proxy that is asked for it.
    to: Uri,
    whole_addresses: bool,
    /// `Host`, and what else every request has.
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Clone)]
enum Connector {
    Plain(HttpsConnector<HttpConnector>),
    Tunnel(Box<HttpsConnector<Tunnel<HttpsConnector<HttpConnector>>>>),
}

impl Way {
    /// The way to `gateway` as the environment of this process has it. `tls` is used where the
    /// address, or that of a proxy, begins with `https:`.
    #[must_use]
    pub fn new(gateway: &Uri, tls: ClientConfig) -> Self {
        Self::through(&Matcher::from_env(), gateway, tls)
    }

    /// The way to `gateway` through whichever of the `proxies` is for it.
    pub(super) fn through(proxies: &Matcher, gateway: &Uri, tls: ClientConfig) -> Self {
        let mut headers = vec![(HOST, host(gateway)), (ACCEPT, HeaderValue::from_static("*/*"))];
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        // Which of the two it is to be is decided around it.
        http.enforce_http(false);
        let tls = Arc::new(tls);
        let plain = HttpsConnector::from((http, Arc::clone(&tls)));
        let to = gateway.clone();
        let Some(proxy) = proxies.intercept(gateway) else {
            let connector = Connector::Plain(plain);
            return Self { connector, to, whole_addresses: false, headers };
        };
        if gateway.scheme() == Some(&Scheme::HTTPS) {
            let mut tunnel = Tunnel::new(proxy.uri().clone(), plain);
            if let Some(auth) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(auth.clone());
            }
            let connector = Connector::Tunnel(Box::new(HttpsConnector::from((tunnel, tls))));
            return Self { connector, to, whole_addresses: false, headers };
        }
        headers.extend(proxy.basic_auth().map(|auth| (PROXY_AUTHORIZATION, auth.clone())));
        let connector = Connector::Plain(plain);
        Self { connector, to: proxy.uri().clone(), whole_addresses: true, headers }
    }

    /// Whether the request line names the gateway too.
    pub(super) fn takes_whole_addresses(&self) -> bool {
        self.whole_addresses
    }

    /// Adds what every request says.
    ///
    /// # Errors
    /// There is no room: an event may bring as many headers as just fit.
    pub(super) fn sign(&self, headers: &mut HeaderMap) -> Result<(), MaxSizeReached> {
        for (name, value) in &self.headers {
            headers.try_insert(name, value.clone())?;
        }
        Ok(())
    }

    /// Connects; names are looked up each time.
    ///
    /// # Errors
    /// Why there is no connection, in a few words.
    pub(super) async fn connect(&self) -> Result<Stream, String> {
        let connecting = async {
            match self.connector.clone() {
                Connector::Plain(mut plain) => {
                    let stream = plain.call(self.to.clone()).await;
                    stream.map(|stream| Box::new(stream) as Stream)
                }
                Connector::Tunnel(mut tunnel) => {
                    let stream = tunnel.call(self.to.clone()).await;
                    stream.map(|stream| Box::new(stream) as Stream)
                }
            }
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(innermost(&*error)),
            Err(_) => Err(format!("no connection within {CONNECT_TIMEOUT:?}")),
        }
    }
}

/// Without the credentials that the headers may hold.
impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("to", &self.to).finish_non_exhaustive()
    }
}

fn host(gateway: &Uri) -> HeaderValue {
    let host = gateway.host().unwrap_or_default();
    let default = if gateway.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let port = gateway.port_u16().filter(|port| *port != default);
    let text = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    HeaderValue::try_from(text).expect("a host's name can be part of a header's value")
}
