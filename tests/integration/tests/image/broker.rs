//! A broker of a test's own, started by its script in `tests/brokers`. Kafka has [`integration::Broker`], which can do more.

use std::path::PathBuf;
use std::process::Stdio;

use integration::{root, unique};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Wiped when dropped.
pub(crate) struct Broker {
    script: PathBuf,
    name: String,
    /// `host:port`.
    pub(crate) address: String,
}

impl Broker {
    /// Starts a broker of this kind; `settings` are lines of its configuration.
    pub(crate) async fn up(kind: &str, settings: &[String]) -> Self {
        let script = root().join("tests/brokers").join(format!("{kind}.sh"));
        let mut broker = Self { script, name: unique("image"), address: String::new() };
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let state = broker.script("up", settings, "").await;
        let address = state.lines().find_map(|line| line.strip_prefix("ADDRESS="));
        address.expect("the script prints ADDRESS").clone_into(&mut broker.address);
        broker
    }

    /// Runs one of the broker's own tools, with this on its standard input.
    pub(crate) async fn tool(&self, arguments: &[&str], input: &str) {
        self.script("tool", arguments.iter().copied(), input).await;
    }

    async fn script<'a>(
        &self,
        verb: &str,
        arguments: impl Iterator<Item = &'a str>,
        input: &str,
    ) -> String {
        let mut child = Command::new(&self.script)
            .args([verb, "--name", &self.name])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script is there");
        let mut stdin = child.stdin.take().expect("it was asked for");
        stdin.write_all(input.as_bytes()).await.expect("the script reads, or the pipe holds it");
        drop(stdin);
        let output = child.wait_with_output().await.expect("a child can be waited for");
        assert!(output.status.success(), "{} {verb} fails", self.script.display());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let wiped =
            std::process::Command::new(&self.script).args(["wipe", "--name", &self.name]).output();
        // Left behind it costs a port and memory; `make clean` ends it too.
        drop(wiped);
    }
}
