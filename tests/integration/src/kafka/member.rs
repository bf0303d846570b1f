//! A member of a consumer group that is not ours: Kafka's own console consumer.

use std::process::Stdio;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Broker, script_path};
use crate::PATIENCE;
use crate::connector::Output;
use crate::process::{self, Signal};

/// A running console consumer, which prints each record's value as a line and commits what it has
/// printed. As a Java client does by default, it offers the `range` assignor first.
pub struct JavaMember {
    child: Child,
    output: Output,
}

impl Broker {
    /// Starts a Java consumer of one topic in `group`; without a commit it begins with the oldest
    /// record.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn java_member(&self, topic: &str, group: &str) -> JavaMember {
        let mut command = Command::new(script_path());
        command.arg("tool");
        if let Some(name) = &self.0.name {
            command.args(["--name", name]);
        }
        let mut child = command
            .args(["consume", "--topic", topic, "--group", group, "--from-beginning"])
            .args(["--command-property", "auto.commit.interval.ms=200"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("tests/brokers/kafka.sh is there and can be run");
        let stdout = child.stdout.take().expect("it was asked for");
        let stderr = child.stderr.take().expect("it was asked for");
        JavaMember { child, output: Output::capture(stdout, stderr) }
    }
}

impl JavaMember {
    /// The values of the records it has received so far.
    #[must_use]
    pub fn received(&self) -> Vec<String> {
        let lines = self.output.lines().into_iter();
        lines.filter(|line| !line.starts_with("! ")).collect()
    }

    /// Lets it commit and leave the group. Gives the values of all records it has received.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn leave(mut self) -> Vec<String> {
        process::send(self.child.id().expect("it runs"), Signal::Terminate);
        let ended = timeout(PATIENCE, self.child.wait()).await;
        assert!(ended.is_ok(), "the console consumer does not end:\n{}", self.output);
        self.output.ended().await;
        self.received()
    }
}
