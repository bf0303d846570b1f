//! The connector as a process: its pages, its log, its end.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use dev_gateway::{DevGateway, HeldPort};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::{PATIENCE, Server, until};

/// The connector's binary: the one that was built with this test, or, for proofs and figures, the
/// one that is shipped, which has to be built beforehand.
fn connector() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_nats-connector"));
    if std::env::var_os("TEST_RELEASED_BINARIES").is_none() {
        return built.to_owned();
    }
    let target = built.ancestors().nth(2).unwrap();
    target.join("release").join(built.file_name().unwrap())
}

/// A connector's process.
pub(crate) struct Connector {
    child: Child,
    admin: HeldPort,
    log: Arc<Mutex<Vec<String>>>,
    http: reqwest::Client,
}

impl Connector {
    /// Starts one and waits until it is ready.
    pub(crate) async fn ready(server: &Server, gateway: &DevGateway, env: &[(&str, &str)]) -> Self {
        let connector = Self::start(&server.address(), gateway, env);
        connector.until_ready().await;
        connector
    }

    pub(crate) fn start(servers: &str, gateway: &DevGateway, env: &[(&str, &str)]) -> Self {
        Self::start_by(Command::new(connector()), servers, gateway, env)
    }

    /// Starts one by a command that becomes the connector.
    fn start_by(
        mut command: Command,
        servers: &str,
        gateway: &DevGateway,
        env: &[(&str, &str)],
    ) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let admin = HeldPort::free();
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("broker_host", servers)
            .env("gateway_url", gateway.url())
            .env("rebuild_interval", "200ms")
            .env("asynchronous_invocation", "false")
            .env("admin_port", admin.port().to_string())
            .env("initial_retry_wait", "50ms")
            .env("max_retry_wait", "1s")
            .env("grace_period", "12s");
        for (name, value) in env {
            command.env(name, value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        keep(child.stdout.take().unwrap(), &log);
        keep(child.stderr.take().unwrap(), &log);
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Self { child, admin, log, http }
    }

    /// Starts one that resolves names by a hosts file of its own.
    pub(crate) fn with_hosts(
        hosts: &Path,
        servers: &str,
        gateway: &DevGateway,
        env: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", "mount --bind $0 /etc/hosts && exec $1"]);
        command.arg(hosts).arg(connector());
        Self::start_by(command, servers, gateway, env)
    }

    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer =
            self.http.get(format!("http://{}{path}", self.admin.address())).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    }

    pub(crate) async fn until_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.get("/readyz").await;
            if matches!(seen, Some((200, _))) {
                return;
            }
            assert!(Instant::now() < deadline, "not ready: {seen:?}\n{}", self.log().join("\n"));
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it is not ready, for a reason that contains `why`.
    pub(crate) async fn until_unready(&self, why: &str) {
        until(&format!("not ready because of {why:?}"), async || {
            let (status, text) = self.get("/readyz").await?;
            (status != 200 && text.contains(why)).then_some(())
        })
        .await;
    }

    pub(crate) async fn status(&self) -> serde_json::Value {
        let (_, text) = self.get("/status").await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until the status page says `what` somewhere.
    pub(crate) async fn until_status_says(&self, what: &str) {
        until(&format!("a status that says {what:?}"), async || {
            self.status().await.to_string().contains(what).then_some(())
        })
        .await;
    }

    /// Waits until no function asks for `topic` any more.
    pub(crate) async fn until_unmapped(&self, topic: &str) {
        until(&format!("nobody asks for {topic}"), async || {
            (!self.status().await["topics"].to_string().contains(topic)).then_some(())
        })
        .await;
    }

    /// A metric by its line up to the value; 0 if it is not there.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let (_, page) = self.get("/metrics").await.unwrap();
        value(&page, name)
    }

    pub(crate) async fn came(&self, outcome: &str) -> u64 {
        self.metric(&outcome_of(outcome)).await
    }

    /// Checks that every delivery has been counted once. On one page: between two an event may end.
    pub(crate) async fn balanced(&self) {
        let (_, page) = self.get("/metrics").await.unwrap();
        let outcomes =
            ["delivered", "dead_lettered", "dropped", "unmatched", "repeated", "released"];
        let ended: u64 = outcomes.iter().map(|outcome| value(&page, &outcome_of(outcome))).sum();
        let in_flight = value(&page, "tributary_events_in_flight");
        assert_eq!(value(&page, "tributary_events_received_total"), ended + in_flight, "{page}");
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn lines_with(&self, what: &str) -> usize {
        self.log().iter().filter(|line| line.contains(what)).count()
    }

    pub(crate) async fn until_logged(&self, what: &str) {
        until(&format!("a line with {what:?}"), async || (self.lines_with(what) > 0).then_some(()))
            .await;
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Asks it to stop and waits for its end.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.ended().await
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it did not end:\n{}", self.log().join("\n"))).unwrap()
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the connector's log\n{}", self.log().join("\n"));
        }
    }
}

fn keep(output: impl tokio::io::AsyncRead + Unpin + Send + 'static, log: &Arc<Mutex<Vec<String>>>) {
    let log = Arc::clone(log);
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            log.lock().unwrap().push(line);
        }
    });
}

fn outcome_of(outcome: &str) -> String {
    format!("tributary_events_total{{outcome=\"{outcome}\"}}")
}

/// What a page says of a metric by its line up to the value; 0 if it is not there.
fn value(page: &str, name: &str) -> u64 {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
}
