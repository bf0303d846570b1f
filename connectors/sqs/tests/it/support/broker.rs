//! Brokers: the shared one, and private ones that a test may hurt.

use std::process::Command;
use std::sync::OnceLock;

use super::repository;

/// The shared broker, started if it does not run: `http://127.0.0.1:19324`.
pub(crate) fn broker() -> &'static str {
    static ENDPOINT: OnceLock<String> = OnceLock::new();
    ENDPOINT.get_or_init(|| script("elasticmq", &["up"], "http://ADDRESS"))
}

/// A broker of one test, whose data goes with it.
pub(crate) struct PrivateBroker {
    kind: &'static str,
    name: String,
    pub(crate) endpoint: String,
}

impl PrivateBroker {
    /// Starts one: `elasticmq` or `moto`.
    pub(crate) fn up(kind: &'static str, name: &str) -> Self {
        // What a run that failed has left to be looked at.
        script(kind, &["wipe", "--name", name], "");
        let endpoint = script(kind, &["up", "--name", name], "http://ADDRESS");
        Self { kind, name: name.to_owned(), endpoint }
    }

    /// Stops it and starts it again: what was lent is forgotten, the rest kept.
    pub(crate) fn restart(&self) {
        self.script("down", "");
        self.script("up", "");
    }

    /// Lets it answer nothing until it is [restarted](Self::go_on).
    pub(crate) fn freeze(&self) {
        let pid = self.script("status", "PID");
        assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    }

    /// Ends a [`freeze`](Self::freeze).
    pub(crate) fn go_on(&self) {
        self.script("up", "");
    }

    fn script(&self, verb: &str, told: &str) -> String {
        script(self.kind, &[verb, "--name", &self.name], told)
    }
}

impl Drop for PrivateBroker {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.script("wipe", "");
        }
    }
}

/// Runs a broker's script. In `told`, the names of what it prints are replaced by the values.
fn script(kind: &str, arguments: &[&str], told: &str) -> String {
    let script = repository().join(format!("tests/brokers/{kind}.sh"));
    let output = Command::new(&script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8_lossy(&output.stdout);
    let pairs = printed.lines().filter_map(|line| line.split_once('='));
    pairs.fold(told.to_owned(), |told, (name, value)| told.replace(name, value))
}
