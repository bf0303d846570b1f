//! The settings in librdkafka's words.

use std::path::PathBuf;
use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use tokio::task::{JoinError, spawn_blocking};

use super::{KafkaConfig, Login};
use crate::login::Proof;

/// One partition's share of what librdkafka may hold fetched, in KiB. Its own check is for each
/// partition apart once queues are split, and one fetch may overshoot it.
const QUEUED_KIB: i64 = 256;

/// The most asked for from one partition at a time, whatever `max_bytes` allows: librdkafka adds
/// some 400 bytes to each record that it holds, and keeps an answer until its last record is taken,
/// while the next is on its way. Twice as much was no faster. The broker sends a record that is
/// larger all the same, alone.
const FETCHED_AT_ONCE: i64 = 128 * 1024;

/// How long the broker may take for one dead letter before it counts as not stored, in ms.
const STORE_MS: &str = "30000";

/// How long a topic for dead letters may be unknown before that is told, in ms. With the default of
/// 30 seconds a name that is simply wrong would look like a slow broker for as long.
const UNKNOWN_TOPIC_MS: &str = "5000";

/// What the files of TLS hold at one time; only good to see that it has changed. librdkafka reads
/// the files itself, and only when a client is made.
#[derive(PartialEq, Eq)]
pub(crate) struct Files(Vec<Option<Vec<u8>>>);

impl KafkaConfig {
    /// Reads the files of TLS. Blocks as long as the file system does.
    pub(crate) fn files(&self) -> Files {
        let read = |path: &Option<PathBuf>| path.as_ref().and_then(|path| std::fs::read(path).ok());
        Files([&self.ca_file, &self.cert_file, &self.key_file].map(read).into())
    }

    /// Reads the files of TLS beside the tasks that run.
    pub(crate) async fn read_files(self: &Arc<Self>) -> Result<Files, JoinError> {
        let reading = Arc::clone(self);
        spawn_blocking(move || reading.files()).await
    }

    /// Whether the member keeps its place in the group while it is away.
    pub(crate) fn is_static(&self) -> bool {
        self.group_instance_id.is_some()
    }

    /// The properties of the consumer.
    pub(crate) fn consumer(&self, proof: &Proof) -> ClientConfig {
        let mut properties = self.common(proof);
        properties
            .set("group.id", &self.group)
            .set("max.poll.interval.ms", self.max_poll_interval.as_millis().to_string())
            // One committer, explicit commits: a verdict moves the offset, nothing else.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Where to begin is resolved by us. An offset that is out of range must not be
            // mended silently.
            .set("auto.offset.reset", "error")
            .set("isolation.level", self.isolation_level)
            // Tells where the log ends when its last offsets hold nothing for us.
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("statistics.interval.ms", "10000")
            .set("fetch.message.max.bytes", self.max_bytes.min(FETCHED_AT_ONCE).to_string())
            .set("fetch.max.bytes", self.fetch_bytes().to_string())
            .set("receive.message.max.bytes", (self.fetch_bytes() + 1024 * 1024).to_string())
            .set("queued.max.messages.kbytes", QUEUED_KIB.to_string())
            // The default of a second lets a fast lane run dry each time its queue was full.
            .set("fetch.queue.backoff.ms", "50");
        if self.group_protocol.is_consumer() {
            // What is set for the classic protocol is the broker's to decide now, and refused.
            properties.set("group.protocol", "consumer");
        } else {
            let session = self.session_timeout.as_millis();
            properties
                .set("partition.assignment.strategy", self.assignor)
                .set("session.timeout.ms", session.to_string())
                .set("heartbeat.interval.ms", (session / 3).max(1).to_string());
        }
        if let Some(id) = &self.group_instance_id {
            properties.set("group.instance.id", id);
        }
        properties
    }

    /// The properties of the producer of dead letters.
    pub(crate) fn producer(&self, proof: &Proof) -> ClientConfig {
        let mut properties = self.common(proof);
        properties
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", STORE_MS)
            .set("topic.metadata.propagation.max.ms", UNKNOWN_TOPIC_MS)
            // A record that was received must fit, whatever its size; the broker decides.
            .set("message.max.bytes", "1000000000")
            .set("queue.buffering.max.kbytes", "65536")
            // The broker judges a batch by its size: what it says must be about this letter.
            .set("batch.num.messages", "1")
            // As Java clients choose partitions, so that equal keys stay together.
            .set("partitioner", "murmur2_random");
        properties
    }

    fn common(&self, proof: &Proof) -> ClientConfig {
        let mut properties = ClientConfig::new();
        properties
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "tributary-kafka-connector")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "5000")
            .set("socket.keepalive.enable", "true");
        // rdkafka would take it from the `log` crate, which nobody here has set up.
        properties.set_log_level(RDKafkaLogLevel::Info);
        let protocol = match (self.tls, proof.is_needed()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        };
        properties.set("security.protocol", protocol);
        proof.set(&mut properties);
        if self.tls {
            let path = |path: &PathBuf| path.to_string_lossy().into_owned();
            // Unset, only the directory that the vendored OpenSSL was built with would be looked at.
            let ca = self.ca_file.clone().or_else(public_authorities);
            let ca = ca.as_ref().map_or_else(|| "probe".to_owned(), path);
            properties.set("ssl.ca.location", ca);
            if let (Some(cert), Some(key)) = (&self.cert_file, &self.key_file) {
                properties.set("ssl.certificate.location", path(cert));
                properties.set("ssl.key.location", path(key));
            }
            if !self.verify_ssl {
                properties
                    .set("enable.ssl.certificate.verification", "false")
                    .set("ssl.endpoint.identification.algorithm", "none");
            }
        }
        properties
    }

    /// Whether OpenSSL is used: for TLS, and for the hashes of SCRAM.
    pub(crate) fn uses_openssl(&self) -> bool {
        self.tls || !matches!(self.login, Login::Open)
    }

    /// The most bytes of one fetch over all its partitions.
    fn fetch_bytes(&self) -> i64 {
        self.max_bytes.max(4 * 1024 * 1024)
    }
}

/// The file that names the machine's authorities to programs in Go, and to our client of the
/// gateway. `None`: the usual places are looked at.
fn public_authorities() -> Option<PathBuf> {
    std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from)
}
