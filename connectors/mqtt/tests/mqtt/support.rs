//! Brokers, connectors and clients of one test. Whatever is started here ends with its test.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dev_gateway::{Config, DevGateway, HeldPort};

/// How long a state is waited for before the test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How many messages a connector has answered and not acknowledged at most: what a break of its connection may repeat,
/// beside what it has acknowledged and the broker has not read ([`Broker::unread`]).
pub(crate) const WINDOW: usize = 64;
/// The bytes of a PUBACK.
pub(crate) const PUBACK: usize = 4;

/// Waits until `reached`. Looks again and again; gives up with what `account` says.
pub(crate) async fn wait_until(
    what: &str,
    mut reached: impl FnMut() -> bool,
    account: impl Fn() -> String,
) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < PATIENCE, "not reached: {what}\n{}", account());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn gateway() -> DevGateway {
    let config = Config { remember_bodies: 4 << 20, ..Config::default() };
    DevGateway::start(config).await.unwrap()
}

/// A name no other test has.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A new folder.
pub(crate) fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique("mqtt"));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A private broker.
pub(crate) struct Broker {
    kind: &'static str,
    name: String,
    pub(crate) port: u16,
    pid: String,
    log: PathBuf,
    pub(crate) dir: PathBuf,
}

impl Broker {
    pub(crate) fn mosquitto(settings: &[&str]) -> Self {
        Self::start("mosquitto", settings)
    }

    pub(crate) fn start(kind: &'static str, settings: &[&str]) -> Self {
        let name = unique("test");
        let mut broker = Self {
            kind,
            name,
            port: 0,
            pid: String::new(),
            log: PathBuf::new(),
            dir: PathBuf::new(),
        };
        let arguments: Vec<&str> = settings.iter().flat_map(|it| ["--set", it]).collect();
        broker.up(&arguments);
        broker
    }

    /// One that keeps whatever is queued; Mosquitto writes it only at its end, since with thousands queued each change
    /// would take for ever.
    pub(crate) fn roomy(kind: &'static str) -> Self {
        let settings: &[&str] = match kind {
            "mosquitto" => &["autosave_on_changes false", "max_queued_messages 0"],
            _ => &[
                "<mqtt><queued-messages><max-queue-size>100000</max-queue-size></queued-messages></mqtt>",
            ],
        };
        Self::start(kind, settings)
    }

    fn command(&self, verb: &str) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut command = Command::new(root.join(format!("tests/brokers/{}.sh", self.kind)));
        command.args([verb, "--name", &self.name]);
        command
    }

    fn script(&self, verb: &str, arguments: &[&str]) -> BTreeMap<String, String> {
        let output = self.command(verb).args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{verb}: {errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn up(&mut self, arguments: &[&str]) {
        let status = self.script("up", arguments);
        self.port = status["PORT"].parse().unwrap();
        self.pid = status["PID"].clone();
        self.log = PathBuf::from(&status["LOG"]);
        self.dir = PathBuf::from(&status["DIR"]);
    }

    /// Kills a Mosquitto. It has its sessions written first: on its own it does so only now and
    /// then for messages under way, and what it had not written is no fault of the connector's.
    pub(crate) async fn kill(&self) {
        let signal =
            |signal: &str| Command::new("kill").args([signal, self.pid.as_str()]).status().unwrap();
        // It writes a new file and gives it the old one's name.
        let database = self.dir.join("data/mosquitto.db");
        let written = || std::fs::metadata(&database).and_then(|file| file.modified()).ok();
        let before = written();
        assert!(signal("-USR1").success());
        wait_until("the sessions are written", || written() != before, || self.log()).await;
        assert!(signal("-KILL").success());
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn down(&self) {
        self.script("down", &[]);
    }

    /// Brings it up again with its data; its log begins anew.
    pub(crate) fn restart(&mut self) {
        self.up(&[]);
    }

    pub(crate) fn url(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    pub(crate) async fn wait_for_log(&self, what: &str, reached: impl Fn(&str) -> bool) {
        wait_until(what, || reached(&self.log()), || self.log()).await;
    }

    /// Publishes, and returns when the broker has acknowledged it.
    pub(crate) fn publish(&self, topic: &str, message: &str, more: &[&str]) {
        let mut arguments = vec!["-t", topic, "-m", message];
        arguments.extend(more);
        self.publishes(&arguments);
    }

    pub(crate) fn publishes(&self, arguments: &[&str]) {
        let output = self.client("mosquitto_pub", arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Publishes one message for each line.
    pub(crate) fn publish_lines(&self, topic: &str, lines: &[String], more: &[&str]) {
        let mut publisher = self
            .client("mosquitto_pub", &["-t", topic, "-l"])
            .args(more)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        publisher.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(publisher.wait().unwrap().success());
    }

    pub(crate) fn client(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).args(arguments);
        command
    }

    /// How many bytes clients on this machine have sent that the broker has not read yet.
    pub(crate) fn unread(&self) -> usize {
        const ESTABLISHED: &str = "01";
        let port = format!(":{:04X}", self.port);
        let bytes = |queue: &str| usize::from_str_radix(queue, 16).unwrap();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let connection = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (sending, receiving) = fields[4].split_once(':').unwrap();
            match fields[1..4] {
                [_, to, ESTABLISHED] if to.ends_with(&port) => bytes(sending),
                [at, _, ESTABLISHED] if at.ends_with(&port) => bytes(receiving),
                _ => 0,
            }
        };
        table.lines().skip(1).map(connection).sum()
    }

    /// How many messages the session of a client that has left still holds: what it is sent when it comes back, in a second.
    pub(crate) fn left_in(&self, id: &str) -> u64 {
        let output = self
            .client("mosquitto_sub", &["-i", id, "-c", "-q", "1", "-t", "t/#", "-W", "1"])
            .output()
            .unwrap();
        output.stdout.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    /// How often the broker's log says that it has received a PUBACK from this client.
    pub(crate) fn acknowledged(&self, client: &str) -> usize {
        self.log().matches(&format!("Received PUBACK from {client} ")).count()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // It may never have run.
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("the broker's log:\n{log}");
        }
        drop(self.command("wipe").output());
    }
}

/// What a connector is started with.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) id: String,
    env: Vec<(String, String)>,
    program: Vec<String>,
}

impl Setup {
    /// QoS 1, short waits, no function unmapped before a test is over.
    pub(crate) fn new(broker: &str, gateway: &DevGateway) -> Self {
        let id = unique("c");
        let mut setup = Self { id: id.clone(), env: Vec::new(), program: Vec::new() };
        for (name, value) in [
            ("broker", broker),
            ("id", &id),
            ("qos", "1"),
            ("gateway_url", &gateway.url()),
            ("rebuild_interval", "200ms"),
            ("initial_retry_wait", "50ms"),
            ("max_retry_wait", "200ms"),
            ("unmap_after", "1s"),
        ] {
            setup = setup.with(name, value);
        }
        setup
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the connector by this command, which takes it as its last arguments.
    pub(crate) fn by(mut self, program: &[&str]) -> Self {
        self.program = program.iter().map(|&it| it.to_owned()).collect();
        self
    }

    pub(crate) fn start(&self) -> Connector {
        let admin = HeldPort::free();
        let log = folder().join("connector.log");
        let file = std::fs::File::create(&log).unwrap();
        let binary = env!("CARGO_BIN_EXE_mqtt-connector").to_owned();
        let mut words = self.program.iter().chain([&binary]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .envs(self.env.iter().cloned())
            .env("admin_port", admin.port().to_string());
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Connector { child, admin, log }
    }

    /// Starts it, and waits until it is ready.
    pub(crate) async fn ready(&self) -> Connector {
        let connector = self.start();
        connector.wait_ready().await;
        connector
    }
}

/// A running connector.
pub(crate) struct Connector {
    child: Child,
    admin: HeldPort,
    log: PathBuf,
}

impl Connector {
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Status and body of one of its pages.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut connection = TcpStream::connect(self.admin.address()).ok()?;
        write!(connection, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        let status = answer.get(9..12)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    pub(crate) fn readiness(&self) -> String {
        self.get("/readyz").map(|(status, body)| format!("{status} {body}")).unwrap_or_default()
    }

    pub(crate) async fn wait_ready(&self) {
        let is_ready = || self.readiness().starts_with("200");
        wait_until("the connector is ready", is_ready, || self.readiness() + &self.log()).await;
    }

    pub(crate) async fn wait_unready(&self, because: &str) {
        let is_unready = || {
            let readiness = self.readiness();
            readiness.starts_with("503") && readiness.contains(because)
        };
        wait_until(because, is_unready, || self.readiness() + &self.log()).await;
    }

    /// The value of a metric, by its name with labels as the page has it; 0 if it is not there.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, page) = self.get("/metrics").unwrap();
        value(&page, name)
    }

    pub(crate) async fn wait_for_metric(&self, name: &str, value: u64) {
        let reached = || self.metric(name) == value;
        let account = || format!("{name} is {}\n{}", self.metric(name), self.log());
        wait_until(&format!("{name} is {value}"), reached, account).await;
    }

    pub(crate) async fn wait_for_log(&self, text: &str) {
        wait_until(text, || self.log().contains(text), || self.log()).await;
    }

    /// Every delivery has been accounted for.
    pub(crate) fn check_books(&self) {
        let (_, page) = self.get("/metrics").unwrap();
        let came =
            |outcome| value(&page, &format!("tributary_events_total{{outcome=\"{outcome}\"}}"));
        let outcomes =
            ["delivered", "dead_lettered", "dropped", "unmatched", "repeated", "released"];
        let ended: u64 = outcomes.into_iter().map(came).sum();
        let in_flight = value(&page, "tributary_events_in_flight");
        assert_eq!(value(&page, "tributary_events_received_total"), ended + in_flight);
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Stops it where it is, until [`thaw`](Self::thaw).
    pub(crate) async fn freeze(&self) {
        self.signal("-STOP");
        let status = format!("/proc/{}/status", self.child.id());
        let is_frozen = || std::fs::read_to_string(&status).unwrap().contains("State:\tT");
        wait_until("the connector is frozen", is_frozen, || self.log()).await;
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits for its end; the exit code.
    pub(crate) async fn ended(mut self) -> i32 {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap();
            }
            assert!(began.elapsed() < PATIENCE, "it does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn stop(self) -> i32 {
        self.terminate();
        self.ended().await
    }
}

fn value(page: &str, name: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    page.lines().find_map(value).unwrap_or(0)
}

impl Drop for Connector {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the connector's log:\n{}", self.log());
        }
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
