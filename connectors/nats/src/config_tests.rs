//! What an operator may write, and what comes of it.

use connector_core::settings::{Loaded, load};

use super::*;
use crate::Nats;

fn read(env: &[(&str, &str)]) -> Result<Loaded<NatsConfig>, String> {
    let env = env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    load::<Nats>([], env).map_err(|outcome| outcome.text().to_owned())
}

fn addresses(text: &str) -> Vec<String> {
    let loaded = read(&[("broker_host", text)]).unwrap();
    let of =
        |server: &ServerAddr| format!("{}://{}:{}", server.scheme(), server.host(), server.port());
    loaded.source.servers.iter().map(of).collect()
}

#[test]
fn upstreams_settings_work_unchanged() {
    let loaded = read(&[
        ("gateway_url", "http://gateway.openfaas:8080"),
        ("topics", "nats-test, orders.* ,"),
        ("broker_host", "nats"),
        ("print_response", "false"),
        ("print_response_body", "false"),
        ("asynchronous_invocation", "false"),
        ("basic_auth", "true"),
        ("secret_mount_path", "/var/secrets/"),
        ("topic_delimiter", ","),
        ("upstream_timeout", "30s"),
        ("rebuild_interval", ""),
    ])
    .unwrap();
    assert!(!loaded.source.is_jetstream());
    let orders: Vec<_> = loaded.source.orders.iter().map(Filter::as_str).collect();
    assert_eq!(orders, ["nats-test", "orders.*"]);
    assert!(!loaded.core.asynchronous);
    assert_eq!(loaded.core.rebuild_interval.as_secs(), 5);
}

#[test]
fn unset_means_what_it_means_upstream() {
    let Loaded { core, source, .. } = read(&[]).unwrap();
    assert_eq!(addresses(""), ["nats://nats:4222"]);
    assert!(core.asynchronous, "upstream's code calls through the queue unless told otherwise");
    assert_eq!(core.upstream_timeout.map(|it| it.as_secs()), Some(60));
    assert_eq!(core.content_type.fallback, None);
    assert_eq!(source.queue_group, "openfaas_nats_worker_group");
}

#[test]
fn retries_and_window_depend_on_what_is_received_from() {
    let core = read(&[]).unwrap().core;
    assert!(!core.retry.allows(0), "what core NATS brought is called once");
    assert_eq!(core.lane_window, 1000);
    let core = read(&[("max_retry_attempts", "2")]).unwrap().core;
    assert!(core.retry.allows(1));

    let core = read(&[("stream", "ORDERS"), ("function_concurrency", "32")]).unwrap().core;
    assert!(core.retry.allows(9));
    assert_eq!(core.lane_window, 64);
    let core = read(&[("durable", "billing"), ("lane_window", "7")]).unwrap().core;
    assert_eq!(core.lane_window, 7);
}

#[test]
fn servers_are_taken_in_every_spelling() {
    assert_eq!(addresses("nats.openfaas"), ["nats://nats.openfaas:4222"]);
    assert_eq!(addresses("10.0.0.1:4333"), ["nats://10.0.0.1:4333"]);
    assert_eq!(addresses("[::1]"), ["nats://::1:4222"]);
    assert_eq!(
        addresses("nats://a, tls://b:4443 ,c"),
        ["nats://a:4222", "tls://b:4443", "nats://c:4222"]
    );
}

#[test]
fn mistakes_are_named_and_secrets_are_not() {
    let said = read(&[
        ("broker_host", "nats://me:hunter2@nats"),
        ("topics", "a..b"),
        ("stream", "no.dots"),
        ("bind", "true"),
        ("username_file", "/u"),
        ("token_file", "/t"),
        ("tls_cert_file", "/c"),
    ])
    .unwrap_err();
    for name in ["broker_host", "topics", "stream", "durable", "password_file", "tls_key_file"] {
        assert!(said.contains(&format!("{name} ")), "{name} is missing in:\n{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
    for bad in ["http://nats", "nats://", "nats:port"] {
        assert!(read(&[("broker_host", bad)]).is_err(), "{bad}");
    }
}
