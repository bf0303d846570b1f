//! A server, a gateway and connectors for one test, and ways to wait for states.

use std::fmt::Debug;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use async_nats::jetstream::consumer::{self, pull};
use async_nats::jetstream::stream::{self, RetentionPolicy, Stream};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions};
use dev_gateway::{Config, DevGateway, Function};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// How long a test waits for a state before it gives up. Long: it only bounds a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// Looks again and again until `look` gives something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Looks again and again until what it sees is `wanted`.
pub(crate) async fn until_is<T: PartialEq + Debug>(
    what: &str,
    wanted: T,
    mut look: impl AsyncFnMut() -> T,
) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look().await;
        if seen == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{what} should be {wanted:?} and is {seen:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A new directory of this test's own.
pub(crate) fn directory() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(std::fs::remove_dir_all(&directory));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// Writes a file, and gives its path.
pub(crate) fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The connector's binary: the one that was built with this test, or, for proofs and figures, the
/// one that is shipped, which has to be built beforehand.
fn connector() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_nats-connector"));
    if std::env::var_os("TEST_RELEASED_BINARIES").is_none() {
        return built.to_owned();
    }
    let target = built.ancestors().nth(2).unwrap();
    target.join("release").join(built.file_name().unwrap())
}

/// The server's binary, fetched once.
fn binary() -> PathBuf {
    static FETCH: Once = Once::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    FETCH.call_once(|| {
        let script = root.join("tests/brokers/nats.sh");
        let fetched = std::process::Command::new(script).arg("fetch").status().unwrap();
        assert!(fetched.success(), "tests/brokers/nats.sh fetch failed");
    });
    let folder = std::fs::read_dir(root.join("var/nats")).unwrap();
    let mut files = folder.map(|entry| entry.unwrap().path());
    files
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("nats-server-"))
        .unwrap()
}

/// A server with a store of its own.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) directory: PathBuf,
    child: Option<Child>,
    client: Option<Client>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// With further lines of configuration.
    pub(crate) async fn with(more: &str) -> Self {
        let (port, directory) = (free_port(), directory());
        let mut server = Self { port, directory, child: None, client: None };
        server.configure(more);
        server.up().await;
        server
    }

    /// Three servers that share their streams.
    pub(crate) async fn cluster() -> [Self; 3] {
        let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let all: Vec<_> =
            routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let mut servers = Vec::new();
        for (n, route) in routes.iter().enumerate() {
            let (port, directory) = (free_port(), directory());
            let server = Self { port, directory, child: None, client: None };
            server.configure(&format!(
                "server_name: n{n}\ncluster {{ name: c, listen: \"127.0.0.1:{route}\", routes: [{}] }}",
                all.join(", ")
            ));
            servers.push(server);
        }
        for server in &mut servers {
            server.spawn();
        }
        for server in &mut servers {
            server.served().await;
        }
        servers.try_into().ok().unwrap()
    }

    pub(crate) fn configure(&self, more: &str) {
        let (port, data) = (self.port, self.directory.join("data"));
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\", sync_interval: always }}\n{more}\n",
            data.display()
        );
        std::fs::write(self.directory.join("server.conf"), config).unwrap();
    }

    /// Starts it, or starts it again with the data and the port it had.
    pub(crate) async fn up(&mut self) {
        self.spawn();
        self.served().await;
    }

    fn spawn(&mut self) {
        let mut log = std::fs::OpenOptions::new();
        let log = log.create(true).append(true).open(self.directory.join("server.log")).unwrap();
        let child = Command::new(binary())
            .arg("--config")
            .arg(self.directory.join("server.conf"))
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    async fn served(&mut self) {
        let address = ("127.0.0.1", self.port);
        until("the server", async || {
            let stream = tokio::net::TcpStream::connect(address).await.ok()?;
            let mut line = String::new();
            let mut stream = BufReader::new(stream);
            let greeting = stream.read_line(&mut line);
            match tokio::time::timeout(Duration::from_millis(300), greeting).await {
                Ok(read) => read.is_ok_and(|_| line.starts_with("INFO")).then_some(()),
                // It waits for us to speak first, in TLS.
                Err(_) => Some(()),
            }
        })
        .await;
    }

    pub(crate) async fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().await.unwrap();
    }

    /// Ends it in good order.
    pub(crate) async fn stop(&mut self) {
        self.signal("-TERM").await;
        self.child.take().unwrap().wait().await.unwrap();
    }

    /// Lets it hang, with its connections open.
    pub(crate) async fn pause(&self) {
        self.signal("-STOP").await;
    }

    pub(crate) async fn resume(&self) {
        self.signal("-CONT").await;
    }

    /// Makes it read its configuration again.
    pub(crate) async fn reload(&self) {
        self.signal("-HUP").await;
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().unwrap();
        let told = Command::new("kill").args([signal, &pid.to_string()]).status().await.unwrap();
        assert!(told.success());
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A client without credentials; one for the test.
    pub(crate) async fn client(&mut self) -> Client {
        if self.client.is_none() {
            self.client = Some(async_nats::connect(self.address()).await.unwrap());
        }
        self.client.clone().unwrap()
    }

    /// What the test does from now on, it does as this user.
    pub(crate) async fn log_in(&mut self, user: &str, password: &str) {
        self.client = Some(self.client_as(user, password).await);
    }

    pub(crate) async fn client_as(&self, user: &str, password: &str) -> Client {
        let options = ConnectOptions::with_user_and_password(user.into(), password.into());
        options.connect(self.address()).await.unwrap()
    }

    pub(crate) async fn context(&mut self) -> Context {
        jetstream::new(self.client().await)
    }

    /// A stream that keeps `subjects`.
    pub(crate) async fn stream(&mut self, name: &str, subjects: &[&str]) -> Stream {
        self.stream_with(stream::Config {
            name: name.to_owned(),
            subjects: subjects.iter().map(|&it| it.to_owned()).collect(),
            ..Default::default()
        })
        .await
    }

    pub(crate) async fn stream_with(&mut self, config: stream::Config) -> Stream {
        let context = self.context().await;
        // A cluster may still be choosing its leader.
        until("the stream", async || context.create_stream(config.clone()).await.ok()).await
    }

    /// Publishes bytes that no client library would: `head` is the headers, their first line and
    /// the blank one at the end included.
    pub(crate) async fn publish_raw(&self, subject: &[u8], head: &[u8], payload: &[u8]) {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (header, total) = (head.len(), head.len() + payload.len());
        let mut sent = b"CONNECT {\"verbose\":false,\"headers\":true}\r\nHPUB ".to_vec();
        sent.extend(subject);
        sent.extend(format!(" {header} {total}\r\n").as_bytes());
        sent.extend([head, payload, b"\r\nPING\r\n"].concat());
        stream.write_all(&sent).await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        while lines.next_line().await.unwrap().unwrap() != "PONG" {}
    }

    pub(crate) async fn publish(&mut self, subject: &str, payload: impl Into<bytes::Bytes>) -> u64 {
        let context = self.context().await;
        let ack = context.publish(subject.to_owned(), payload.into()).await.unwrap();
        ack.await.unwrap().sequence
    }
}

/// A pull consumer as a careful operator makes it.
pub(crate) fn pull_consumer(name: &str) -> pull::Config {
    pull::Config {
        durable_name: Some(name.to_owned()),
        ack_policy: consumer::AckPolicy::Explicit,
        ack_wait: Duration::from_secs(30),
        max_deliver: -1,
        ..Default::default()
    }
}

pub(crate) fn work_queue(name: &str, subject: &str) -> stream::Config {
    stream::Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        retention: RetentionPolicy::WorkQueue,
        ..Default::default()
    }
}

/// Waits until a consumer has nothing left: nothing to deliver, nothing unacknowledged.
pub(crate) async fn until_empty(stream: &Stream, consumer: &str) {
    until_is("pending and unacknowledged", (0, 0), async || {
        let info = stream.consumer_info(consumer).await.unwrap();
        (info.num_pending, info.num_ack_pending)
    })
    .await;
}

/// The consumers that the connector has created on a stream.
pub(crate) async fn consumers(stream: &Stream) -> Vec<consumer::Info> {
    use futures_util::TryStreamExt as _;
    stream.consumers().try_collect().await.unwrap()
}

/// A gateway of the test's own.
pub(crate) async fn gateway(functions: impl IntoIterator<Item = Function>) -> DevGateway {
    let gateway = DevGateway::start(Config::default()).await.unwrap();
    for function in functions {
        gateway.deploy(function);
    }
    gateway
}

/// A connector's process.
pub(crate) struct Connector {
    child: Child,
    admin: String,
    log: Arc<Mutex<Vec<String>>>,
    http: reqwest::Client,
}

impl Connector {
    /// Starts one and waits until it is ready.
    pub(crate) async fn ready(server: &Server, gateway: &DevGateway, env: &[(&str, &str)]) -> Self {
        let connector = Self::start(&server.address(), gateway, env);
        connector.until_ready().await;
        connector
    }

    pub(crate) fn start(servers: &str, gateway: &DevGateway, env: &[(&str, &str)]) -> Self {
        Self::start_by(Command::new(connector()), servers, gateway, env)
    }

    /// Starts one by a command that becomes the connector.
    fn start_by(
        mut command: Command,
        servers: &str,
        gateway: &DevGateway,
        env: &[(&str, &str)],
    ) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let port = free_port();
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("broker_host", servers)
            .env("gateway_url", gateway.url())
            .env("rebuild_interval", "200ms")
            .env("asynchronous_invocation", "false")
            .env("admin_port", port.to_string())
            .env("initial_retry_wait", "50ms")
            .env("max_retry_wait", "1s")
            .env("grace_period", "12s");
        for (name, value) in env {
            command.env(name, value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        keep(child.stdout.take().unwrap(), &log);
        keep(child.stderr.take().unwrap(), &log);
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Self { child, admin: format!("http://127.0.0.1:{port}"), log, http }
    }

    /// Starts one that resolves names by a hosts file of its own.
    pub(crate) fn with_hosts(
        hosts: &Path,
        servers: &str,
        gateway: &DevGateway,
        env: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", "mount --bind $0 /etc/hosts && exec $1"]);
        command.arg(hosts).arg(connector());
        Self::start_by(command, servers, gateway, env)
    }

    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = self.http.get(format!("{}{path}", self.admin)).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    }

    pub(crate) async fn until_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.get("/readyz").await;
            if matches!(seen, Some((200, _))) {
                return;
            }
            assert!(Instant::now() < deadline, "not ready: {seen:?}\n{}", self.log().join("\n"));
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it is not ready, for a reason that contains `why`.
    pub(crate) async fn until_unready(&self, why: &str) {
        until(&format!("not ready because of {why:?}"), async || {
            let (status, text) = self.get("/readyz").await?;
            (status != 200 && text.contains(why)).then_some(())
        })
        .await;
    }

    pub(crate) async fn status(&self) -> serde_json::Value {
        let (_, text) = self.get("/status").await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until the status page says `what` somewhere.
    pub(crate) async fn until_status_says(&self, what: &str) {
        until(&format!("a status that says {what:?}"), async || {
            self.status().await.to_string().contains(what).then_some(())
        })
        .await;
    }

    /// A metric by its line up to the value; 0 if it is not there.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let (_, page) = self.get("/metrics").await.unwrap();
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
    }

    pub(crate) async fn came(&self, outcome: &str) -> u64 {
        self.metric(&format!("tributary_events_total{{outcome=\"{outcome}\"}}")).await
    }

    /// Checks that every delivery has been counted once.
    pub(crate) async fn balanced(&self) {
        let outcomes =
            ["delivered", "dead_lettered", "dropped", "unmatched", "repeated", "released"];
        let mut ended = self.metric("tributary_events_in_flight").await;
        for outcome in outcomes {
            ended += self.came(outcome).await;
        }
        assert_eq!(self.metric("tributary_events_received_total").await, ended);
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn lines_with(&self, what: &str) -> usize {
        self.log().iter().filter(|line| line.contains(what)).count()
    }

    pub(crate) async fn until_logged(&self, what: &str) {
        until(&format!("a line with {what:?}"), async || (self.lines_with(what) > 0).then_some(()))
            .await;
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Asks it to stop and waits for its end.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.ended().await
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it did not end:\n{}", self.log().join("\n"))).unwrap()
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the connector's log\n{}", self.log().join("\n"));
        }
    }
}

fn keep(output: impl tokio::io::AsyncRead + Unpin + Send + 'static, log: &Arc<Mutex<Vec<String>>>) {
    let log = Arc::clone(log);
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            log.lock().unwrap().push(line);
        }
    });
}
