//! The settings as users write them, down to librdkafka's properties.

use connector_core::settings::{Loaded, Outcome, load};
use rdkafka::ClientConfig;

use super::*;
use crate::Kafka;
use crate::login::Proof;

fn loaded(
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<Loaded<KafkaConfig>, Outcome> {
    load::<Kafka>(
        arguments.iter().map(|text| (*text).to_owned()),
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

fn config(arguments: &[&str], environment: &[(&str, &str)]) -> KafkaConfig {
    match loaded(arguments, environment) {
        Ok(loaded) => loaded.source,
        Err(outcome) => panic!("{}", outcome.text()),
    }
}

fn mistakes(environment: &[(&str, &str)]) -> String {
    match loaded(&[], environment) {
        Ok(_) => String::new(),
        Err(outcome) => outcome.text().to_owned(),
    }
}

fn says(properties: &ClientConfig, name: &str, value: &str) {
    assert_eq!(properties.get(name), Some(value), "{name}");
}

/// The compose service of "The Event-Driven Edge with OpenFaaS".
const ARTICLE: &[(&str, &str)] = &[
    ("gateway_url", "http://gateway:8080"),
    ("topics", "user.signup"),
    ("print_response", "true"),
    ("print_response_body", "true"),
    ("print_request_body", "false"),
    ("asynchronous_invocation", "false"),
    ("basic_auth", "true"),
    ("secret_mount_path", "/run/secrets"),
    ("broker_host", "pkc-1.cloud:9092"),
    ("upstream_timeout", "2m"),
    ("rebuild_interval", "30s"),
    ("content_type", "text/plain"),
    ("group", "faas-group-1"),
    ("log_sessions", "true"),
    ("max_bytes", "1048576"),
    ("initial_offset", "oldest"),
];

#[test]
fn the_articles_settings_mean_what_they_meant() {
    let folder = std::env::temp_dir().join(format!("kafka-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // As `echo` writes them, with a newline.
    std::fs::write(folder.join("user"), "alice\n").unwrap();
    std::fs::write(folder.join("password"), "wonderland\n").unwrap();
    let file = |flag: &str, name: &str| format!("{flag}={}", folder.join(name).display());
    let (user, password) = (file("-username-file", "user"), file("-password-file", "password"));

    let config =
        config(&["-license-file=/run/secrets/openfaas-license", &user, &password, "-tls"], ARTICLE);
    let Login::Password(mechanism, pair) = &config.login else { panic!("SASL is on") };
    let proof = Proof::Password(mechanism, pair.credentials().unwrap());
    let properties = config.consumer(&proof);
    std::fs::remove_dir_all(&folder).unwrap();

    says(&properties, "bootstrap.servers", "pkc-1.cloud:9092");
    says(&properties, "security.protocol", "sasl_ssl");
    says(&properties, "sasl.mechanism", "PLAIN");
    says(&properties, "sasl.username", "alice");
    says(&properties, "sasl.password", "wonderland");
    assert!(properties.get("ssl.ca.location").is_some(), "the public authorities");
    says(&properties, "group.id", "faas-group-1");
    assert_eq!(config.initial_offset, InitialOffset::Oldest);
    assert!(config.log_sessions);
}

#[test]
fn nothing_is_committed_or_begun_by_the_client_itself() {
    let properties = config(&[], &[]).consumer(&Proof::Nothing);
    says(&properties, "bootstrap.servers", "kafka:9092");
    says(&properties, "security.protocol", "plaintext");
    says(&properties, "enable.auto.commit", "false");
    says(&properties, "enable.auto.offset.store", "false");
    says(&properties, "auto.offset.reset", "error");
    says(&properties, "allow.auto.create.topics", "false");
    says(&properties, "isolation.level", "read_committed");
    says(&properties, "partition.assignment.strategy", "range");
    says(&properties, "session.timeout.ms", "10000");
}

#[test]
fn a_list_of_brokers_may_be_bare_and_the_new_name_wins() {
    let both = [("broker_host", "old:1"), ("broker_hosts", "a, b:9093")];
    says(&config(&[], &both).consumer(&Proof::Nothing), "bootstrap.servers", "a:9092,b:9093");
}

#[test]
fn a_letter_is_acknowledged_by_all_replicas() {
    let properties = config(&[], &[]).producer(&Proof::Nothing);
    says(&properties, "acks", "all");
    says(&properties, "enable.idempotence", "true");
}

#[test]
fn a_private_authority_or_a_certificate_turns_tls_on() {
    let properties = config(&["-ca-file=/ca.pem"], &[]).consumer(&Proof::Nothing);
    says(&properties, "security.protocol", "ssl");
    says(&properties, "ssl.ca.location", "/ca.pem");
    let properties =
        config(&["-cert-file=/c.pem", "-key-file=/k.pem"], &[]).consumer(&Proof::Nothing);
    says(&properties, "ssl.certificate.location", "/c.pem");
    says(&properties, "ssl.key.location", "/k.pem");
}

#[test]
fn halves_of_a_pair_and_unknown_words_are_mistakes() {
    assert!(mistakes(&[("username_file", "/u")]).contains("password_file"));
    assert!(mistakes(&[("cert_file", "/c")]).contains("key_file"));
    assert!(mistakes(&[("ordering", "sometimes")]).contains("ordering"));
    assert!(mistakes(&[("topics", "a b")]).contains("topics"));
    assert!(mistakes(&[("revoke_wait", "6m")]).contains("max_poll_interval"));
    assert_eq!(mistakes(&[("revoke_wait", "6m"), ("max_poll_interval", "7m")]), "");
    let long = &[("session_timeout", "61m"), ("max_poll_interval", "2h")];
    assert!(mistakes(long).contains("session_timeout"), "librdkafka takes no more than an hour");
    assert!(mistakes(&[("session_timeout", "0")]).contains("session_timeout"));
    assert!(mistakes(&[("max_poll_interval", "25h")]).contains("is not within 1ms and 24h0m0s"));
    assert_eq!(mistakes(&[("session_timeout", "1h"), ("max_poll_interval", "24h")]), "");
    assert!(mistakes(&[("initial_offset", "yesterday")]).contains("initial_offset"));
    assert_eq!(mistakes(&[("initial_offset", "1700000000000")]), "");
    assert!(mistakes(&[("sasl_mechanism", "SCRAM-SHA-256")]).contains("needs username_file"));
    assert!(mistakes(&[("sasl_mechanism", "OAUTHBEARER")]).contains("needs username_file"));
    assert!(mistakes(&[("oauth_token_url", "idp/token")]).contains("oauth_token_url"));
    assert!(mistakes(&[("oauth_extensions", "a=b, c")]).contains("c: takes name=value"));
    let iam = mistakes(&[("sasl_mechanism", "AWS_MSK_IAM")]);
    assert_eq!(iam.contains("kafka-connector-msk"), cfg!(not(feature = "msk-iam")), "{iam}");
}

#[test]
fn a_bare_host_gets_kafkas_port() {
    assert_eq!(with_port("kafka"), "kafka:9092");
    assert_eq!(with_port("kafka:9093"), "kafka:9093");
    assert_eq!(with_port("[::1]"), "[::1]:9092");
    assert_eq!(with_port("[::1]:9093"), "[::1]:9093");
}

#[test]
fn what_the_broker_decides_in_its_own_protocol_is_not_set() {
    let config = config(&[], &[("group_protocol", "consumer")]);
    let properties = config.consumer(&Proof::Nothing);
    says(&properties, "group.protocol", "consumer");
    for name in ["partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"] {
        assert_eq!(properties.get(name), None, "librdkafka refuses it");
    }
    config.group_protocol.refuse();
    let properties = config.consumer(&Proof::Nothing);
    assert_eq!(properties.get("group.protocol"), None);
    says(&properties, "partition.assignment.strategy", "range");
}
