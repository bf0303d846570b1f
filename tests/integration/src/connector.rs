//! A connector as its users run it: the binary, with settings in its environment.

mod binary;
mod output;

pub use binary::{binary, is_mortal, mortal_binary, program};
pub(crate) use output::Output;

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::metrics::Metrics;
use crate::process::{self, Signal};
use crate::wait::{PATIENCE, until};

/// What the log says once the admin server listens; its port is free to choose.
const ADMIN_LINE: &str = "admin server listens";

/// What a connector is to be started with.
#[derive(Debug, Clone)]
#[must_use]
pub struct Launch {
    kind: String,
    settings: Vec<(String, String)>,
    through: Vec<String>,
    arguments: Vec<String>,
    fails: bool,
}

impl Launch {
    /// A connector of this kind, such as `kafka`, with nothing set but a free admin port.
    pub fn new(kind: &str) -> Self {
        let (settings, through, arguments) = (Vec::new(), Vec::new(), Vec::new());
        let launch = Self { kind: kind.to_owned(), settings, through, arguments, fails: false };
        launch.set("admin_port", "0")
    }

    /// Sets a setting through the environment; the last one of a name counts.
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// Leaves a setting unset.
    pub fn unset(mut self, name: &str) -> Self {
        self.settings.retain(|(known, _)| known != name);
        self
    }

    /// Has this command start it, which is given the connector and its arguments as its own last ones and replaces
    /// itself by it.
    pub fn through<'a>(mut self, command: impl IntoIterator<Item = &'a str>) -> Self {
        self.through = command.into_iter().map(str::to_owned).collect();
        self
    }

    /// Adds an argument.
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Has it die at a fail point, such as `answered=17`, or stop there: `answered=17:stop`.
    pub fn failing(mut self, fail_point: impl Into<String>) -> Self {
        self.fails = true;
        self.set("FAILPOINTS", fail_point)
    }

    /// Starts it. Nothing of this process' own environment is passed on.
    ///
    /// # Panics
    /// When it cannot be built or started.
    pub async fn start(&self) -> Connector {
        let program = match self.fails {
            false => binary(&self.kind).await,
            true => mortal_binary(&self.kind).await,
        };
        let mut child = self.command(&program).spawn().expect("the connector can be started");
        let pid = child.id().expect("it has just been started");
        let stdout = child.stdout.take().expect("it was asked for");
        let stderr = child.stderr.take().expect("it was asked for");
        let output = Output::capture(stdout, stderr);
        Connector { child, pid, output, admin: OnceLock::new(), accounted: false }
    }

    /// Starts it and waits until it ends by itself, as it does when it is asked for a page.
    pub async fn run(&self) -> Ended {
        self.start().await.exited().await
    }

    /// Starts it, and waits until it is ready.
    pub async fn ready(&self) -> Connector {
        let connector = self.start().await;
        connector.ready().await;
        connector
    }

    fn command(&self, program: &Path) -> Command {
        let mut words = self.through.iter().map(AsRef::as_ref).chain([program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or(program.as_os_str()));
        command
            .args(words)
            .args(&self.arguments)
            .env_clear()
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// How a connector ended, and everything it wrote.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The lines of its standard output and, marked by `!`, of its standard error.
    pub lines: Vec<String>,
}

impl Ended {
    /// What it wrote to its standard output.
    #[must_use]
    pub fn stdout(&self) -> String {
        let lines = self.lines.iter().filter(|line| !line.starts_with("! "));
        lines.fold(String::new(), |text, line| text + line + "\n")
    }

    /// What it wrote to its standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        let lines = self.lines.iter().filter_map(|line| line.strip_prefix("! "));
        lines.fold(String::new(), |text, line| text + line + "\n")
    }
}

/// A running connector. A test ends it by [`end`](Self::end), or by one of the rougher ways; what
/// is merely dropped without that fails the test, because nobody has looked at its books.
#[must_use]
pub struct Connector {
    child: Child,
    pid: u32,
    output: Output,
    admin: OnceLock<u16>,
    accounted: bool,
}

impl Connector {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Everything it has written so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.output.lines()
    }

    /// How many lines so far contain `part`.
    #[must_use]
    pub fn count(&self, part: &str) -> usize {
        self.output.lines().iter().filter(|line| line.contains(part)).count()
    }

    /// Waits for the first line that contains `part`, past or to come, and gives it.
    ///
    /// # Panics
    /// After [`PATIENCE`], or when the process ends without such a line; with all it has written.
    pub async fn line(&self, part: &str) -> String {
        self.output.wait_for(part, |line| line.contains(part)).await
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        process::send(self.pid, signal);
    }

    /// Gets a page of the admin server: the status and the text. Asks again while the process is
    /// too young to listen.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn page(&self, path: &str) -> (u16, String) {
        static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
        // One connection for each question: clients outlive the runtime of a single test.
        let client = CLIENT.get_or_init(|| {
            drop(rustls::crypto::ring::default_provider().install_default());
            let client = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(PATIENCE);
            client.build().expect("the client's settings are right")
        });
        let url = format!("http://{}{path}", self.admin_address().await);
        let answer = client.get(url).send().await;
        let answer = answer.unwrap_or_else(|error| {
            panic!("no answer from {path}: {error}\n{}", self.output);
        });
        let status = answer.status().as_u16();
        (status, answer.text().await.expect("the page is text"))
    }

    /// Where its admin server listens: `127.0.0.1:port`.
    pub async fn admin_address(&self) -> String {
        format!("127.0.0.1:{}", self.admin_port().await)
    }

    /// Its metrics.
    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.page("/metrics").await.1)
    }

    /// Its status page.
    pub async fn status(&self) -> serde_json::Value {
        let (_, page) = self.page("/status").await;
        serde_json::from_str(&page).expect("the status page is JSON")
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&self) {
        let look = async || self.page("/readyz").await;
        let what = "the connector to be ready";
        until(what, look, |(status, _)| *status == 200).await;
    }

    /// Waits until `/readyz` fails for a reason that contains `part`, and gives all reasons.
    pub async fn not_ready(&self, part: &str) -> String {
        let what = format!("/readyz to say {part:?}");
        let look = async || self.page("/readyz").await;
        until(&what, look, |(status, text)| *status == 503 && text.contains(part)).await.1
    }

    /// Waits until `reached` holds of its metrics, and gives them.
    pub async fn metrics_until(
        &self,
        what: &str,
        reached: impl FnMut(&Metrics) -> bool,
    ) -> Metrics {
        until(what, async || self.metrics().await, reached).await
    }

    /// Looks at its books, then ends it with SIGTERM, which must drain it: exit code 0.
    ///
    /// # Panics
    /// When the books do not balance, or it exits otherwise.
    pub async fn end(self) -> Ended {
        self.metrics().await.balance();
        self.signal(Signal::Terminate);
        let ended = self.exited().await;
        assert_eq!(ended.code, Some(0), "SIGTERM drains and exits 0:\n{}", ended.lines.join("\n"));
        ended
    }

    /// Looks at its books, then ends it with SIGKILL.
    ///
    /// # Panics
    /// When the books do not balance.
    pub async fn kill(self) -> Ended {
        self.metrics().await.balance();
        self.kill_now().await
    }

    /// Ends it with SIGKILL at this very moment.
    pub async fn kill_now(mut self) -> Ended {
        self.child.start_kill().expect("the connector runs");
        self.exited().await
    }

    /// Waits for it to end by itself, or by a signal sent before.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub async fn exited(mut self) -> Ended {
        self.accounted = true;
        let status: ExitStatus = match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.expect("a child can be waited for"),
            Err(_) => panic!("the connector does not end:\n{}", self.output),
        };
        self.output.ended().await;
        Ended { code: status.code(), lines: self.output.lines() }
    }

    async fn admin_port(&self) -> u16 {
        if let Some(port) = self.admin.get() {
            return *port;
        }
        let line = self.line(ADMIN_LINE).await;
        let (_, port) = line.rsplit_once("port=").expect("the line ends with the port");
        let port = port.trim().parse().expect("a port is a number");
        *self.admin.get_or_init(|| port)
    }
}

impl Drop for Connector {
    #[expect(clippy::print_stdout, reason = "the test harness shows it with the failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the connector's output:\n{}", self.output);
        } else if !self.accounted {
            panic!("the test dropped its connector: use `end`, `kill` or `exited`");
        }
    }
}
