//! A Mosquitto of one test alone, started by the script that its own tests use.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::{script, unique};

/// A private broker, running unless it was [put down](Self::down); wiped when it is dropped.
pub struct Mosquitto {
    name: String,
    port: String,
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
        let port = script("mosquitto", "up", &name, settings)["PORT"].clone();
        Self { name, port }
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
        let mut publisher = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &self.port, "-q", "1", "-t", topic, "-l"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub can be run");
        let mut input = publisher.stdin.take().expect("it was asked for");
        input.write_all(lines.as_bytes()).expect("it reads its input");
        drop(input);
        assert!(publisher.wait().expect("it ends").success());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        script("mosquitto", "wipe", &self.name, []);
    }
}
