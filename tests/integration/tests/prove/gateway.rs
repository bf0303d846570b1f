//! The gateway, in a process of its own: its work is not to be the driver's, and what was done to it must not end it.

use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;

use integration::process::{self, Signal};
use integration::program;
use ledger_checker::plan::LEDGER;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A running gateway.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) url: String,
}

impl Gateway {
    /// Starts one that keeps its ledger in the folder.
    pub(crate) async fn start(folder: &Path) -> Self {
        let mut child = Command::new(program("dev-gateway").await)
            .args(["--listen", "127.0.0.1:0", "--quiet", "--upstream-timeout", "0", "--ledger"])
            .arg(folder.join(LEDGER))
            .current_dir(folder)
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

    /// Adds a function that echoes the records of a topic.
    pub(crate) async fn deploy(&self, function: &str, topic: &str) {
        let body = json!({ "annotations": { "topic": topic } });
        self.send(reqwest::Method::PUT, &format!("functions/{function}"), &body).await;
    }

    /// What becomes of the calls of a function.
    pub(crate) async fn fault(&self, function: &str, fault: &Value) {
        self.send(reqwest::Method::PUT, &format!("faults/{function}"), fault).await;
    }

    /// Goes away, and comes back after that time.
    pub(crate) async fn stop(&self, ms: u128) {
        self.send(reqwest::Method::POST, "stop", &json!({ "for_ms": ms })).await;
    }

    /// Ends it.
    pub(crate) async fn end(mut self) {
        process::send(self.child.id().expect("it runs"), Signal::Terminate);
        let status = self.child.wait().await.expect("a child can be waited for");
        assert!(status.success(), "the gateway ends with {status}");
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: &Value) {
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
    }
}
