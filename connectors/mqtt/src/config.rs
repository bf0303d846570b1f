//! The settings of the MQTT connector.
//!
//! The names marked as upstream's are those of the connector this one replaces, and are read as
//! tolerantly as there. File contents (passwords, certificates) are no settings: they are read at
//! each connect, and the process waits for them to be right.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connector_core::fingerprint;
use connector_core::secret::{Secret, SecretError, SecretFile};
use connector_core::settings::{Form, Origin, Setting, Values};
use connector_core::source::SourceConfig;

use crate::broker_url::BrokerUrl;
use crate::filter::Filter;
use crate::past::Past;
use crate::subscribed::Subscribed;

/// What a password reads as where a user stands without one, or the other way round.
pub(crate) type Credentials = Option<(Secret, Secret)>;

/// The settings of the MQTT connector, validated.
#[derive(Debug)]
pub struct MqttConfig {
    pub(crate) broker: BrokerUrl,
    /// What is consumed by order; empty: what the annotations ask for.
    pub(crate) filters: Vec<Filter>,
    id: String,
    replica: u32,
    user: Option<Secret>,
    password: Option<Secret>,
    username_file: Option<SecretFile>,
    password_file: Option<SecretFile>,
    pub(crate) clean: bool,
    pub(crate) qos: QualityOfService,
    pub(crate) trim_channel_key: bool,
    pub(crate) protocol: Protocol,
    pub(crate) session_expiry: Duration,
    pub(crate) receive_maximum: u16,
    pub(crate) max_packet_bytes: usize,
    pub(crate) keep_alive: Duration,
    pub(crate) ca_file: Option<PathBuf>,
    /// The client's certificate and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    gateway_user: Option<String>,
    gateway_password: Option<Secret>,
    pub(crate) subscribed: Subscribed,
    /// The sessions of annotations. Here for the same reason: they outlive a connection.
    past: Mutex<Past>,
}

/// Which version of the protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// 3.1.1, which calls itself 4 on the wire.
    V4,
    V5,
}

/// What is asked of the broker. There is no third level: a function's answer has no second half
/// that the handshake of QoS 2 could wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QualityOfService {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
}

impl MqttConfig {
    /// The client id of this replica, which no other client may use.
    pub(crate) fn client_id(&self) -> String {
        match self.replica {
            0 => self.id.clone(),
            replica => format!("{}-{replica}", self.id),
        }
    }

    /// The client id of a filter's session. The first configured filter has the plain one, which
    /// upstream's session has had; the others have one that their text decides, so that the
    /// session is found again after a restart.
    pub(crate) fn client_id_of(&self, filter: &Filter) -> String {
        let id = self.client_id();
        if self.filters.first() == Some(filter) {
            id
        } else {
            format!("{id}.{}", short_hash(filter.text()))
        }
    }

    /// The client id of what publishes the dead letters of one topic.
    pub(crate) fn client_id_of_letters(&self, topic: &str) -> String {
        format!("{}.letters-{}", self.client_id(), short_hash(topic))
    }

    /// Whether the broker keeps what arrives while a session is disconnected.
    pub(crate) fn keeps_sessions(&self) -> bool {
        !self.clean && self.qos == QualityOfService::AtLeastOnce
    }

    /// The sessions that annotations have asked for.
    pub(crate) fn past(&self) -> MutexGuard<'_, Past> {
        // Each of its steps leaves something true: a panic elsewhere cannot tear it.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// User and password as they are now: files are read anew.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn credentials(&self) -> Result<Credentials, SecretError> {
        let read = |file: &Option<SecretFile>, given: &Option<Secret>| match file {
            Some(file) => file.read().map(Some),
            None => Ok(given.clone()),
        };
        let user = read(&self.username_file, &self.user)?;
        let password = read(&self.password_file, &self.password)?;
        Ok(match (user, password) {
            (None, None) => None,
            (user, password) => {
                let empty = || Secret::new("");
                Some((user.unwrap_or_else(empty), password.unwrap_or_else(empty)))
            }
        })
    }
}

/// Ten hexadecimal digits that tell texts apart in client ids.
fn short_hash(text: &str) -> String {
    format!("{:010x}", fingerprint(text) >> 24)
}

impl SourceConfig for MqttConfig {
    const SETTINGS: &'static [Setting] = SETTINGS;

    fn read(values: &mut Values) -> Self {
        let url = values.text("broker").unwrap_or_default();
        let broker = BrokerUrl::parse(&url).unwrap_or_else(|why| {
            values.mistake("broker", why);
            BrokerUrl::parse("localhost").expect("it is an address")
        });
        let qos = match values.number("qos") {
            0 => QualityOfService::AtMostOnce,
            1 => QualityOfService::AtLeastOnce,
            _ => {
                values
                    .warning("qos", "2 is subscribed as 1: a function's answer has no second half");
                QualityOfService::AtLeastOnce
            }
        };
        let filters = filters(values);
        let mut trim_channel_key = values.flag("trim_channel_key");
        if trim_channel_key && filters.is_empty() {
            values.warning(
                "trim_channel_key",
                "is ignored: an annotation does not tell the key to subscribe with; set topic",
            );
            trim_channel_key = false;
        }
        let mut path = |name| values.secret_file(name).map(|file| file.path().to_owned());
        let (ca_file, cert_file, key_file) = (path("ca_file"), path("cert_file"), path("key_file"));
        if cert_file.is_some() != key_file.is_some() {
            let missing = if cert_file.is_some() { "key_file" } else { "cert_file" };
            values.mistake(missing, "a certificate and its key are given together or not at all");
        }
        if !broker.is_tls() && (ca_file.is_some() || cert_file.is_some()) {
            values.mistake("broker", "is not encrypted, but there is a ca_file or cert_file");
        }
        for (direct, file) in [("user", "username_file"), ("password", "password_file")] {
            if values.is_set(direct) && values.is_set(file) {
                values.mistake(file, format!("is set beside {direct}: one of them is wrong"));
            }
        }
        Self {
            broker,
            filters,
            id: values.text("id").unwrap_or_else(|| "testgoid".to_owned()),
            replica: replica(values),
            user: values.secret("user"),
            password: values.secret("password"),
            username_file: values.secret_file("username_file"),
            password_file: values.secret_file("password_file"),
            clean: values.flag("clean"),
            qos,
            trim_channel_key,
            protocol: match values.choice("protocol_version") {
                "5" => Protocol::V5,
                _ => Protocol::V4,
            },
            session_expiry: session_expiry(values),
            receive_maximum: u16::try_from(values.number("receive_maximum")).unwrap_or(u16::MAX),
            max_packet_bytes: values.bytes("max_packet_bytes"),
            keep_alive: keep_alive(values),
            ca_file,
            identity: cert_file.zip(key_file),
            gateway_user: values.text("gw_username"),
            gateway_password: values.secret("gw_password"),
            subscribed: Subscribed::default(),
            past: Mutex::default(),
        }
    }

    fn gateway_credentials(&self) -> Option<(String, Secret)> {
        Some((self.gateway_user.clone()?, self.gateway_password.clone()?))
    }
}

/// What is consumed by order. A filter that another one covers is left out: the broker would send
/// its messages twice.
fn filters(values: &mut Values) -> Vec<Filter> {
    let mut given = Vec::new();
    if let Some(topic) = values.text("topic") {
        given.push(("topic", topic));
    }
    given.extend(values.list("topics").into_iter().map(|topic| ("topics", topic)));
    let mut filters: Vec<Filter> = Vec::new();
    for (setting, text) in given {
        match Filter::parse(&text) {
            Ok(filter) if filters.contains(&filter) => {}
            Ok(filter) => filters.push(filter),
            Err(why) => values.mistake(setting, format!("`{text}` {why}")),
        }
    }
    let all = filters.clone();
    for (at, filter) in all.iter().enumerate() {
        let others = all.iter().enumerate().filter(|&(other, _)| other != at).map(|(_, it)| it);
        for other in others {
            if other.covers(filter) && !(filter.covers(other) && other.text() > filter.text()) {
                values.warning("topics", format!("{filter} is left out: {other} covers it"));
                filters.retain(|it| it != filter);
                break;
            }
            if other.overlaps(filter) && !filter.covers(other) && filter.text() < other.text() {
                values.warning(
                    "topics",
                    format!("messages that match both {filter} and {other} are called twice"),
                );
            }
        }
    }
    filters
}

/// The number of this replica: given as such, or as the name of a StatefulSet's pod.
fn replica(values: &mut Values) -> u32 {
    let Some(text) = values.text("replica") else { return 0 };
    let number = text.rsplit_once('-').map_or(&*text, |(_, number)| number);
    number.parse().unwrap_or_else(|_| {
        values.mistake("replica", format!("`{text}` does not end in a number"));
        0
    })
}

/// In whole seconds, as the protocol has it.
fn session_expiry(values: &mut Values) -> Duration {
    let expiry = values.duration("session_expiry");
    if expiry < Duration::from_secs(1) {
        values.mistake(
            "session_expiry",
            "is below 1s: what arrives while the connection is broken would be lost; to have that, set clean",
        );
    }
    expiry.min(Duration::from_secs(u64::from(u32::MAX - 1)))
}

fn keep_alive(values: &mut Values) -> Duration {
    let keep_alive = values.duration("keep_alive");
    let possible = Duration::from_secs(5)..=Duration::from_secs(u64::from(u16::MAX));
    if !possible.contains(&keep_alive) {
        values.mistake("keep_alive", "takes 5s to 65535s");
    }
    keep_alive
}

const fn row(
    name: &'static str,
    aliases: &'static [&'static str],
    form: Form,
    default: Option<&'static str>,
    origin: Origin,
    help: &'static str,
) -> Setting {
    Setting { name, aliases, default, form, origin, help }
}

const SETTINGS: &[Setting] = &[
    row(
        "broker",
        &[],
        Form::Text,
        Some("tcp://test.mosquitto.org:1883"),
        Origin::Upstream,
        "The broker: tcp, mqtt, ssl, tls, mqtts, ws or wss, a host, a port.",
    ),
    row(
        "topic",
        &[],
        Form::Text,
        None,
        Origin::Upstream,
        "One topic filter to consume, wildcards `+` and `#` and `$share/group/` allowed; never split. More are given \
         by topics. Both unset: what the functions' annotations ask for is consumed, and followed as they change.",
    ),
    row(
        "id",
        &[],
        Form::Text,
        Some("testgoid"),
        Origin::Upstream,
        "The client id: the name of the session at the broker. Two clients with one id keep each other out, so give \
         each connector its own, and replicas a replica number. Further filters have ids that begin with it.",
    ),
    row("user", &[], Form::Secret, None, Origin::Upstream, "The user name at the broker."),
    row(
        "password",
        &[],
        Form::Secret,
        None,
        Origin::Upstream,
        "The password at the broker. Better given by password_file: this one is visible in the list of processes.",
    ),
    row(
        "clean",
        &[],
        Form::Flag,
        Some("false"),
        Origin::Upstream,
        "Begins a new session at each connect: what arrives while the connection is broken is lost.",
    ),
    row(
        "qos",
        &[],
        Form::Number(0, 2),
        Some("0"),
        Origin::Upstream,
        "0: at most once; 1: at least once, acknowledged when the functions have answered. 2 is subscribed as 1.",
    ),
    row(
        "trim_channel_key",
        &[],
        Form::Flag,
        Some("false"),
        Origin::Upstream,
        "Drops everything up to and including the first `/` of the topic before it is matched and sent: the channel \
         key of emitter.io.",
    ),
    row(
        "gateway_url",
        &["gateway"],
        Form::Text,
        Some("http://gateway:8080"),
        Origin::Upstream,
        "The OpenFaaS gateway. Slashes at the end are ignored.",
    ),
    row(
        "gw_username",
        &[],
        Form::Text,
        Some("admin"),
        Origin::Upstream,
        "The user name at the gateway, where gw_password is given.",
    ),
    row(
        "gw_password",
        &[],
        Form::Secret,
        None,
        Origin::Upstream,
        "The password at the gateway. Given, it is used instead of the files of secret_mount_path.",
    ),
    row(
        "asynchronous_invocation",
        &["async-invoke"],
        Form::Flag,
        Some("false"),
        Origin::Upstream,
        "Calls functions through the gateway's queue. An event then counts as answered well when it is queued: the \
         function's own answer is not seen.",
    ),
    row(
        "protocol_version",
        &[],
        Form::Choice(&["4", "5"]),
        Some("4"),
        Origin::Ours,
        "The version of MQTT: 4 is 3.1.1.",
    ),
    row(
        "session_expiry",
        &[],
        Form::Duration,
        Some("168h"),
        Origin::Ours,
        "How long the broker keeps the session of a connector that is gone, with what arrives meanwhile. MQTT 5 only: \
         with 3.1.1 the broker's own setting holds.",
    ),
    row(
        "receive_maximum",
        &[],
        Form::Number(1, 65_535),
        Some("64"),
        Origin::Ours,
        "How many unacknowledged messages of one session are worked on, and with MQTT 5 how many the broker may send. \
         After a crash at most so many are called again.",
    ),
    row(
        "max_packet_bytes",
        &[],
        Form::Bytes,
        Some("1Mi"),
        Origin::Ours,
        "The largest message that functions are called with. A larger one goes to the dead letter, reason too_large.",
    ),
    row(
        "keep_alive",
        &[],
        Form::Duration,
        Some("30s"),
        Origin::Ours,
        "After how much silence the connection is tested, 5s to 65535s.",
    ),
    row(
        "replica",
        &[],
        Form::Text,
        None,
        Origin::Ours,
        "The number of this replica, or the name of its StatefulSet's pod, which ends in one. Above 0 it is added to \
         the client id.",
    ),
    row(
        "username_file",
        &[],
        Form::SecretFile,
        None,
        Origin::Ours,
        "The file with the user name at the broker. Read at each connect.",
    ),
    row(
        "password_file",
        &[],
        Form::SecretFile,
        None,
        Origin::Ours,
        "The file with the password or token at the broker. Read at each connect.",
    ),
    row(
        "ca_file",
        &[],
        Form::SecretFile,
        None,
        Origin::Ours,
        "The file with the certificate authorities to trust, in PEM. Unset: the public ones of the image.",
    ),
    row(
        "cert_file",
        &[],
        Form::SecretFile,
        None,
        Origin::Ours,
        "The file with the client's certificate chain, in PEM. Given together with key_file.",
    ),
    row(
        "key_file",
        &[],
        Form::SecretFile,
        None,
        Origin::Ours,
        "The file with the client's private key, in PEM.",
    ),
];

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
