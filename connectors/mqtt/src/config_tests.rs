use connector_core::settings::{self, Loaded, Outcome};

use super::*;
use crate::Mqtt;

fn load(args: &[&str], env: &[(&str, &str)]) -> Result<Loaded<MqttConfig>, Outcome> {
    let owned = |text: &&str| (*text).to_owned();
    settings::load::<Mqtt>(
        args.iter().map(owned),
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

fn texts(config: &MqttConfig) -> Vec<&str> {
    config.filters.iter().map(Filter::text).collect()
}

#[test]
fn every_upstream_flag_is_understood() {
    let args = [
        "-broker=ssl://b:8884",
        "-topic",
        "a,b",
        "--id",
        "me",
        "-user=u",
        "-password=p",
        "-clean",
        "-qos",
        "1",
        "-gateway",
        "http://g:8080/",
        "-gw-username=gu",
        "-gw-password",
        "gp",
        "-async-invoke",
        "-trim-channel-key=true",
    ];
    let Loaded { core, source, warnings, .. } =
        load(&args, &[("gateway_url", "http://other")]).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(source.broker.address(), "b");
    assert_eq!(texts(&source), ["a,b"], "the upstream flag is one filter");
    assert_eq!(source.client_id(), "me");
    let (user, password) = source.credentials().unwrap().unwrap();
    assert_eq!((user.expose(), password.expose()), ("u", "p"));
    assert!(source.clean && source.trim_channel_key && core.asynchronous);
    assert_eq!(source.qos, QualityOfService::AtLeastOnce);
    assert_eq!(core.gateway_url, "http://g:8080");
    assert_eq!(core.gateway_user.as_deref(), Some("gu"));
    assert_eq!(core.gateway_password.unwrap().expose(), "gp");
}

#[test]
fn the_defaults_are_upstreams() {
    let Loaded { core, source, .. } = load(&[], &[]).unwrap();
    assert_eq!((&*source.broker.host, source.broker.port), ("test.mosquitto.org", 1883));
    assert_eq!(source.client_id(), "testgoid");
    assert_eq!(source.qos, QualityOfService::AtMostOnce);
    assert_eq!(source.protocol, Protocol::V4);
    assert!(source.filters.is_empty() && !source.clean && source.credentials().unwrap().is_none());
    assert_eq!(core.upstream_timeout, None);
    assert_eq!(core.rebuild_interval, Duration::from_secs(1));
    assert_eq!(core.content_type.fallback.as_deref(), Some("application/json"));
    assert!(core.gateway_password.is_none() && core.gateway_user.is_none());
}

#[test]
fn several_filters_come_from_topics_and_none_twice() {
    let env = [("topics", "b/#, b/1, a/+ ,a/+,$share/g/b/1"), ("topic", "x")];
    let Loaded { source, warnings, .. } = load(&[], &env).unwrap();
    assert_eq!(texts(&source), ["x", "b/#", "a/+"]);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let partly = load(&[], &[("topics", "a/+,+/b")]).unwrap();
    assert_eq!(texts(&partly.source), ["a/+", "+/b"]);
    assert_eq!(partly.warnings.len(), 1);
}

#[test]
fn each_session_has_an_id_of_its_own_that_stays() {
    let env = [("topics", "a,b"), ("id", "edge"), ("replica", "mqtt-connector-2")];
    let config = load(&[], &env).unwrap().source;
    let id = |text| config.client_id_of(&Filter::parse(text).unwrap());
    assert_eq!(id("a"), "edge-2");
    // Brokers know sessions by these: a change loses what they hold.
    assert_eq!(id("b"), "edge-2.af63df4c86");
    assert_eq!(id("sensors/#"), "edge-2.a74a5cde94");
}

#[test]
fn mistakes_are_found_before_any_socket() {
    for (name, value) in [
        ("broker", "http://b"),
        ("broker", "tcp://u:secret@b"),
        ("topics", "a,b#"),
        ("topic", "#/a"),
        ("session_expiry", "0s"),
        ("keep_alive", "4s"),
        ("keep_alive", "20h"),
        ("cert_file", "/c"),
        ("ca_file", "/c"),
        ("replica", "x"),
        ("protocol_version", "3"),
        ("receive_maximum", "0"),
    ] {
        let mistakes = load(&[], &[(name, value)]).unwrap_err();
        assert_eq!(mistakes.code(), 64, "{name}={value}");
        assert!(!mistakes.text().contains("secret"), "{}", mistakes.text());
    }
}

#[test]
fn qos_2_is_subscribed_as_1_and_said_once() {
    let Loaded { source, warnings, .. } = load(&["-qos=2"], &[]).unwrap();
    assert_eq!(source.qos, QualityOfService::AtLeastOnce);
    assert_eq!(warnings.len(), 1);
}
