//! What hands out credentials on a container platform and on an instance: served here, with keys
//! that end soon, each good for nobody after its end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::serve;

/// How long a key is good. The SDK asks for the next one ten seconds before its end.
const LIFE: Duration = Duration::from_secs(14);
/// The path of the role on an instance.
const ROLE: &str = "/latest/meta-data/iam/security-credentials/";

pub(crate) struct Metadata {
    pub(crate) url: String,
    keys: Arc<Keys>,
    serving: JoinHandle<Infallible>,
}

/// The keys handed out, with their ends.
#[derive(Default)]
pub(crate) struct Keys(Mutex<HashMap<String, Instant>>);

impl Metadata {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keys = Arc::<Keys>::default();
        let handed = Arc::clone(&keys);
        let serving = tokio::spawn(serve(listener, move |request| {
            let answer = answer(&request, &handed);
            async { Ok::<_, Infallible>(answer) }
        }));
        Self { url, keys, serving }
    }

    pub(crate) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys)
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Keys {
    /// Whether what a request was signed with is good now.
    pub(crate) fn are_good(&self, credential: &str) -> bool {
        let key = credential.split_once("Credential=").and_then(|(_, after)| after.split_once('/'));
        let keys = self.0.lock().unwrap();
        key.and_then(|(key, _)| keys.get(key)).is_some_and(|end| *end > Instant::now())
    }

    /// How many have been handed out.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn next(&self) -> String {
        let mut keys = self.0.lock().unwrap();
        let key = format!("KEY{}", keys.len() + 1);
        keys.insert(key.clone(), Instant::now() + LIFE);
        let end = humantime::format_rfc3339_seconds(SystemTime::now() + LIFE).to_string();
        let credentials = json!({
            "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2020-01-01T00:00:00Z",
            "AccessKeyId": key, "SecretAccessKey": "secret", "Token": "token", "Expiration": end,
        });
        credentials.to_string()
    }
}

fn answer(request: &Request<Incoming>, keys: &Keys) -> Response<Full<Bytes>> {
    let (status, text) = match request.uri().path() {
        "/latest/api/token" => (200, "session".to_owned()),
        ROLE => (200, "role".to_owned()),
        "/container" => (200, keys.next()),
        path if path.strip_prefix(ROLE) == Some("role") => (200, keys.next()),
        _ => (404, String::new()),
    };
    let answer = Response::builder().status(status);
    let answer = answer.header("x-aws-ec2-metadata-token-ttl-seconds", "21600");
    answer.header("content-type", "application/json").body(Full::from(text)).unwrap()
}
