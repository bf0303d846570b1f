//! Connectors as processes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dev_gateway::{DevGateway, HeldPort};
use tokio::process::Child;

use super::{PATIENCE, broker, http, repository, unique};
use crate::proxy::Proxy;

/// How a connector is started.
#[derive(Clone)]
pub(crate) struct Setup {
    env: HashMap<String, String>,
    arguments: Vec<String>,
    /// A program that becomes the connector, whose path is its last argument.
    starter: Vec<String>,
}

impl Setup {
    /// One that calls the functions of `gateway` with messages from the shared broker.
    pub(crate) fn new(gateway: &DevGateway) -> Self {
        let mut setup = Self { env: HashMap::new(), arguments: Vec::new(), starter: Vec::new() };
        for (name, value) in [
            ("gateway_url", &*gateway.url()),
            ("endpoint_url", broker()),
            ("rebuild_interval", "200ms"),
            ("unmap_after", "1s"),
            ("initial_retry_wait", "100ms"),
            ("max_retry_wait", "1s"),
            ("wait_time", "2s"),
            ("log_encoding", "console"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ] {
            setup.env.insert(name.to_owned(), value.to_owned());
        }
        setup
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Through a proxy instead of straight to the broker.
    pub(crate) fn through(self, proxy: &Proxy) -> Self {
        self.with("endpoint_url", &proxy.url)
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.arguments.push(flag.to_owned());
        self
    }

    /// With credentials from a profile file instead of the environment.
    pub(crate) fn profile(self, file: &Path) -> Self {
        let setup = self.without("AWS_ACCESS_KEY_ID").without("AWS_SECRET_ACCESS_KEY");
        setup.with("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap())
    }

    /// With a hosts file of its own, which the test may write anew.
    pub(crate) fn hosts(mut self, file: &Path) -> Self {
        let mount = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
        let starter = ["unshare", "-rm", "sh", "-c", mount, file.to_str().unwrap()];
        self.starter = starter.map(str::to_owned).to_vec();
        // Found by the shell.
        self.with("PATH", &std::env::var("PATH").unwrap_or_default())
    }

    /// Starts it. It may not be ready yet.
    pub(crate) async fn start(&self) -> Connector {
        let admin = HeldPort::free();
        let log = repository().join("var/sqs-tests");
        std::fs::create_dir_all(&log).unwrap();
        let log = log.join(format!("{}.log", unique("connector")));
        let file = std::fs::File::create(&log).unwrap();
        let mut words = self.starter.clone();
        words.push(env!("CARGO_BIN_EXE_sqs-connector").to_owned());
        words.extend(self.arguments.iter().cloned());
        let child = tokio::process::Command::new(&words[0])
            .args(&words[1..])
            .env_clear()
            .envs(&self.env)
            .env("admin_port", admin.port().to_string())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Connector { child, http: http(), admin, log }
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn ready(&self) -> Connector {
        let connector = self.start().await;
        connector.wait_until_ready().await;
        connector
    }
}

/// A connector's process.
pub(crate) struct Connector {
    child: Child,
    http: reqwest::Client,
    admin: HeldPort,
    log: PathBuf,
}

impl Connector {
    async fn page(&self, path: &str) -> Option<(u16, String)> {
        let url = format!("http://{}{path}", self.admin.address());
        let answer = self.http.get(url).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    pub(crate) async fn wait_until_ready(&self) {
        self.wait_for("it to be ready", async || {
            self.page("/readyz").await.is_some_and(|(status, _)| status == 200)
        })
        .await;
    }

    /// Waits until the process is not ready for a reason that contains `why`.
    pub(crate) async fn wait_until_unready(&self, why: &str) {
        self.wait_for(&format!("it not to be ready for: {why}"), async || {
            let page = self.page("/readyz").await;
            page.is_some_and(|(status, text)| status != 200 && text.contains(why))
        })
        .await;
    }

    /// Waits until a line of the log contains `text`.
    pub(crate) async fn wait_for_log(&self, text: &str) {
        self.wait_for_log_within(PATIENCE, text).await;
    }

    pub(crate) async fn wait_for_log_within(&self, patience: Duration, text: &str) {
        let what = format!("a line of the log with: {text}");
        self.wait_for_within(patience, &what, async || self.log().contains(text)).await;
    }

    pub(crate) async fn wait_for(&self, what: &str, reached: impl AsyncFnMut() -> bool) {
        self.wait_for_within(PATIENCE, what, reached).await;
    }

    async fn wait_for_within(
        &self,
        patience: Duration,
        what: &str,
        mut reached: impl AsyncFnMut() -> bool,
    ) {
        let wait = async {
            while !reached().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(patience, wait).await.is_err() {
            let ready = self.page("/readyz").await;
            panic!("waited for {what}; readyz: {ready:?}; its log:\n{}", self.log());
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A number of `/metrics`; 0 where there is none yet.
    pub(crate) async fn metric(&self, line: &str) -> u64 {
        let (_, page) = self.page("/metrics").await.expect("it serves its metrics");
        metric(&page, line)
    }

    /// How many deliveries came to `outcome`.
    pub(crate) async fn came(&self, outcome: &str) -> u64 {
        self.metric(&format!("tributary_events_total{{outcome=\"{outcome}\"}}")).await
    }

    /// Checks that each delivery was counted once (invariant 14).
    pub(crate) async fn check_counts(&self) {
        let (_, page) = self.page("/metrics").await.expect("it serves its metrics");
        let outcomes =
            ["delivered", "dead_lettered", "dropped", "unmatched", "repeated", "released"];
        let came: u64 = outcomes
            .iter()
            .map(|it| metric(&page, &format!("tributary_events_total{{outcome=\"{it}\"}}")))
            .sum();
        let in_flight = metric(&page, "tributary_events_in_flight");
        assert_eq!(metric(&page, "tributary_events_received_total"), came + in_flight, "{page}");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Asks it to stop, without waiting.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Waits for its end; returns the exit code.
    pub(crate) async fn ended(mut self) -> i32 {
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.unwrap().code().unwrap_or(-1),
            Err(_) => panic!("it does not end; its log:\n{}", self.log()),
        }
    }

    /// Checks its counts and stops it in good order.
    pub(crate) async fn stop(self) {
        self.check_counts().await;
        self.terminate();
        let log = self.log.clone();
        let code = self.ended().await;
        assert_eq!(code, 0, "{}", std::fs::read_to_string(log).unwrap_or_default());
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

fn metric(page: &str, line: &str) -> u64 {
    let value = page.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}
