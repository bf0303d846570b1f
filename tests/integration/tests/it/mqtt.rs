//! The list of cases that every source passes, for MQTT 5 on Mosquitto.
//!
//! What only MQTT has, and MQTT 3.1.1, and another broker: `connectors/mqtt/tests`. Each case has a
//! broker of its own. Messages are published and letters read by Mosquitto's command line clients.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use integration::conformance::{Capabilities, Message, Setup, Stage, StoredLetter};
use integration::{Launch, script, unique, until};

struct Mqtt {
    name: String,
    port: String,
    pid: Mutex<String>,
    log: PathBuf,
    filter: String,
    id: String,
    published: AtomicUsize,
    /// Acknowledged before the broker was killed: its log begins anew.
    acknowledged: AtomicUsize,
    /// Who keeps the letters, and where.
    keeper: Mutex<Option<Child>>,
    letters: PathBuf,
}

integration::conformance!(Mqtt);

impl Mqtt {
    fn script(&self, verb: &str) -> HashMap<String, String> {
        script("mosquitto", verb, &self.name, [])
    }

    fn client(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(["-V", "5", "-h", "127.0.0.1", "-p", &self.port, "-q", "1"]).args(arguments);
        command
    }

    /// How often the broker's log has this.
    fn logged(&self, what: &str) -> usize {
        let log = std::fs::read(&self.log).expect("the broker writes a log");
        String::from_utf8_lossy(&log).matches(what).count()
    }

    fn acknowledged(&self) -> usize {
        let now = self.logged(&format!("Received PUBACK from {} ", self.id));
        now + self.acknowledged.load(Ordering::Relaxed)
    }
}

impl Drop for Mqtt {
    fn drop(&mut self) {
        let keeper = self.keeper.lock().map(|mut keeper| keeper.take()).ok().flatten();
        if let Some(mut keeper) = keeper {
            // It may have ended with its broker.
            drop(keeper.kill());
            drop(keeper.wait());
        }
        self.script("wipe");
    }
}

impl Stage for Mqtt {
    const CAPABILITIES: Capabilities = Capabilities {
        redelivers: true,
        dead_letters: true,
        holds: true,
        // They do, but a broker keeps nothing for a topic that nobody has subscribed yet.
        follows_annotations: false,
        // They do, under ids of their own.
        shares: false,
        restarts: true,
        largest_payload: 1_000_000,
    };

    async fn set(setup: Setup) -> Self {
        let name = unique("conforms");
        let state = script("mosquitto", "up", &name, []);
        let stage = Self {
            port: state["PORT"].clone(),
            pid: Mutex::new(state["PID"].clone()),
            log: PathBuf::from(&state["LOG"]),
            letters: PathBuf::from(&state["DIR"]).join("letters"),
            filter: format!("{name}/+"),
            id: unique("id"),
            name,
            published: AtomicUsize::new(0),
            acknowledged: AtomicUsize::new(0),
            keeper: Mutex::new(None),
        };
        // What is published before the connector has ever run is kept for whoever has subscribed,
        // so its session is begun here.
        let session = ["-c", "-x", "3600", "-i", &stage.id, "-t", &stage.filter, "-E"];
        let begun = stage.client("mosquitto_sub", &session).status();
        assert!(begun.expect("mosquitto_sub can be run").success());
        if !setup.refuses_letters {
            stage.accept_letters().await;
        }
        stage
    }

    fn topic(&self) -> &str {
        &self.filter
    }

    fn launch(&self) -> Launch {
        Launch::new("mqtt")
            .set("broker", format!("tcp://127.0.0.1:{}", self.port))
            .set("id", &self.id)
            .set("qos", "1")
            .set("protocol_version", "5")
            .set("topics", &self.filter)
            .set("dead_letter", "topic:letters")
            .set("rebuild_interval", "200ms")
            .set("initial_retry_wait", "20ms")
            .set("max_retry_wait", "100ms")
            .set("function_concurrency", "32")
    }

    async fn publish(&self, messages: &[Message]) {
        let parent = self.filter.trim_end_matches('+');
        let publish = |message: &Message| {
            let topic = format!("{parent}{}", String::from_utf8_lossy(&message.key));
            // Of an empty input the client makes a mistake.
            let from = if message.payload.is_empty() { "-n" } else { "-s" };
            let arguments = ["-t", &topic, from];
            let mut publisher = self
                .client("mosquitto_pub", &arguments)
                .stdin(Stdio::piped())
                .spawn()
                .expect("mosquitto_pub can be run");
            let mut stdin = publisher.stdin.take().expect("it was asked for");
            stdin.write_all(&message.payload).expect("it reads its input");
            drop(stdin);
            assert!(publisher.wait().expect("it ends").success());
        };
        messages.iter().for_each(publish);
        self.published.fetch_add(messages.len(), Ordering::Relaxed);
    }

    async fn publish_elsewhere(&self, _: &[Message]) -> String {
        unreachable!("no case asks for it")
    }

    async fn unsettled(&self) -> usize {
        self.published.load(Ordering::Relaxed).saturating_sub(self.acknowledged())
    }

    async fn letters(&self) -> Vec<StoredLetter> {
        let stored = self.logged("Sending PUBLISH to keeper ");
        let read = || std::fs::read_to_string(&self.letters).unwrap_or_default();
        let look = async || read().lines().count();
        until("the letters to arrive", look, |arrived| *arrived >= stored).await;
        let letter = |line: &str| {
            let (payload, properties) = line.split_once('|')?;
            let payload = (0..payload.len()).step_by(2).map(|at| payload.get(at..at + 2));
            let property = |name: &str| {
                properties.split_once(name).and_then(|(_, rest)| rest.split_whitespace().next())
            };
            Some(StoredLetter {
                message: Message {
                    key: property("X-Topic:")?.rsplit_once('/')?.1.into(),
                    payload: payload
                        .map(|byte| u8::from_str_radix(byte?, 16).ok())
                        .collect::<Option<_>>()?,
                },
                reason: property("X-Dead-Letter-Reason:")?.to_owned(),
            })
        };
        read().lines().map(|line| letter(line).expect("a letter tells topic and reason")).collect()
    }

    async fn accept_letters(&self) {
        let file = std::fs::File::create(&self.letters).expect("the broker has a folder");
        let before = self.logged("Sending SUBACK to keeper");
        let keeper = self
            .client("mosquitto_sub", &["-i", "keeper", "-t", "letters", "-F", "%x|%P"])
            .stdout(file)
            .spawn()
            .expect("mosquitto_sub can be run");
        *self.keeper.lock().expect("nobody panics with it") = Some(keeper);
        let look = async || self.logged("Sending SUBACK to keeper");
        until("the keeper to subscribe", look, |now| *now > before).await;
    }

    async fn restart_broker(&self) {
        // On its own it writes messages under way only now and then; into a new file, which then gets the old one's name.
        let database = self.log.with_file_name("data").join("mosquitto.db");
        let look = async || std::fs::metadata(&database).and_then(|file| file.modified()).ok();
        let before = look().await;
        let signal = |signal: &str| {
            let pid = self.pid.lock().expect("nobody panics with it").clone();
            assert!(Command::new("kill").args([signal, &pid]).status().expect("kill").success());
        };
        signal("-USR1");
        until("the sessions to be written", look, |now| *now != before).await;
        self.acknowledged.store(self.acknowledged(), Ordering::Relaxed);
        signal("-KILL");
        let state = self.script("up");
        *self.pid.lock().expect("nobody panics with it") = state["PID"].clone();
    }
}
