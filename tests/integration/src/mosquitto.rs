//! A Mosquitto of one test alone, started by the script that its own tests use.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{script, unique};

/// A private broker, running unless it was [put down](Self::down); wiped when it is dropped.
pub struct Mosquitto {
    name: String,
    port: String,
    log: PathBuf,
}

impl Mosquitto {
    /// Starts one. `settings` are lines of its configuration.
    ///
    /// # Panics
    /// When it cannot be started, with what the script says.
    #[must_use]
    pub fn start(settings: &[&str]) -> Self {
        let name = unique("mosquitto");
        let settings = settings.iter().flat_map(|line| ["--set", line]);
        let state = script("mosquitto", "up", &name, settings);
        Self { name, port: state["PORT"].clone(), log: PathBuf::from(&state["LOG"]) }
    }

    /// How often its log says that it has received a PUBACK from the client of this id.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn acknowledged(&self, client: &str) -> usize {
        let log = std::fs::read(&self.log).expect("the broker writes a log");
        String::from_utf8_lossy(&log).matches(&format!("Received PUBACK from {client} ")).count()
    }

    /// Where it listens, on 127.0.0.1; the same after each [`up`](Self::up).
    #[must_use]
    pub fn port(&self) -> &str {
        &self.port
    }

    /// Ends it; its data stays.
    pub fn down(&self) {
        script("mosquitto", "down", &self.name, []);
    }

    /// Starts it again with its data.
    pub fn up(&self) {
        script("mosquitto", "up", &self.name, []);
    }

    /// Publishes a message for each line, at QoS 1; returns when the broker has acknowledged them.
    ///
    /// # Panics
    /// When `mosquitto_pub` cannot be run, or fails.
    pub fn publish(&self, topic: &str, lines: &str) {
        self.publish_at("1", topic, lines);
    }

    /// The same at another QoS.
    ///
    /// # Panics
    /// When `mosquitto_pub` cannot be run, or fails.
    pub fn publish_at(&self, qos: &str, topic: &str, lines: &str) {
        let mut publisher = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &self.port, "-q", qos, "-t", topic, "-l"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub can be run");
        let mut input = publisher.stdin.take().expect("it was asked for");
        input.write_all(lines.as_bytes()).expect("it reads its input");
        drop(input);
        assert!(publisher.wait().expect("it ends").success());
    }

    /// Makes the broker keep what comes to a filter, at QoS 1, for the client of this id.
    ///
    /// # Panics
    /// When `mosquitto_sub` cannot be run, or fails.
    pub fn keep(&self, client: &str, filter: &str) {
        let said = self.subscribe(client, filter).arg("-E").output();
        let said = said.expect("mosquitto_sub can be run");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }

    /// Takes out what the broker keeps for the client of this id, and gives the messages. Whoever
    /// is connected under that id is thrown out.
    ///
    /// # Panics
    /// When `mosquitto_sub` cannot be run.
    #[must_use]
    pub fn kept(&self, client: &str, filter: &str) -> Vec<String> {
        // What is kept comes at once; that nothing more does is known by waiting.
        let said = self.subscribe(client, filter).args(["-W", "1"]).output();
        let said = said.expect("mosquitto_sub can be run");
        String::from_utf8_lossy(&said.stdout).lines().map(str::to_owned).collect()
    }

    fn subscribe(&self, client: &str, filter: &str) -> Command {
        let mut command = Command::new("mosquitto_sub");
        command
            .args(["-h", "127.0.0.1", "-p", &self.port, "-i", client, "-c", "-q", "1"])
            .args(["-V", "5", "-x", "3600", "-t", filter])
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        script("mosquitto", "wipe", &self.name, []);
    }
}
