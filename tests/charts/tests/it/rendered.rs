//! What the charts promise, asked of Helm itself and of the Kubernetes API's schemas.

use std::collections::BTreeSet;

use charts::{KINDS, examples, helm, settings};
use serde_json::Value;

/// What is read from the environment beside the settings: by the AWS tools' own library.
const OF_AWS: [&str; 2] = ["AWS_DEFAULT_REGION", "AWS_SHARED_CREDENTIALS_FILE"];

/// Ways to give credentials beside the one of `everything`.
const OTHER_WAYS: [(&str, &str); 3] = [
    ("kafka", "sasl: true"),
    ("mqtt", "authSecret: mine"),
    ("nats", "natsAuth: {secret: mine, nkeyKey: a, tokenKey: b, usernameKey: c, passwordKey: d}"),
];

/// The sets of values that bring every setting of the chart's own with them.
fn ways_of(kind: &str) -> impl Iterator<Item = (&'static str, String)> {
    let others = OTHER_WAYS.into_iter().filter(move |(of, _)| *of == kind);
    examples::of(kind).into_iter().chain(others.map(|(_, values)| (values, values.to_owned())))
}

pub(crate) fn rendered(kind: &str, values: &str) -> Vec<Value> {
    let text = helm::template(kind, values).unwrap_or_else(|why| panic!("{kind}: {why}"));
    helm::manifests(&text)
}

fn pod(manifests: &[Value]) -> &Value {
    let workload = manifests.iter().find(|it| it["spec"]["template"]["spec"].is_object());
    &workload.expect("something runs pods")["spec"]["template"]["spec"]
}

pub(crate) fn environment(manifests: &[Value]) -> Vec<&Value> {
    let environment = &pod(manifests)["containers"][0]["env"];
    environment.as_array().expect("it has an environment").iter().collect()
}

#[test]
fn helm_finds_nothing_to_say_about_them() {
    for kind in KINDS {
        let chart = helm::chart(kind);
        let chart = chart.to_str().expect("the checkout's path is text");
        for (name, values) in examples::of(kind) {
            let said = helm::helm(&["lint", "--strict", "--values", "-", chart], &values)
                .unwrap_or_else(|why| panic!("{kind}, {name}: {why}"));
            assert!(!said.contains("[WARNING]"), "{kind}, {name}: {said}");
        }
    }
}

#[test]
fn the_api_server_would_take_what_they_render() {
    let mut manifests = Vec::new();
    for kind in KINDS {
        for (name, values) in examples::of(kind) {
            let of_one = rendered(kind, &values);
            manifests.extend(of_one.into_iter().map(|it| (format!("{kind}, {name}"), it)));
        }
    }
    assert_eq!(helm::mistakes(&manifests), "");

    // The validator can say no.
    let (name, mut broken) = manifests.swap_remove(0);
    broken["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always".into();
    let mistakes = helm::mistakes(&[(name, broken)]);
    assert!(mistakes.contains("imagePullPolice"), "{mistakes}");
}

#[test]
fn a_wrong_value_is_named() {
    let wrong = [
        ("kafka", "replicas: two", "replicas"),
        ("kafka", "topicz: orders", "topicz"),
        ("kafka", "initialOffset: latest", "initialOffset"),
        ("kafka", "certSecret: mine", "keySecret"),
        ("kafka", "settings: {orderin: key}", "orderin"),
        ("kafka", "keda: {enabled: yes please}", "enabled"),
        ("sqs", "maxMessages: 11", "maxMessages"),
        ("sqs", "upstreamTimeout: 30 s", "upstreamTimeout"),
        ("sqs", "keda: {enabled: true}", "queueURL"),
        ("sqs", "{topics: 'arn:aws:sqs:eu-west-1:1:q', keda: {enabled: true}}", "ARN"),
        ("nats", "keda: {enabled: true}", "stream"),
        ("nats", "{stream: ORDERS, keda: {enabled: true}}", "durable"),
        ("mqtt", "qos: 3", "qos"),
        ("mqtt", "keda: {enabled: true}", "keda"),
        ("cron", "logs: {format: xml}", "format"),
        ("cron", "lease: {duration: soon}", "duration"),
        ("cron", "adminPort: 70000", "adminPort"),
        ("cron", "readinessProbe: {period: 3}", "period"),
    ];
    for (kind, values, name) in wrong {
        let why = helm::template(kind, values).expect_err(values);
        assert!(why.contains(name), "{kind}, {values}: {why}");
    }
}

#[test]
fn a_network_policy_of_sqs_lets_out_to_its_queues_and_credentials() {
    let policy = "networkPolicy: {enabled: true}";
    let at_nodes = "awsCredentialsSecret: ''";
    let local = "queueURL: 'http://localstack:4566/0/a,orders'";
    let near = "settings: {endpoint_url: 'http://elasticmq'}";
    for (values, ports) in [
        (format!("{{{policy}}}"), vec![443]),
        (format!("{{{policy}, {at_nodes}}}"), vec![80, 443]),
        (format!("{{{policy}, {local}}}"), vec![443, 4566]),
        (format!("{{{policy}, {near}}}"), vec![80]),
    ] {
        assert_eq!(broker_ports(&rendered("sqs", &values)), ports, "{values}");
    }
}

/// Where a network policy lets out to, but for name servers and the gateway.
fn broker_ports(manifests: &[Value]) -> Vec<u64> {
    let policy = manifests.iter().find(|it| it["kind"] == "NetworkPolicy");
    let egress = policy.expect("there is a policy")["spec"]["egress"].as_array();
    let rules = egress.expect("something goes out").iter();
    let ports = rules.filter_map(|rule| rule["ports"].as_array()).flatten();
    let mut ports: Vec<u64> = ports.filter_map(|port| port["port"].as_u64()).collect();
    ports.retain(|port| ![53, 8080].contains(port));
    ports.sort_unstable();
    ports
}

#[test]
fn what_they_set_are_settings_of_their_connector() {
    for kind in KINDS {
        let known = settings::of(kind);
        for (name, values) in ways_of(kind) {
            let manifests = rendered(kind, &values);
            let mut names = BTreeSet::new();
            for variable in environment(&manifests) {
                let variable = variable["name"].as_str().expect("a variable has a name");
                assert!(names.insert(variable), "{kind}, {name}: {variable} is set twice");
                let is_ours = known.contains_key(variable);
                let is_foreign =
                    OF_AWS.contains(&variable) && kind == "sqs" || variable == "HTTPS_PROXY";
                assert!(is_ours || is_foreign, "{kind}, {name}: {variable} is no setting");
            }
        }
    }
}

#[test]
fn every_file_that_a_setting_names_is_mounted() {
    for kind in KINDS {
        for (name, values) in ways_of(kind) {
            let manifests = rendered(kind, &values);
            let mounted = mounted_secrets(pod(&manifests));
            let named = environment(&manifests)
                .into_iter()
                .filter_map(|variable| variable["value"].as_str());
            for path in named.filter(|value| value.starts_with("/var/secrets/")) {
                assert!(mounted.contains(path), "{kind}, {name}: {path} of {mounted:?}");
            }
        }
    }
}

/// The paths of single keys that the volume of secrets brings to the container.
fn mounted_secrets(pod: &Value) -> BTreeSet<String> {
    let mounts = pod["containers"][0]["volumeMounts"].as_array().into_iter().flatten();
    let mount = mounts.into_iter().find(|mount| mount["name"] == "secrets");
    let volumes = pod["volumes"].as_array().into_iter().flatten();
    let volume = volumes.into_iter().find(|volume| volume["name"] == "secrets");
    let (Some(mount), Some(volume)) = (mount, volume) else { return BTreeSet::new() };
    let folder = mount["mountPath"].as_str().expect("a mount has a path");
    let sources = volume["projected"]["sources"].as_array().expect("it has sources");
    let items = sources.iter().filter_map(|source| source["secret"]["items"].as_array()).flatten();
    items
        .map(|item| format!("{folder}/{}", item["path"].as_str().expect("an item has a path")))
        .collect()
}

#[test]
fn two_releases_do_not_select_each_others_pods() {
    for kind in KINDS {
        let chart = helm::chart(kind);
        let chart = chart.to_str().expect("the checkout's path is text");
        let selectors: BTreeSet<String> = ["one", "two"]
            .into_iter()
            .map(|release| {
                let text = helm::helm(&["template", release, chart], "").expect("it renders");
                let manifests = helm::manifests(&text);
                let workload =
                    manifests.iter().find(|it| !it["spec"]["selector"]["matchLabels"].is_null());
                workload.expect("something selects pods")["spec"]["selector"].to_string()
            })
            .collect();
        assert_eq!(selectors.len(), 2, "{kind}: {selectors:?}");
    }
}

#[test]
fn a_packed_chart_has_its_library_within() {
    let folder = charts::root().join("var/charts-test");
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let folder = folder.to_str().expect("the checkout's path is text");
    for kind in KINDS {
        let chart = helm::chart(kind);
        let chart = chart.to_str().expect("the checkout's path is text");
        let said = helm::helm(&["package", chart, "--destination", folder], "").expect("it packs");
        let archive = said.trim().rsplit(' ').next().expect("it says where");
        let packed = helm::helm(&["template", "one", archive], "").expect("the archive renders");
        let unpacked = helm::helm(&["template", "one", chart], "").expect("the chart renders");
        assert_eq!(packed, unpacked, "{kind}");
    }
}
