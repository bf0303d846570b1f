//! What every test stands on: the broker, queues, and connectors as processes.

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{
    Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
};
use dev_gateway::{Config, DevGateway, Function};
use tokio::process::Child;

/// How long anything may take to come about before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The shared broker, started if it does not run: `http://127.0.0.1:19324`.
pub(crate) fn broker() -> &'static str {
    static ENDPOINT: OnceLock<String> = OnceLock::new();
    ENDPOINT.get_or_init(|| broker_script(&["up"]))
}

/// Runs the broker's script; returns the endpoint that it names.
pub(crate) fn broker_script(arguments: &[&str]) -> String {
    let text = broker_output(arguments);
    let address = text.lines().find_map(|line| line.strip_prefix("ADDRESS=")).unwrap_or_default();
    format!("http://{address}")
}

/// Runs the broker's script; returns what it prints.
pub(crate) fn broker_output(arguments: &[&str]) -> String {
    let script = repository().join("tests/brokers/elasticmq.sh");
    let output = Command::new(&script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A name that no other test and no earlier run has used.
pub(crate) fn unique(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{stem}-{}-{}-{n}", std::process::id(), now.as_millis() % 1_000_000_000)
}

/// A client for plain HTTP.
pub(crate) fn http() -> reqwest::Client {
    // Another test of this process may have installed it.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::new()
}

pub(crate) fn client(endpoint: &str) -> Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_sqs::config::Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
        .http_client(http)
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

/// One queue at the broker.
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) url: String,
    client: Client,
}

impl Queue {
    pub(crate) async fn standard(stem: &str) -> Self {
        Self::create(broker(), &unique(stem), &[]).await
    }

    pub(crate) async fn fifo(stem: &str) -> Self {
        let fifo = [(QueueAttributeName::FifoQueue, "true")];
        Self::create(broker(), &format!("{}.fifo", unique(stem)), &fifo).await
    }

    pub(crate) async fn create(
        endpoint: &str,
        name: &str,
        attributes: &[(QueueAttributeName, &str)],
    ) -> Self {
        let client = client(endpoint);
        let mut request = client.create_queue().queue_name(name);
        for (attribute, value) in attributes {
            request = request.attributes(attribute.clone(), *value);
        }
        let url = request.send().await.unwrap().queue_url.unwrap();
        Self { name: name.to_owned(), url, client }
    }

    /// Moves messages to another queue after so many deliveries.
    pub(crate) async fn redrive(&self, to: &str, deliveries: u32) {
        let policy = format!(
            r#"{{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:000000000000:{to}","maxReceiveCount":"{deliveries}"}}"#
        );
        let request = self.client.set_queue_attributes().queue_url(&self.url);
        request.attributes(QueueAttributeName::RedrivePolicy, policy).send().await.unwrap();
    }

    pub(crate) async fn send(&self, body: &str) -> String {
        let sent = self.client.send_message().queue_url(&self.url).message_body(body);
        sent.send().await.unwrap().message_id.unwrap()
    }

    pub(crate) async fn send_all(&self, bodies: impl IntoIterator<Item = String>) {
        use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
        let bodies: Vec<String> = bodies.into_iter().collect();
        for batch in bodies.chunks(10) {
            let entries = batch.iter().enumerate().map(|(at, body)| {
                let entry = SendMessageBatchRequestEntry::builder().id(at.to_string());
                entry.message_body(body).build().unwrap()
            });
            let request = self.client.send_message_batch().queue_url(&self.url);
            let sent = request.set_entries(Some(entries.collect())).send().await.unwrap();
            assert!(sent.failed.is_empty(), "{:?}", sent.failed);
        }
    }

    pub(crate) async fn send_with(
        &self,
        body: &str,
        attributes: impl IntoIterator<Item = (&str, MessageAttributeValue)>,
    ) {
        let mut request = self.client.send_message().queue_url(&self.url).message_body(body);
        for (name, value) in attributes {
            request = request.message_attributes(name, value);
        }
        request.send().await.unwrap();
    }

    pub(crate) async fn send_to_group(&self, group: &str, body: &str) {
        let request = self.client.send_message().queue_url(&self.url).message_body(body);
        let request = request.message_group_id(group).message_deduplication_id(unique("d"));
        request.send().await.unwrap();
    }

    /// How many messages are waiting, and how many are lent to somebody.
    pub(crate) async fn counts(&self) -> (u32, u32) {
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(QueueAttributeName::All)
            .send()
            .await
            .unwrap();
        let count = |name| answer.attributes().unwrap()[&name].parse::<u32>().unwrap();
        (
            count(QueueAttributeName::ApproximateNumberOfMessages),
            count(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
        )
    }

    /// Waits until no message is left, waiting or lent.
    pub(crate) async fn wait_until_empty(&self) {
        self.wait_until_empty_within(PATIENCE).await;
    }

    pub(crate) async fn wait_until_empty_within(&self, patience: Duration) {
        let mut last = (0, 0);
        let empty = async {
            loop {
                last = self.counts().await;
                if last == (0, 0) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(patience, empty).await.is_err() {
            panic!("queue {}: {} waiting and {} lent are left", self.name, last.0, last.1);
        }
    }

    /// Sends numbers; with groups `<group>:<n>`, n counting up within each.
    pub(crate) async fn fill(&self, numbers: std::ops::Range<usize>, groups: Option<usize>) {
        use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
        for first in numbers.clone().step_by(10) {
            let entries = (first..numbers.end.min(first + 10)).map(|n| {
                let entry = SendMessageBatchRequestEntry::builder().id(n.to_string());
                let entry = match groups {
                    None => entry.message_body(n.to_string()),
                    Some(groups) => {
                        let (group, n_of_group) = (n % groups, n / groups);
                        entry
                            .message_body(format!("{group}:{n_of_group}"))
                            .message_group_id(group.to_string())
                            .message_deduplication_id(n.to_string())
                    }
                };
                entry.build().unwrap()
            });
            let request = self.client.send_message_batch().queue_url(&self.url);
            let sent = request.set_entries(Some(entries.collect())).send().await.unwrap();
            assert!(sent.failed.is_empty(), "{:?}", sent.failed);
        }
    }

    /// Receives one message, waiting for it.
    pub(crate) async fn receive(&self) -> Message {
        let look = async {
            loop {
                // Short waits: ElasticMQ tells a receive that waits of what is sent, not of what
                // another queue's policy moves here.
                let request = self.client.receive_message().queue_url(&self.url);
                let request = request
                    .wait_time_seconds(1)
                    .message_attribute_names("All")
                    .message_system_attribute_names(MessageSystemAttributeName::All);
                let messages = request.send().await.unwrap().messages.unwrap_or_default();
                if let Some(message) = messages.into_iter().next() {
                    return message;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(message) => message,
            Err(_) => panic!("queue {} has no message", self.name),
        }
    }

    pub(crate) async fn delete_queue(&self) {
        self.client.delete_queue().queue_url(&self.url).send().await.unwrap();
    }
}

pub(crate) fn text(value: &str) -> MessageAttributeValue {
    let value = MessageAttributeValue::builder().data_type("String").string_value(value);
    value.build().unwrap()
}

/// A gateway with one function for one topic.
pub(crate) async fn gateway(function: &str, topic: &str) -> DevGateway {
    let config = Config { remember_bodies: 2 << 20, ..Config::default() };
    let gateway = DevGateway::start(config).await.unwrap();
    gateway.deploy(Function::named(function).topic(topic));
    gateway
}

/// How a connector is started.
#[derive(Clone)]
pub(crate) struct Setup {
    env: HashMap<String, String>,
    arguments: Vec<String>,
}

impl Setup {
    /// One that calls the functions of `gateway` with messages from the shared broker.
    pub(crate) fn new(gateway: &DevGateway) -> Self {
        let mut setup = Self { env: HashMap::new(), arguments: Vec::new() };
        for (name, value) in [
            ("gateway_url", &*gateway.url()),
            ("endpoint_url", broker()),
            ("rebuild_interval", "200ms"),
            ("unmap_after", "1s"),
            ("initial_retry_wait", "100ms"),
            ("max_retry_wait", "1s"),
            ("wait_time", "2s"),
            ("log_encoding", "console"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ] {
            setup.env.insert(name.to_owned(), value.to_owned());
        }
        setup
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.arguments.push(flag.to_owned());
        self
    }

    /// Starts it. It may not be ready yet.
    pub(crate) async fn start(&self) -> Connector {
        let port = {
            // Bound and let go: the next to ask gets another.
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let log = repository().join("var/sqs-tests");
        std::fs::create_dir_all(&log).unwrap();
        let log = log.join(format!("{}.log", unique("connector")));
        let file = std::fs::File::create(&log).unwrap();
        let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_sqs-connector"))
            .env_clear()
            .envs(&self.env)
            .env("admin_port", port.to_string())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Connector { child, http: http(), port, log }
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn ready(&self) -> Connector {
        let connector = self.start().await;
        connector.wait_until_ready().await;
        connector
    }
}

/// A connector's process.
pub(crate) struct Connector {
    child: Child,
    http: reqwest::Client,
    port: u16,
    log: PathBuf,
}

impl Connector {
    async fn page(&self, path: &str) -> Option<(u16, String)> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let answer = self.http.get(url).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    pub(crate) async fn wait_until_ready(&self) {
        self.wait_for("it to be ready", async || {
            self.page("/readyz").await.is_some_and(|(status, _)| status == 200)
        })
        .await;
    }

    /// Waits until the process is not ready for a reason that contains `why`.
    pub(crate) async fn wait_until_unready(&self, why: &str) {
        self.wait_for(&format!("it not to be ready for: {why}"), async || {
            let page = self.page("/readyz").await;
            page.is_some_and(|(status, text)| status != 200 && text.contains(why))
        })
        .await;
    }

    /// Waits until a line of the log contains `text`.
    pub(crate) async fn wait_for_log(&self, text: &str) {
        self.wait_for(&format!("a line of the log with: {text}"), async || {
            self.log().contains(text)
        })
        .await;
    }

    pub(crate) async fn wait_for(&self, what: &str, mut reached: impl AsyncFnMut() -> bool) {
        let wait = async {
            while !reached().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let ready = self.page("/readyz").await;
            panic!("waited for {what}; readyz: {ready:?}; its log:\n{}", self.log());
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A number of `/metrics`; 0 where there is none yet.
    pub(crate) async fn metric(&self, line: &str) -> u64 {
        let (_, page) = self.page("/metrics").await.expect("it serves its metrics");
        metric(&page, line)
    }

    /// How many deliveries came to `outcome`.
    pub(crate) async fn came(&self, outcome: &str) -> u64 {
        self.metric(&format!("tributary_events_total{{outcome=\"{outcome}\"}}")).await
    }

    /// Checks that each delivery was counted once (invariant 14).
    pub(crate) async fn check_counts(&self) {
        let (_, page) = self.page("/metrics").await.expect("it serves its metrics");
        let outcomes =
            ["delivered", "dead_lettered", "dropped", "unmatched", "repeated", "released"];
        let came: u64 = outcomes
            .iter()
            .map(|it| metric(&page, &format!("tributary_events_total{{outcome=\"{it}\"}}")))
            .sum();
        let in_flight = metric(&page, "tributary_events_in_flight");
        assert_eq!(metric(&page, "tributary_events_received_total"), came + in_flight, "{page}");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Asks it to stop, without waiting.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Waits for its end; returns the exit code.
    pub(crate) async fn ended(mut self) -> i32 {
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.unwrap().code().unwrap_or(-1),
            Err(_) => panic!("it does not end; its log:\n{}", self.log()),
        }
    }

    /// Checks its counts and stops it in good order.
    pub(crate) async fn stop(self) {
        self.check_counts().await;
        self.terminate();
        let log = self.log.clone();
        let code = self.ended().await;
        assert_eq!(code, 0, "{}", std::fs::read_to_string(log).unwrap_or_default());
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

fn metric(page: &str, line: &str) -> u64 {
    let value = page.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}
