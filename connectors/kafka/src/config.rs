//! The settings of the Kafka connector, and what they mean to librdkafka.
//!
//! The names without a remark are those of the connector this one replaces, and are read as
//! tolerantly as there. File contents (passwords, certificates) are no settings: they are read at
//! each connect, and the process waits for them to be right.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use connector_core::settings::{Form, Origin, Setting, Values, format_go_duration};
use connector_core::source::SourceConfig;

mod login;
mod properties;

pub(crate) use login::{Credentials, Endpoint, Login, Pair};
pub(crate) use properties::Files;

/// What librdkafka takes at most. A client with more is refused when it is made, again and again.
const LONGEST_SESSION: Duration = Duration::from_secs(60 * 60);
const LONGEST_POLL_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The settings of the Kafka connector, validated.
#[derive(Debug)]
pub struct KafkaConfig {
    /// `host:port`, comma-separated, as librdkafka takes it.
    brokers: String,
    pub(crate) group: String,
    pub(crate) initial_offset: InitialOffset,
    max_bytes: i64,
    /// Whether the life of the group is logged: joins, assignments, revocations.
    pub(crate) log_sessions: bool,
    pub(crate) ordering: Ordering,
    assignor: &'static str,
    group_instance_id: Option<String>,
    pub(crate) group_protocol: GroupProtocol,
    pub(crate) session_timeout: Duration,
    max_poll_interval: Duration,
    pub(crate) commit_interval: Duration,
    pub(crate) revoke_wait: Duration,
    isolation_level: &'static str,
    pub(crate) login: Login,
    tls: bool,
    verify_ssl: bool,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

/// Where a topic is begun that the group has no position for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InitialOffset {
    /// With the oldest record there is.
    Oldest,
    /// With what comes from now on.
    Newest,
    /// With the first record at or after this time, in milliseconds since 1970.
    Since(i64),
}

/// Which records are called one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ordering {
    /// All of a partition.
    Partition,
    /// Those of a partition with equal keys.
    Key,
    /// None.
    None,
}

/// How the members of the group agree.
#[derive(Debug, Default)]
pub(crate) struct GroupProtocol {
    /// Whether the newer protocol is asked for.
    consumer: bool,
    /// Set when the broker has turned out not to speak it.
    refused: OnceLock<()>,
}

impl GroupProtocol {
    fn read(values: &mut Values) -> Self {
        Self { consumer: values.choice("group_protocol") == "consumer", ..Self::default() }
    }

    /// Whether the newer protocol is to be spoken.
    pub(crate) fn is_consumer(&self) -> bool {
        self.consumer && self.refused.get().is_none()
    }

    /// Notes that the broker does not speak the newer protocol: from the next connection on it is
    /// the classic one, until the process ends.
    pub(crate) fn refuse(&self) {
        self.refused.get_or_init(|| ());
    }
}

impl SourceConfig for KafkaConfig {
    const SETTINGS: &'static [Setting] = SETTINGS;

    fn read(values: &mut Values) -> Self {
        let brokers = values.list("broker_hosts");
        for topic in values.list("topics") {
            if let Err(why) = crate::subscription::pattern(&topic) {
                values.mistake("topics", format!("{topic}: {why}"));
            }
        }
        let initial_offset = match values.text("initial_offset").as_deref() {
            None | Some("oldest") => InitialOffset::Oldest,
            Some("newest") => InitialOffset::Newest,
            Some(text) => match text.parse() {
                Ok(time) if time >= 0 => InitialOffset::Since(time),
                _ => {
                    values.mistake(
                        "initial_offset",
                        "takes oldest, newest, or a time in milliseconds since 1970",
                    );
                    InitialOffset::Oldest
                }
            },
        };
        let ordering = match values.choice("ordering") {
            "key" => Ordering::Key,
            "none" => Ordering::None,
            _ => Ordering::Partition,
        };
        let mut path = |name| values.secret_file(name).map(|file| file.path().to_owned());
        let (ca_file, cert_file, key_file) = (path("ca_file"), path("cert_file"), path("key_file"));
        if cert_file.is_some() != key_file.is_some() {
            let missing = if cert_file.is_some() { "key_file" } else { "cert_file" };
            values.mistake(missing, "a certificate and its key are given together or not at all");
        }
        let session_timeout = values.duration("session_timeout");
        let revoke_wait = values.duration("revoke_wait");
        let max_poll_interval = values.duration("max_poll_interval");
        for (name, value, most) in [
            ("session_timeout", session_timeout, LONGEST_SESSION),
            ("max_poll_interval", max_poll_interval, LONGEST_POLL_INTERVAL),
        ] {
            if value < Duration::from_millis(1) || value > most {
                values.mistake(name, format!("is not within 1ms and {}", format_go_duration(most)));
            }
        }
        for (name, bound) in [("session_timeout", session_timeout), ("revoke_wait", revoke_wait)] {
            if max_poll_interval <= bound {
                values.mistake("max_poll_interval", format!("must be longer than {name}"));
            }
        }
        Self {
            brokers: brokers.iter().map(|b| with_port(b)).collect::<Vec<_>>().join(","),
            group: values.text("group").unwrap_or_else(|| "faas-group-1".to_owned()),
            initial_offset,
            max_bytes: values.number("max_bytes"),
            log_sessions: values.flag("log_sessions"),
            ordering,
            assignor: values.choice("assignor"),
            group_instance_id: values.text("group_instance_id"),
            group_protocol: GroupProtocol::read(values),
            session_timeout,
            max_poll_interval,
            commit_interval: values.duration("commit_interval").max(Duration::from_millis(10)),
            revoke_wait,
            isolation_level: values.choice("isolation_level"),
            login: Login::read(values, &brokers),
            tls: values.flag("tls") || ca_file.is_some() || cert_file.is_some(),
            verify_ssl: values.flag("verify_ssl"),
            ca_file,
            cert_file,
            key_file,
        }
    }
}

/// A bare host gets Kafka's port.
fn with_port(broker: &str) -> String {
    // An IPv6 address in brackets may end without a port; its own colons are none.
    let after = broker.rsplit_once(']').map_or(broker, |(_, after)| after);
    if after.contains(':') { broker.to_owned() } else { format!("{broker}:9092") }
}

const fn upstream(
    name: &'static str,
    aliases: &'static [&'static str],
    form: Form,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting { name, aliases, default, form, origin: Origin::Upstream, help }
}

const fn ours(
    name: &'static str,
    form: Form,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting { name, aliases: &[], default, form, origin: Origin::Ours, help }
}

const SETTINGS: &[Setting] = &[
    upstream(
        "broker_hosts",
        &["broker_host"],
        Form::List,
        Some("kafka:9092"),
        "The brokers to begin with, host:port, separated by commas; a bare host gets :9092.",
    ),
    upstream("group", &[], Form::Text, Some("faas-group-1"), "The consumer group."),
    upstream(
        "initial_offset",
        &[],
        Form::Text,
        Some("oldest"),
        "Where a topic is begun that the group has no committed offset for: oldest, newest, or a time in milliseconds since 1970. Partitions added later are read from their beginning.",
    ),
    upstream(
        "max_bytes",
        &[],
        Form::Number(1024, 1_000_000_000),
        Some("1048576"),
        "The most bytes fetched from one partition at a time; more than 256 KiB are never asked for. A larger record is still fetched, alone.",
    ),
    upstream(
        "log_sessions",
        &[],
        Form::Flag,
        Some("true"),
        "Whether the life of the consumer group is logged: partitions assigned, revoked and lost.",
    ),
    upstream(
        "username_file",
        &["username-file"],
        Form::SecretFile,
        None,
        "The file with the SASL username, or the id of an OAuth client. Given together with password_file, SASL is on. Read again whenever the broker refuses it.",
    ),
    upstream(
        "password_file",
        &["password-file"],
        Form::SecretFile,
        None,
        "The file with the SASL password, or the secret of an OAuth client.",
    ),
    upstream(
        "tls",
        &[],
        Form::Flag,
        Some("false"),
        "Whether connections use TLS. On by itself when ca_file or cert_file is given.",
    ),
    upstream(
        "verify_ssl",
        &["verify-ssl"],
        Form::Flag,
        Some("true"),
        "Whether the broker's certificate and name are verified.",
    ),
    upstream(
        "ca_file",
        &["ca-file"],
        Form::SecretFile,
        None,
        "The file with the certificate authorities to trust, in PEM. Unset: the public ones of the image.",
    ),
    upstream(
        "cert_file",
        &["cert-file"],
        Form::SecretFile,
        None,
        "The file with the client's certificate chain, in PEM. Given together with key_file.",
    ),
    upstream(
        "key_file",
        &["key-file"],
        Form::SecretFile,
        None,
        "The file with the client's private key, in PEM.",
    ),
    ours(
        "sasl_mechanism",
        Form::Choice(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"]),
        Some("PLAIN"),
        "How the connector proves who it is: by username and password; by a token that oauth_token_url gives for them; or by a token signed with AWS credentials, which need no username_file.",
    ),
    ours(
        "oauth_token_url",
        Form::Text,
        None,
        "Where OAUTHBEARER asks for tokens (client credentials). Tokens are fetched anew before they end.",
    ),
    ours("oauth_scope", Form::Text, None, "The scope asked for with a token."),
    ours(
        "oauth_extensions",
        Form::List,
        None,
        "What the broker is told beside the token, name=value, separated by commas: Confluent Cloud wants logicalCluster and identityPoolId.",
    ),
    ours(
        "oauth_ca_file",
        Form::SecretFile,
        None,
        "The file with the certificate authorities to trust at oauth_token_url, in PEM. Unset: the public ones of the image.",
    ),
    ours(
        "aws_region",
        Form::Text,
        None,
        "The region of an MSK cluster with IAM. Unset: the one in the brokers' names, or that of the AWS settings.",
    ),
    ours(
        "ordering",
        Form::Choice(&["partition", "key", "none"]),
        Some("partition"),
        "Which records are called one after the other: all of a partition, those with equal keys (records without a key count as one key of their partition), or none.",
    ),
    ours(
        "assignor",
        Form::Choice(&["range", "cooperative-sticky"]),
        Some("range"),
        "How partitions are shared in the group. All members must agree: change it only with the whole group stopped, or while members of other kinds are gone.",
    ),
    ours(
        "group_protocol",
        Form::Choice(&["classic", "consumer"]),
        Some("classic"),
        "Who shares the partitions out: a member (classic), or the broker (consumer, KIP-848: Kafka 4.0 and newer), which then decides on assignor and session_timeout. A broker that does not know consumer is joined by classic.",
    ),
    ours(
        "group_instance_id",
        Form::Text,
        None,
        "Makes the member static: one that comes back under the same name within session_timeout gets its partitions back without a rebalance. Must differ between replicas. Unset: dynamic.",
    ),
    ours(
        "session_timeout",
        Form::Duration,
        Some("10s"),
        "After how long without a heartbeat the broker gives a member's partitions to others.",
    ),
    ours(
        "max_poll_interval",
        Form::Duration,
        Some("5m"),
        "How long the group waits for this member's answer when partitions move, and how long the process may stand still before it is taken for dead. Longer than session_timeout and revoke_wait. Functions may run for as long as they like all the same.",
    ),
    ours(
        "commit_interval",
        Form::Duration,
        Some("1s"),
        "How often progress is committed. After a crash, at most what finished within one interval is called again.",
    ),
    ours(
        "revoke_wait",
        Form::Duration,
        Some("5s"),
        "How long running calls may go on when partitions are revoked, before what is done is committed and the partitions are handed over.",
    ),
    ours(
        "isolation_level",
        Form::Choice(&["read_committed", "read_uncommitted"]),
        Some("read_committed"),
        "Whether records of open and aborted transactions are left out.",
    ),
];

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
