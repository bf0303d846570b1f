//! The settings of the NATS connector.
//!
//! `broker_host` is the upstream connector's, and so are the defaults of the shared settings. What
//! upstream could not do, JetStream, credentials and TLS, has names of ours. File contents
//! (credentials, certificates) are no settings: they are read at each connection, and the process
//! waits for them to be right.

use std::path::PathBuf;

use async_nats::ServerAddr;
use connector_core::secret::SecretFile;
use connector_core::settings::{Form, Origin, Setting, Values};
use connector_core::source::SourceConfig;

use crate::subject::Filter;

/// The settings of the NATS connector, validated.
#[derive(Debug)]
pub struct NatsConfig {
    pub(crate) servers: Vec<ServerAddr>,
    /// What `topics` orders, checked.
    pub(crate) orders: Vec<Filter>,
    /// `None`: core NATS.
    pub(crate) jetstream: Option<JetStreamConfig>,
    pub(crate) queue_group: String,
    pub(crate) credentials: Credentials,
    pub(crate) tls: Tls,
}

/// What is received from JetStream, and how.
#[derive(Debug, Clone)]
pub(crate) struct JetStreamConfig {
    /// The stream; `None`: whichever has the subject.
    pub(crate) stream: Option<String>,
    /// The consumer to bind to, or the beginning of the names of those that are created.
    pub(crate) durable: String,
    /// The consumer must exist; none is created.
    pub(crate) bind: bool,
    /// A created consumer begins with what is published from then on.
    pub(crate) from_new: bool,
}

/// The files that prove who we are. They are read at each connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    pub(crate) credentials: Option<SecretFile>,
    pub(crate) nkey: Option<SecretFile>,
    pub(crate) token: Option<SecretFile>,
    pub(crate) user: Option<(SecretFile, SecretFile)>,
}

/// How connections are encrypted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tls {
    pub(crate) required: bool,
    pub(crate) first: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

impl NatsConfig {
    /// What the connector is to JetStream, if it receives from there.
    pub(crate) fn is_jetstream(&self) -> bool {
        self.jetstream.is_some()
    }
}

impl SourceConfig for NatsConfig {
    const SETTINGS: &'static [Setting] = SETTINGS;

    /// Core NATS cannot deliver again, so nothing is retried unless asked for; JetStream lends its
    /// messages, so nothing is received that would only wait.
    fn defaults(values: &mut Values) {
        if values.is_set("stream") || values.is_set("durable") {
            let window = 2 * values.number("function_concurrency");
            values.set_default("lane_window", &window.to_string());
        } else {
            values.set_default("max_retry_attempts", "0");
        }
    }

    fn read(values: &mut Values) -> Self {
        let mut orders = Vec::new();
        for topic in values.list("topics") {
            match Filter::parse(&topic) {
                Ok(filter) => orders.push(filter),
                Err(why) => values.mistake("topics", format!("`{topic}` {why}")),
            }
        }
        let (stream, durable) = (values.text("stream"), values.text("durable"));
        for (name, text) in [("stream", &stream), ("durable", &durable)] {
            if text.as_deref().is_some_and(|text| !is_name(text)) {
                values.mistake(name, "is no name: no white space, dots, stars, arrows or slashes");
            }
        }
        let bind = values.flag("bind");
        if bind && durable.is_none() {
            values.mistake("durable", "bind needs the name of the consumer");
        }
        let jetstream = (stream.is_some() || durable.is_some()).then(|| JetStreamConfig {
            stream,
            durable: durable.unwrap_or_else(|| "openfaas".to_owned()),
            bind,
            from_new: values.choice("deliver_policy") == "new",
        });
        Self {
            servers: servers(values),
            orders,
            jetstream,
            queue_group: values.text("queue_group").unwrap_or_else(|| QUEUE_GROUP.to_owned()),
            credentials: credentials(values),
            tls: tls(values),
        }
    }
}

/// Whether a stream or consumer can be named so.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c))
}

fn servers(values: &mut Values) -> Vec<ServerAddr> {
    let mut servers = Vec::new();
    for item in values.list("broker_host") {
        match server(&item) {
            Ok(server) => servers.push(server),
            Err(why) => values.mistake("broker_host", why),
        }
    }
    if servers.is_empty() && values.mistakes().is_empty() {
        values.mistake("broker_host", "names no server");
    }
    servers
}

/// A bare host gets port 4222, as upstream has it.
fn server(item: &str) -> Result<ServerAddr, String> {
    // Before anything that would repeat it.
    if item.contains('@') {
        return Err("carries credentials: put them into username_file and password_file".to_owned());
    }
    let url = match item.split_once("://") {
        None => format!("nats://{item}"),
        Some(("nats" | "tls", _)) => item.to_owned(),
        Some((scheme, _)) => return Err(format!("`{scheme}` is neither nats nor tls")),
    };
    let address: ServerAddr = url.parse().map_err(|_| format!("`{item}` is no address"))?;
    // A URL without a host parses, and so does one with a path nobody would look at.
    if address.host().is_empty() {
        return Err(format!("`{item}` has no host"));
    }
    Ok(address)
}

fn credentials(values: &mut Values) -> Credentials {
    let user = values.secret_file("username_file");
    let password = values.secret_file("password_file");
    if user.is_some() != password.is_some() {
        let missing = if user.is_some() { "password_file" } else { "username_file" };
        values.mistake(missing, "username and password are given together or not at all");
    }
    let credentials = Credentials {
        credentials: values.secret_file("credentials_file"),
        nkey: values.secret_file("nkey_file"),
        token: values.secret_file("token_file"),
        user: user.zip(password),
    };
    let given = [
        ("credentials_file", credentials.credentials.is_some()),
        ("nkey_file", credentials.nkey.is_some()),
        ("token_file", credentials.token.is_some()),
        ("username_file", credentials.user.is_some()),
    ];
    let mut given = given.into_iter().filter_map(|(name, given)| given.then_some(name));
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        values.mistake(second, format!("{first} is given as well; one of the two proves enough"));
    }
    credentials
}

fn tls(values: &mut Values) -> Tls {
    let mut path = |name| values.secret_file(name).map(|file| file.path().to_owned());
    let (ca, cert, key) = (path("tls_ca_file"), path("tls_cert_file"), path("tls_key_file"));
    if cert.is_some() != key.is_some() {
        let missing = if cert.is_some() { "tls_key_file" } else { "tls_cert_file" };
        values.mistake(missing, "a certificate and its key are given together or not at all");
    }
    let first = values.flag("tls_first");
    Tls {
        required: values.flag("tls") || first || ca.is_some() || cert.is_some(),
        first,
        ca,
        client: cert.zip(key),
    }
}

const QUEUE_GROUP: &str = "openfaas_nats_worker_group";

const fn ours(
    name: &'static str,
    form: Form,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting { name, aliases: &[], default, form, origin: Origin::Ours, help }
}

const SETTINGS: &[Setting] = &[
    Setting {
        name: "broker_host",
        aliases: &[],
        default: Some("nats"),
        form: Form::List,
        origin: Origin::Upstream,
        help: "The NATS servers, separated by commas: a host, host:port, nats://host:port or tls://host:port. Without a \
               port: 4222.",
    },
    ours(
        "stream",
        Form::Text,
        None,
        "The JetStream stream to receive from. With `stream` or `durable` set the connector is a JetStream consumer; with \
         neither it subscribes to core NATS, which keeps nothing that it misses.",
    ),
    ours(
        "durable",
        Form::Text,
        None,
        "The JetStream consumer to bind to, which is never changed. Where there is none of that name, one is created for \
         each topic, its name beginning with this one. Unset with `stream` set: `openfaas`.",
    ),
    ours(
        "bind",
        Form::Flag,
        Some("false"),
        "Whether the consumer named by `durable` must exist. Until it does the connector is not ready, and creates none.",
    ),
    ours(
        "deliver_policy",
        Form::Choice(&["all", "new"]),
        Some("all"),
        "Where a consumer that the connector creates begins: with the oldest message of the stream, or with what is \
         published from then on.",
    ),
    ours(
        "queue_group",
        Form::Text,
        Some(QUEUE_GROUP),
        "The queue group of core NATS subscriptions: of its members one gets each message.",
    ),
    ours(
        "credentials_file",
        Form::SecretFile,
        None,
        "The file with a user's JWT and seed (`.creds`). This file and those below are read again at each connection.",
    ),
    ours("nkey_file", Form::SecretFile, None, "The file with the seed of a user's nkey."),
    ours("token_file", Form::SecretFile, None, "The file with a token."),
    ours(
        "username_file",
        Form::SecretFile,
        None,
        "The file with the user name; with `password_file`.",
    ),
    ours("password_file", Form::SecretFile, None, "The file with the password."),
    ours(
        "tls",
        Form::Flag,
        Some("false"),
        "Whether connections must be encrypted. On by itself with a tls:// address or any of the settings below.",
    ),
    ours(
        "tls_first",
        Form::Flag,
        Some("false"),
        "Whether encryption begins before the server's greeting, as a server with `handshake_first` wants it.",
    ),
    ours(
        "tls_ca_file",
        Form::SecretFile,
        None,
        "The file with the certificate authorities to trust, in PEM. Unset: the public ones of the image.",
    ),
    ours(
        "tls_cert_file",
        Form::SecretFile,
        None,
        "The file with the client's certificate chain, in PEM; with `tls_key_file`.",
    ),
    ours("tls_key_file", Form::SecretFile, None, "The file with the client's private key, in PEM."),
];

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
