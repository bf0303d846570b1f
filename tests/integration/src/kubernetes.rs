//! A Kubernetes of one test alone: the API server, started by its script, and `kubectl`.
//!
//! It has no nodes and no controllers, so nothing runs there: what is asked is what the API server itself answers.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::process::{self, Signal};
use crate::{root, script, unique};

/// A private API server; wiped when it is dropped.
pub struct Cluster {
    name: String,
    state: HashMap<String, String>,
}

impl Cluster {
    /// Starts one with a namespace `openfaas` in it, and waits until it is ready.
    ///
    /// # Panics
    /// When it cannot be started, with what the script says.
    #[must_use]
    pub fn start() -> Self {
        let name = unique("kubernetes");
        let state = script("kubernetes", "up", &name, []);
        let cluster = Self { name, state };
        cluster.kubectl(&["create", "namespace", "openfaas"], "");
        cluster
    }

    /// Where it listens: `https://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.state["ADDRESS"])
    }

    /// The file with the authority that has signed what it shows its clients.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        PathBuf::from(&self.state["DIR"]).join("ca.crt")
    }

    /// The file by which its administrator is let in.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        PathBuf::from(&self.state["DIR"]).join("admin.conf")
    }

    /// Sends its process a signal.
    pub fn signal(&self, signal: Signal) {
        process::send(self.state["PID"].parse().expect("a process is a number"), signal);
    }

    /// Starts it again after it was killed, with all that it has kept.
    pub fn up(&mut self) {
        self.state = script("kubernetes", "up", &self.name, []);
    }

    /// Runs `kubectl` as the administrator, with `input` on its standard input, and gives what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        let (printed, said) = self.try_kubectl(arguments, input).unwrap_or_else(|said| {
            panic!("kubectl {arguments:?}: {said}");
        });
        assert_eq!(said, "", "kubectl {arguments:?} warns");
        printed
    }

    /// The same of what may fail: what it prints and what it warns of.
    ///
    /// # Errors
    /// What it says when it fails.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn try_kubectl(&self, arguments: &[&str], input: &str) -> Result<(String, String), String> {
        let mut kubectl = Command::new(root().join("tests/brokers/kubernetes.sh"))
            .args(["tool", "--name", &self.name, "kubectl", "--namespace", "openfaas"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the script can be run");
        let mut stdin = kubectl.stdin.take().expect("it was asked for");
        let input = input.to_owned();
        // Beside the reading: either side may be more than a pipe holds. One that fails need not read.
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).ok());
        let output = kubectl.wait_with_output().expect("a child can be waited for");
        drop(writer.join());
        let [printed, said] = [&output.stdout, &output.stderr]
            .map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
        if output.status.success() { Ok((printed, said)) } else { Err(said) }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        script("kubernetes", "wipe", &self.name, []);
    }
}
