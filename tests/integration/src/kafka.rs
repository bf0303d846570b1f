//! A real Kafka broker, started by the script that `make test` uses.
//!
//! Tests share one broker and keep apart by names. One that hurts its broker takes a private one.
//! Everything a test asks of the broker goes through clients of its own (`clients`), never through
//! those of the connector.

mod clients;
mod cluster;
mod member;
mod rebalances;
mod records;
mod sampler;

pub use clients::Committed;
pub use cluster::Cluster;
pub use member::JavaMember;
pub use rebalances::Rebalances;
pub use records::{Record, Stored, Transaction};
pub use sampler::Sampler;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::process::{self, Signal};
use crate::{root, unique};
use clients::Clients;

/// A running broker. Clones are the same one; a private one is wiped with its last clone.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    /// `None`: the shared one, or a cluster as a whole.
    name: Option<String>,
    address: String,
    /// What it has written of itself.
    log: PathBuf,
    pid: Mutex<Option<u32>>,
    clients: Clients,
}

impl Broker {
    /// The broker that all tests share; started if it does not run, and left running.
    ///
    /// # Panics
    /// When it cannot be started, saying what to run.
    pub async fn shared() -> Self {
        static SHARED: OnceCell<Broker> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::up(None, &[])).await.clone()
    }

    /// A broker for one test alone, which may be hurt. `settings` are lines `key=value`.
    ///
    /// # Panics
    /// When it cannot be started, saying what to run.
    pub async fn private(purpose: &str, settings: &[&str]) -> Self {
        Self::up(Some(unique(purpose)), settings).await
    }

    /// What somebody else has started and will end, to be asked and written to: `host:port`, with commas between several.
    #[must_use]
    pub fn at(address: &str) -> Self {
        let (clients, address) = (Clients::new(address), address.to_owned());
        let (pid, log) = Default::default();
        Self(Arc::new(Inner { name: None, address, log, pid, clients }))
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// `host:port` of a further listener, the one that its settings put at `@PORT+n@`.
    ///
    /// # Panics
    /// When the broker's own address has no port.
    #[must_use]
    pub fn listener(&self, n: u16) -> String {
        let (host, port) = self.address().rsplit_once(':').expect("an address has a port");
        let port: u16 = port.parse().expect("a port is a number");
        format!("{host}:{}", port + n)
    }

    /// Runs one of the broker's own tools, such as `acls`, and gives what it says.
    ///
    /// # Panics
    /// When it fails, with what it says.
    pub async fn tool(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(script_path());
        command.arg("tool");
        if let Some(name) = &self.0.name {
            command.args(["--name", name]);
        }
        let ran = command.args(arguments).stdin(Stdio::null()).output().await;
        let ran = ran.expect("tests/brokers/kafka.sh is there and can be run");
        let said = [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        let said = said.concat();
        assert!(ran.status.success(), "{arguments:?}: {said}");
        said
    }

    /// How many generations a group has had, as the broker's own log tells: one more with each
    /// rebalance.
    ///
    /// # Panics
    /// When the broker keeps no log here: it was not started by this checkout.
    #[must_use]
    pub fn generations(&self, group: &str) -> usize {
        let log = std::fs::read_to_string(&self.0.log).expect("the broker was started from here");
        log.matches(&format!("Stabilized group {group} generation ")).count()
    }

    /// Kills a private broker with SIGKILL.
    pub fn kill(&self) {
        self.signal(Signal::Kill);
        *self.pid() = None;
    }

    /// Ends a private broker in good order: it hands over what it leads.
    pub async fn stop(&self) {
        script("down", self.private_name(), &[]).await;
        *self.pid() = None;
    }

    /// Freezes a private broker with SIGSTOP: its connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::Stop);
    }

    /// Lets a frozen broker go on.
    pub fn thaw(&self) {
        self.signal(Signal::Continue);
    }

    /// Starts a private broker again, with its data and at its port; returns when it serves.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&self) {
        let state = script("up", self.private_name(), &[]).await;
        *self.pid() = pid_of(&state);
    }

    async fn up(name: Option<String>, settings: &[&str]) -> Self {
        let state = script("up", name.as_deref(), settings).await;
        let address = state.get("ADDRESS").cloned().expect("the script prints ADDRESS");
        let log = state.get("LOG").map(PathBuf::from).expect("the script prints LOG");
        let clients = Clients::new(&address);
        Self(Arc::new(Inner { name, pid: Mutex::new(pid_of(&state)), address, log, clients }))
    }

    fn signal(&self, signal: Signal) {
        self.private_name();
        let pid = self.pid().expect("the broker runs");
        process::send(pid, signal);
    }

    fn private_name(&self) -> Option<&str> {
        assert!(self.0.name.is_some(), "only a private broker may be hurt, or a node of a cluster");
        self.0.name.as_deref()
    }

    fn pid(&self) -> std::sync::MutexGuard<'_, Option<u32>> {
        self.0.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self) -> &Clients {
        &self.0.clients
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(name) = &self.name else { return };
        let wiped = std::process::Command::new(script_path())
            .args(["wipe", "--name", name])
            .stdin(Stdio::null())
            .output();
        // Left behind it costs a port and memory; `make clean` ends it too.
        drop(wiped);
    }
}

fn script_path() -> PathBuf {
    root().join("tests/brokers/kafka.sh")
}

/// Runs a verb of the broker's script and reads its answer.
async fn script(verb: &str, name: Option<&str>, settings: &[&str]) -> HashMap<String, String> {
    let mut command = Command::new(script_path());
    command.arg(verb).stdin(Stdio::null());
    if let Some(name) = name {
        command.args(["--name", name]);
    }
    for setting in settings {
        command.args(["--set", setting]);
    }
    let output = command.output().await.expect("tests/brokers/kafka.sh is there and can be run");
    assert!(
        output.status.success(),
        "there is no Kafka broker. Run `tests/brokers/kafka.sh up` and see what it needs, or run \
         everything by `make test`. It said: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn pid_of(state: &HashMap<String, String>) -> Option<u32> {
    state.get("PID")?.parse().ok()
}
