//! The gateway in a process of its own, for tests that measure, or that need its ledger for another process.
//!
//! Others start `dev_gateway::DevGateway` in theirs.

use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::connector::program;
use crate::process::{self, Signal};

/// A running gateway.
pub struct Gateway {
    child: Child,
    url: String,
}

impl Gateway {
    /// Starts one without functions, which appends to this ledger, if any.
    ///
    /// # Panics
    /// When it cannot be built or started.
    pub async fn start(ledger: Option<&Path>) -> Self {
        let mut command = Command::new(program("dev-gateway").await);
        command.args(["--listen", "127.0.0.1:0", "--quiet", "--upstream-timeout", "0"]);
        if let Some(ledger) = ledger {
            command.arg("--ledger").arg(ledger);
        }
        let mut child = command
            // Where no stack file lies about.
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the gateway can be started");
        let stdout = child.stdout.take().expect("it was asked for");
        let line = BufReader::new(stdout).lines().next_line().await.expect("the gateway speaks");
        let line = line.expect("the gateway says where it listens");
        let url = line.strip_prefix("listening on ").expect("and nothing else").to_owned();
        Self { child, url }
    }

    /// `http://host:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Adds a function that echoes the events of a topic.
    pub async fn deploy(&self, function: &str, topic: &str) {
        self.annotate(function, &json!({ "topic": topic })).await;
    }

    /// Adds a function that is called on a schedule.
    pub async fn schedule(&self, function: &str, schedule: &str) {
        let annotations = json!({ "topic": "cron-function", "schedule": schedule });
        self.annotate(function, &annotations).await;
    }

    async fn annotate(&self, function: &str, annotations: &Value) {
        let body = json!({ "annotations": annotations });
        self.ask(Method::PUT, &format!("functions/{function}"), &body).await;
    }

    /// What becomes of the calls of a function, from now on.
    pub async fn fault(&self, function: &str, fault: &Value) {
        self.ask(Method::PUT, &format!("faults/{function}"), fault).await;
    }

    /// Sets members of the platform's state, from now on.
    pub async fn platform(&self, state: &Value) {
        self.ask(Method::PATCH, "platform", state).await;
    }

    /// Goes away, and comes back after that many milliseconds.
    pub async fn stop(&self, ms: u128) {
        self.ask(Method::POST, "stop", &json!({ "for_ms": ms })).await;
    }

    /// How many calls have begun.
    pub async fn begun(&self) -> u64 {
        let state = self.ask(Method::GET, "state", &Value::Null).await;
        let state: Value = serde_json::from_str(&state).expect("the state is JSON");
        state["begun"].as_u64().expect("a count")
    }

    /// The calls that it remembers, from this number on: those records of a ledger that tell of a beginning.
    ///
    /// # Panics
    /// When it does not answer with JSON.
    pub async fn calls(&self, from: u64) -> Vec<Value> {
        let calls = self.ask(Method::GET, &format!("calls?from={from}"), &Value::Null).await;
        serde_json::from_str(&calls).expect("calls are JSON")
    }

    /// Ends it.
    ///
    /// # Panics
    /// When it does not end well.
    pub async fn end(mut self) {
        process::send(self.child.id().expect("it runs"), Signal::Terminate);
        let status = self.child.wait().await.expect("a child can be waited for");
        assert!(status.success(), "the gateway ends with {status}");
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> String {
        static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
        let client = CLIENT.get_or_init(|| {
            drop(rustls::crypto::ring::default_provider().install_default());
            let client = reqwest::Client::builder().pool_max_idle_per_host(0);
            client.build().expect("the client's settings are right")
        });
        let url = format!("{}/_dev/{path}", self.url);
        let answer = client.request(method, url).body(body.to_string()).send().await;
        let answer = answer.expect("the gateway answers");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.text().await.expect("the answer is text")
    }
}
