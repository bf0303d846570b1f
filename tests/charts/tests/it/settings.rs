//! Every setting of a connector can be set by its chart, under its right name.

use std::collections::BTreeMap;

use charts::{helm, settings};
use serde_json::{Map, Value};

use crate::rendered::{environment, rendered};

/// Settings, each with its value.
type Settings = &'static [(&'static str, &'static str)];

/// Values of each chart's own, and the settings that they become.
const OWN: [(&str, &str, Settings); 5] = [
    ("cron", "{gatewayURL: 'http://other', replicas: 2}", &[("lease", "cron-connector")]),
    (
        "kafka",
        "{gatewayURL: 'http://other', brokerHosts: one, topics: two, group: three, initialOffset: newest}",
        &[
            ("broker_hosts", "one"),
            ("topics", "two"),
            ("group", "three"),
            ("initial_offset", "newest"),
        ],
    ),
    ("mqtt", "{gateway_url: 'http://other', broker: 'ssl://one'}", &[("broker", "ssl://one")]),
    (
        "nats",
        "{gateway_url: 'http://other', broker_host: one, stream: TWO, durable: three}",
        &[("broker_host", "one"), ("stream", "TWO"), ("durable", "three")],
    ),
    (
        "sqs",
        "{gatewayURL: 'http://other', queueURL: one, topics: two}",
        &[("queue_url", "one"), ("topics", "two")],
    ),
];

/// The same of every chart.
const OF_ALL: Settings = &[
    ("gateway_url", "http://other"),
    ("admin_port", "9999"),
    ("basic_auth", "true"),
    ("secret_mount_path", "/var/secrets"),
    ("grace_period", "77s"),
];

#[test]
fn every_setting_can_be_set() {
    for (kind, values, own) in OWN {
        let expected: BTreeMap<_, _> = own.iter().chain(OF_ALL).copied().collect();
        let mut values: Map<String, Value> = serde_norway::from_str(values).expect("YAML");
        values.insert("adminPort".to_owned(), 9999.into());
        values.insert("terminationGracePeriodSeconds".to_owned(), 77.into());
        let named =
            settings::of(kind).into_keys().filter(|name| !settings::is_of_chart(kind, name));
        let named: Map<String, Value> =
            named.map(|name| (name.clone(), format!("that of {name}").into())).collect();
        values.insert("settings".to_owned(), named.clone().into());

        let manifests = rendered(kind, &Value::Object(values).to_string());
        let set: BTreeMap<_, _> = environment(&manifests)
            .into_iter()
            .map(|variable| (variable["name"].as_str().unwrap_or_default(), &variable["value"]))
            .collect();
        for name in settings::of(kind).keys() {
            let wanted = named.get(name).and_then(Value::as_str);
            let wanted = wanted.or_else(|| expected.get(name.as_str()).copied());
            let is = set.get(name.as_str()).and_then(|value| value.as_str());
            assert!(wanted.is_some() && is == wanted, "{kind}: {name} is {is:?}, not {wanted:?}");
        }
    }
}

#[test]
fn a_setting_that_does_not_exist_or_has_a_value_of_its_own_is_refused() {
    for (kind, _, own) in OWN {
        let of_chart = own.iter().chain(OF_ALL).copied().map(|(name, _)| name.to_owned());
        let misspelt = settings::of(kind).into_keys().map(|name| format!("un{name}"));
        let names: Vec<_> = misspelt.chain(of_chart).collect();
        let wrong: Map<String, Value> =
            names.iter().map(|name| (name.clone(), Value::from(1))).collect();
        let values = serde_json::json!({ "settings": wrong });
        let why = helm::template(kind, &values.to_string()).expect_err("none of them is one");
        for name in names {
            assert!(why.contains(&format!(" {name} is not")), "{kind}: {name}: {why}");
        }
    }
}

#[test]
fn nothing_given_for_a_setting_leaves_it_at_its_default() {
    for nothing in ["null", "''"] {
        let manifests = rendered("kafka", &format!("settings: {{upstream_timeout: {nothing}}}"));
        let environment = environment(&manifests);
        let is_set = environment.iter().any(|variable| variable["name"] == "upstream_timeout");
        assert!(!is_set, "{nothing}");
    }
}

#[test]
fn a_number_is_written_as_it_was() {
    let manifests = rendered("kafka", "settings: {max_inflight: 3000000}");
    let environment = environment(&manifests);
    let number = environment.iter().find(|variable| variable["name"] == "max_inflight");
    assert_eq!(number.expect("it is set")["value"], "3000000");
    let why = helm::template("kafka", "settings: {max_inflight: 1.5}").expect_err("a fraction");
    assert!(why.contains("max_inflight"), "{why}");
}
