//! A stand-in for the API server of Kubernetes, which is at hand in every run.
//!
//! It keeps one Lease in memory and does what the API server does with it: a write upon a version that is no longer the
//! last is refused, as is one without the service account's token. There is no TLS, and there are no roles.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use integration::Launch;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::account::Account;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/openfaas/leases";
pub(super) const TOKEN: &str = "token-of-the-account";

/// The API server's stand-in, with the one Lease that there is.
#[derive(Clone)]
pub(super) struct ApiServer(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    lease: Option<Value>,
    version: u64,
}

impl ApiServer {
    /// Starts it, and gives its address: `host:port`.
    pub(super) async fn start() -> String {
        let server = Self(Arc::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it listens").to_string();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a client connects");
                let serving = server.clone();
                let service = hyper::service::service_fn(move |request| {
                    let serving = serving.clone();
                    async move { serving.answer(request).await }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        address
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
        let authorised =
            head.headers.get("authorization").is_some_and(|it| *it == *format!("Bearer {TOKEN}"));
        let (status, answer) = match authorised {
            true => {
                let body = serde_json::from_slice(&body).ok();
                self.serve(&head.method, head.uri.path(), body)
            }
            false => status(StatusCode::UNAUTHORIZED, "Unauthorized"),
        };
        let mut response = Response::new(answer.to_string().into());
        *response.status_mut() = status;
        Ok(response)
    }

    fn serve(&self, method: &Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let kept = &mut *self.0.lock().expect("nobody panics while holding it");
        match (method, path.strip_prefix(LEASES), body) {
            (&Method::GET, Some("/cron"), _) => match &kept.lease {
                Some(lease) => (StatusCode::OK, lease.clone()),
                None => status(StatusCode::NOT_FOUND, "leases \"cron\" not found"),
            },
            (&Method::POST, Some(""), Some(lease)) => match kept.lease {
                None => (StatusCode::CREATED, kept.write(lease)),
                Some(_) => status(StatusCode::CONFLICT, "leases \"cron\" already exists"),
            },
            (&Method::PUT, Some("/cron"), Some(lease)) => match &kept.lease {
                Some(now)
                    if now["metadata"]["resourceVersion"]
                        == lease["metadata"]["resourceVersion"] =>
                {
                    (StatusCode::OK, kept.write(lease))
                }
                Some(_) => status(StatusCode::CONFLICT, "the object has been modified"),
                None => status(StatusCode::NOT_FOUND, "leases \"cron\" not found"),
            },
            _ => status(StatusCode::NOT_FOUND, "no such resource"),
        }
    }
}

impl Kept {
    fn write(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.lease = Some(lease.clone());
        lease
    }
}

fn status(code: StatusCode, message: &str) -> (StatusCode, Value) {
    (
        code,
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code.as_u16() }),
    )
}

/// Replicas that share the Lease of the API server at this address.
pub(super) fn launch(api: &str, account: &Account) -> Launch {
    Launch::new("cron")
        .set("lease", "cron")
        .set("lease_duration", "2s")
        .set("kubernetes_api", format!("http://{api}"))
        .set("kubernetes_account", account.folder())
}
