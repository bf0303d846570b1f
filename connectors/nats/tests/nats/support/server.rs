//! Servers, and what a test does with their streams.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Once;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, pull};
use async_nats::jetstream::stream::{self, RetentionPolicy, Stream};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions};
use dev_gateway::HeldPort;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{directory, until, until_is};

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
    port: HeldPort,
    /// The port for the other servers of its cluster.
    _route: Option<HeldPort>,
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
        let mut server = Self::new(None);
        server.configure(more);
        server.up().await;
        server
    }

    /// Three servers that share their streams.
    pub(crate) async fn cluster() -> [Self; 3] {
        let routes: [HeldPort; 3] = std::array::from_fn(|_| HeldPort::free());
        let all = routes.each_ref().map(|route| format!("\"nats://{}\"", route.address()));
        let mut servers = Vec::new();
        for (n, route) in routes.into_iter().enumerate() {
            let cluster = format!(
                "server_name: n{n}\ncluster {{ name: c, listen: \"{}\", routes: [{}] }}",
                route.address(),
                all.join(", ")
            );
            let server = Self::new(Some(route));
            server.configure(&cluster);
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

    fn new(route: Option<HeldPort>) -> Self {
        let (port, directory) = (HeldPort::free(), directory());
        Self { port, _route: route, directory, child: None, client: None }
    }

    pub(crate) fn configure(&self, more: &str) {
        let (address, data) = (self.port.address(), self.directory.join("data"));
        let config = format!(
            "listen: \"{address}\"\njetstream {{ store_dir: \"{}\", sync_interval: always }}\n{more}\n",
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
        let address = self.port.address();
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

    pub(crate) fn port(&self) -> u16 {
        self.port.port()
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
        self.port.address().to_string()
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
        let mut stream = tokio::net::TcpStream::connect(self.port.address()).await.unwrap();
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
