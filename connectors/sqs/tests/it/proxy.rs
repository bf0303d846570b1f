//! A service that misbehaves: passes requests on to the real one, or answers them itself.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::{broker, http, serve};

/// One request, as the proxy saw it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `DeleteMessageBatch`.
    pub(crate) action: String,
    pub(crate) body: Value,
    /// The access key and the region that signed it.
    pub(crate) credential: String,
}

/// What to do with a request.
pub(crate) enum Act {
    Pass,
    Answer(u16, Value),
    /// Closes the connection without an answer.
    Close,
    /// Passes it on, and closes the connection instead of telling the answer.
    Swallow,
}

type Script = Box<dyn FnMut(&Asked) -> Act + Send>;

pub(crate) struct Proxy {
    pub(crate) url: String,
    shared: Arc<Shared>,
    serving: JoinHandle<Infallible>,
}

struct Shared {
    script: Mutex<Script>,
    asked: Mutex<VecDeque<Asked>>,
    client: reqwest::Client,
}

impl Proxy {
    pub(crate) async fn start(script: impl FnMut(&Asked) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener, script)
    }

    /// One that listens where a connector already looks for it.
    pub(crate) async fn at(
        address: &str,
        script: impl FnMut(&Asked) -> Act + Send + 'static,
    ) -> Self {
        Self::serve(TcpListener::bind(address).await.unwrap(), script)
    }

    fn serve(listener: TcpListener, script: impl FnMut(&Asked) -> Act + Send + 'static) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(script)),
            asked: Mutex::default(),
            client: http(),
        });
        let answering = Arc::clone(&shared);
        let serving =
            tokio::spawn(serve(listener, move |request| answer(request, Arc::clone(&answering))));
        Self { url, shared, serving }
    }

    /// Stops listening.
    pub(crate) async fn stop(mut self) {
        self.serving.abort();
        drop((&mut self.serving).await);
    }

    pub(crate) fn script(&self, script: impl FnMut(&Asked) -> Act + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// The requests of one action so far.
    pub(crate) fn asked(&self, action: &str) -> Vec<Asked> {
        let all = self.shared.asked.lock().unwrap();
        all.iter().filter(|asked| asked.action == action).cloned().collect()
    }
}

/// A service that finds the receipts of the first delete void.
pub(crate) async fn first_delete_is_void() -> Proxy {
    let mut refused = false;
    Proxy::start(move |asked| {
        if asked.action == "DeleteMessageBatch" && !std::mem::replace(&mut refused, true) {
            return refuse_all(asked, "ReceiptHandleIsInvalid", true);
        }
        Act::Pass
    })
    .await
}

/// A service for whom one access key has expired.
pub(crate) fn expired(key: &'static str) -> impl FnMut(&Asked) -> Act + Send + 'static {
    let signed = format!("Credential={key}/");
    move |asked| match asked.credential.contains(&signed) {
        true => {
            error("ExpiredTokenException", "The security token included in the request is expired")
        }
        false => Act::Pass,
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An error as SQS tells it.
pub(crate) fn error(code: &str, message: &str) -> Act {
    Act::Answer(400, json!({ "__type": format!("com.amazonaws.sqs#{code}"), "message": message }))
}

/// An answer to a batch that accepts every entry.
pub(crate) fn accept_all(asked: &Asked) -> Act {
    let entries = asked.body["Entries"].as_array().unwrap();
    let done: Vec<Value> = entries.iter().map(|entry| json!({ "Id": entry["Id"] })).collect();
    Act::Answer(200, json!({ "Successful": done, "Failed": [] }))
}

/// An answer to a batch that refuses every entry.
pub(crate) fn refuse_all(asked: &Asked, code: &str, sender_fault: bool) -> Act {
    let entries = asked.body["Entries"].as_array().unwrap();
    let failed: Vec<Value> = entries
        .iter()
        .map(|entry| json!({ "Id": entry["Id"], "Code": code, "SenderFault": sender_fault, "Message": "refused" }))
        .collect();
    Act::Answer(200, json!({ "Successful": [], "Failed": failed }))
}

#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Closed> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let header = |name: &str| {
        head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let asked = Asked {
        action: header("x-amz-target").rsplit('.').next().unwrap_or_default().to_owned(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        credential: header("authorization"),
    };
    shared.asked.lock().unwrap().push_back(asked.clone());
    let act = (shared.script.lock().unwrap())(&asked);
    let (status, body) = match act {
        Act::Answer(status, body) => (status, Bytes::from(body.to_string())),
        Act::Close => return Err(Closed),
        Act::Pass | Act::Swallow => {
            let mut headers = head.headers.clone();
            headers.remove("host");
            headers.remove("content-length");
            let passed = shared.client.request(head.method, format!("{}{}", broker(), head.uri));
            let answer = passed.headers(headers).body(body).send().await.map_err(|_| Closed)?;
            let (status, body) =
                (answer.status().as_u16(), answer.bytes().await.map_err(|_| Closed)?);
            if matches!(act, Act::Swallow) {
                return Err(Closed);
            }
            (status, body)
        }
    };
    let response =
        Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
    let response: Result<_, Infallible> = Ok(response.body(Full::new(body)).unwrap());
    response.map_err(|never| match never {})
}
