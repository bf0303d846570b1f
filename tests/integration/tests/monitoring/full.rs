//! Every fault at once, each at a connector of its own: every alert fires in its fault and at no
//! other connector, none in calm, and every panel shows something.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dev_gateway::{Config, DevGateway, Fault, Function};
use golden::golden;
use integration::metrics::Metrics;
use integration::process::{self, Signal};
use integration::prometheus::Sample;
use integration::{Connector, Launch, Prometheus, Record};
use tokio::time::{Instant, sleep};

use crate::alerts;
use crate::dashboard::{ROWS, sent};
use crate::reference;
use crate::station::{FLOOD, KEPT, LATE, ORDERS, Scene, free_port};

/// What must fire, and for which connector.
const FIRE: &[(&str, &str)] = &[
    ("TributaryGone", "mqtt-gone"),
    ("TributaryNotReady", "sqs-held"),
    ("TributaryGatewayDown", "cron"),
    ("TributaryBrokerDown", "mqtt-away"),
    ("TributaryMapStale", "cron"),
    ("TributaryEventsWait", "kafka-slow"),
    ("TributaryHeld", "sqs-held"),
    ("TributaryDropped", "kafka-drops"),
    ("TributaryDeadLetters", "mqtt-letters"),
    ("TributaryUnmatched", "mqtt-failing"),
    ("TributaryFunctionFails", "mqtt-failing"),
    ("TributaryFunctionSaturated", "nats-stuck"),
    ("TributarySaturated", "kafka-slow"),
    ("TributaryBufferFull", "mqtt-failing"),
    ("TributaryAnnotationSkipped", "mqtt-failing"),
    ("TributaryKafkaRetention", "kafka-slow"),
    ("TributaryKafkaRecordsLost", "kafka-drops"),
    ("TributaryKafkaLagGrows", "kafka-slow"),
    ("TributaryKafkaCommitsFail", "kafka-slow"),
    ("TributarySqsRetention", "sqs-held"),
    ("TributarySqsBacklogGrows", "sqs-held"),
    ("TributarySqsLeasesLost", "sqs-frozen"),
    ("TributarySqsDeletesFail", "sqs-frozen"),
    ("TributaryNatsRetention", "nats-stuck"),
    ("TributaryNatsBacklogGrows", "nats-stuck"),
    ("TributaryNatsLost", "nats-flooded"),
    ("TributaryMqttLost", "mqtt-lossy"),
    ("TributaryMqttFilterRefused", "mqtt-refused"),
    ("TributaryCronBadSchedule", "cron"),
    ("TributaryCronMissed", "cron"),
    ("TributaryCronLeaders", "cron-lease"),
];

/// What a fault brings along at its own connector, rightly.
const BROUGHT_ALONG: &[(&str, &[&str])] = &[
    (
        "TributaryNotReady",
        &[
            "cron",
            "cron-lease",
            "mqtt-away",
            "mqtt-refused",
            "sqs-frozen",
            "kafka-slow",
            "kafka-drops",
        ],
    ),
    (
        "TributaryEventsWait",
        &[
            "sqs-held",
            "sqs-frozen",
            "nats-stuck",
            "nats-flooded",
            "mqtt-failing",
            "mqtt-lossy",
            "cron",
        ],
    ),
    ("TributaryFunctionFails", &["sqs-held", "kafka-drops", "mqtt-letters"]),
    ("TributaryFunctionSaturated", &["kafka-slow", "mqtt-lossy"]),
    ("TributaryDropped", &["cron"]),
    ("TributaryMapStale", &["cron-lease"]),
    ("TributaryKafkaCommitsFail", &["kafka-drops"]),
    ("TributaryKafkaRetention", &["kafka-drops"]),
    ("TributaryKafkaLagGrows", &["kafka-drops"]),
    ("TributaryBrokerDown", &["kafka-slow", "kafka-drops"]),
];

/// What these look at changes once a minute, or when a request has timed out, however fast the
/// alerts are: they are seen to wait for their time, and the unit tests see them fire.
const SLOW: [&str; 3] =
    ["TributarySqsBacklogGrows", "TributarySqsDeletesFail", "TributaryNatsBacklogGrows"];

/// Panels that are about trouble: they show more of it in a fault than in calm.
const TROUBLE: &[(&str, usize)] = &[
    ("Gateway down", 0),
    ("Topics held", 0),
    ("Oldest event", 0),
    ("Dead letters", 0),
    ("Dropped", 0),
    ("Events here", 0),
    ("Events here", 1),
    ("Events here", 2),
    ("Events at the broker", 0),
    ("Age of the oldest against retention", 0),
    ("Age of the oldest against retention", 1),
    ("Age of the oldest against retention", 2),
    ("Running calls against max_inflight", 0),
    ("Payloads held against buffer_bytes", 0),
    ("Calls to be tried again", 0),
    ("Age of the map", 0),
    ("Gateway down, broker away", 1),
    ("Offsets not committed", 0),
    ("Partitions that receive nothing", 0),
    ("The group", 1),
    ("The group", 3),
    ("What makes messages come again", 0),
    ("What makes messages come again", 1),
    ("Core NATS: messages lost", 0),
    ("QoS 0: messages lost", 0),
    ("Schedules, and who calls", 1),
];

/// How long the faults are watched at most.
const WATCHED: Duration = Duration::from_secs(240);

/// The sample with the highest value of each query, so far.
type Highest = BTreeMap<&'static str, Sample>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes four minutes: make prove-monitoring"]
async fn every_alert_fires_in_its_fault_and_every_panel_shows_it() {
    let mut scene = Box::pin(Scene::set()).await;
    let lease_port = free_port();
    let mut targets = Vec::new();
    for station in &scene.stations {
        targets.push((station.job, station.connector.admin_address().await));
    }
    targets.push(("cron-lease", format!("127.0.0.1:{lease_port}")));
    let prometheus = Prometheus::start(&targets, &alerts::sixty_times_as_fast()).await;

    let mut calm = Highest::new();
    let begun = Instant::now();
    // Longer than the longest time that an alert waits, and the longest range of a query.
    while begun.elapsed() < Duration::from_secs(45) {
        scene.publish().await;
        watch(&prometheus, &mut calm).await;
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(firing(&prometheus, false).await, BTreeSet::new(), "nothing is wrong yet");
    for station in &scene.stations {
        reference::is_described(kind(station.job), &station.connector).await;
    }

    let lease = without_its_lease(lease_port).await;
    let gone = begin_all(&mut scene).await;
    gone.end().await;
    let mut fault = Highest::new();
    let seen = watch_faults(&scene, &prometheus, &mut fault).await;
    let expected: BTreeSet<_> = FIRE.iter().map(|&(alert, job)| own(alert, job)).collect();
    let rightly =
        BROUGHT_ALONG.iter().flat_map(|(alert, jobs)| jobs.iter().map(|job| own(alert, job)));
    let rightly: BTreeSet<_> = rightly.chain(expected.clone()).collect();
    let missing: Vec<_> = expected.difference(&seen).collect();
    assert!(missing.is_empty(), "these did not fire: {missing:?}");
    let others: Vec<_> = seen.difference(&rightly).collect();
    assert!(others.is_empty(), "these fired and should not: {others:?}");

    for &(title, query) in TROUBLE {
        for panel in panels().filter(|panel| panel.title == title) {
            let query = panel.queries[query].0;
            let of = |shown: &Highest| shown.get(query).map_or(0.0, |sample| sample.value);
            assert!(of(&fault) > of(&calm), "{title}: {} in calm, {} now", of(&calm), of(&fault));
        }
    }
    let empty: Vec<_> = panels()
        .flat_map(|panel| panel.queries.iter().map(|(query, _)| *query))
        .filter(|query| !calm.contains_key(query) && !fault.contains_key(query))
        .collect();
    assert!(empty.is_empty(), "these never showed anything: {empty:#?}");
    if std::env::var_os("BLESS").is_some() {
        golden("docs/monitoring-samples.md", &samples(&calm, &fault, &seen));
    }

    scene.kafka.thaw();
    process::send(scene.frozen_moto.pid(), Signal::Continue);
    for station in scene.stations {
        station.connector.kill_now().await;
    }
    lease.kill_now().await;
}

/// Begins every fault. Gives the connector that is to go.
async fn begin_all(scene: &mut Scene) -> Connector {
    let at = |job: &str| scene.station(job);
    at("kafka-slow").stop_calls_of("work");
    at("kafka-drops").gateway.fault("work", Fault::status(400));
    let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
    let hour_ago = hour_ago.duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let hour_ago = i64::try_from(hour_ago.as_millis()).expect("it is small");
    scene.kafka.produce_all(ORDERS, (0..20).map(|_| Record::of("x").at(hour_ago))).await;

    at("sqs-held").gateway.fault("work", Fault::status(405));
    scene.queue.send("x", 1_500).await;
    let frozen = at("sqs-frozen");
    frozen.stop_calls_of("work");
    scene.frozen.send("x", 10).await;
    frozen.gate.wait_for_waiting(5).await;
    process::send(scene.frozen_moto.pid(), Signal::Stop);

    for job in ["nats-stuck", "nats-flooded", "mqtt-lossy"] {
        at(job).stop_calls_of("work");
    }
    for _ in 0..3_000 {
        scene.nats.publish(KEPT, "x".into()).await.expect("the connection stands");
    }
    for _ in 0..100 {
        scene.nats.publish(FLOOD, "x".into()).await.expect("the connection stands");
    }

    let failing = at("mqtt-failing");
    failing.gateway.fault("work", Fault::status(500));
    failing.gateway.deploy(Function::named("strange").topic("a/#/b"));
    // In this order: behind what fills the buffer nothing more is received.
    scene.mosquitto.publish("mqtt-failing/nobody", "x");
    scene.mosquitto.publish("mqtt-failing/work", &"x".repeat(100_000));
    at("mqtt-letters").gateway.fault("work", Fault::status(400));
    at("mqtt-refused").gateway.deploy(Function::named("shares").topic("$share/group/topic"));
    scene.brittle.down();

    let strange = Function::named("strange").topic("cron-function");
    at("cron").gateway.deploy(strange.annotation("schedule", "now and then"));
    at("cron")
        .connector
        .metrics_until("the schedule to be refused", |metrics| {
            metrics.sum("tributary_cron_bad_schedules", &[]) == 1.0
        })
        .await;
    at("cron").gateway.stop().await;
    // Last, since it is over at once: the alert remembers it for an hour, which is a minute here.
    lose_records(scene).await;

    let gone = scene.stations.iter().position(|it| it.job == "mqtt-gone").expect("it is there");
    scene.stations.remove(gone).connector
}

/// Has Kafka delete records that are held because no function asks for them.
async fn lose_records(scene: &Scene) {
    let drops = scene.station("kafka-drops");
    scene.kafka.produce_all(LATE, (0..10).map(|n| Record::of(n.to_string()))).await;
    let held =
        |metrics: &Metrics| metrics.sum("tributary_kafka_paused_lanes", &[("cause", "held")]) > 0.0;
    drops.connector.metrics_until("the head to be held", held).await;
    scene.kafka.delete_before(LATE, 0, 6).await;
    drops.gateway.deploy(Function::named("late").topic(LATE));
}

/// A replica that is to take turns with others, and cannot ask who is next.
async fn without_its_lease(admin_port: u16) -> Connector {
    let gateway = DevGateway::start(Config::default()).await.expect("a port is free");
    let launch = Launch::new("cron")
        .set("admin_port", admin_port.to_string())
        .set("gateway_url", gateway.url())
        .set("lease", "cron-connector")
        .set("lease_namespace", "openfaas")
        .set("kubernetes_api", "http://127.0.0.1:1");
    let connector = launch.start().await;
    let joined = |metrics: &Metrics| metrics.sum("tributary_cron_lease", &[]) == 1.0;
    connector.metrics_until("it to join", joined).await;
    connector
}

/// Watches until everything expected has fired, and keeps the pressure up meanwhile. Gives what
/// fired.
async fn watch_faults(
    scene: &Scene,
    prometheus: &Prometheus,
    fault: &mut Highest,
) -> BTreeSet<(String, String)> {
    let (begun, mut frozen) = (Instant::now(), false);
    let mut seen = BTreeSet::new();
    loop {
        watch(prometheus, fault).await;
        seen.extend(firing(prometheus, false).await);
        let pending = firing(prometheus, true).await.into_iter();
        seen.extend(pending.filter(|(alert, _)| SLOW.contains(&alert.as_str())));
        let missing = |alert: &str| !seen.iter().any(|(it, _)| it == alert);
        let left: Vec<_> =
            FIRE.iter().filter(|(alert, job)| !seen.contains(&own(alert, job))).collect();
        if left.is_empty() || begun.elapsed() > WATCHED {
            return seen;
        }
        if !frozen {
            scene.kafka.produce_all(ORDERS, (0..2_000).map(|_| Record::of("x"))).await;
            for _ in 0..50 {
                scene.nats.publish(FLOOD, "x".into()).await.expect("the connection stands");
            }
            scene.mosquitto.publish("mqtt-lossy/work", "x\nx\nx");
            scene.mosquitto.publish("mqtt-letters/work", "x");
        }
        if !missing("TributarySqsLeasesLost") && scene.station("sqs-frozen").gate.waiting() > 0 {
            // Done, and not to be deleted.
            scene.station("sqs-frozen").gate.open();
        }
        if !frozen && left.iter().all(|(alert, _)| *alert == "TributaryKafkaCommitsFail") {
            scene.kafka.freeze();
            scene.station("kafka-slow").gate.open();
            frozen = true;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Asks every query, and keeps the highest samples.
async fn watch(prometheus: &Prometheus, highest: &mut Highest) {
    for &(query, _) in panels().flat_map(|panel| panel.queries) {
        let samples = prometheus.query(&sent(query)).await.into_iter();
        let Some(most) = samples.max_by(|a, b| a.value.total_cmp(&b.value)) else { continue };
        let known = highest.entry(query).or_insert_with(|| most.clone());
        if known.value < most.value {
            *known = most;
        }
    }
}

/// The alerts that fire now, and of which job.
async fn firing(prometheus: &Prometheus, pending: bool) -> BTreeSet<(String, String)> {
    let states = if pending { "" } else { "{alertstate=\"firing\"}" };
    let alerts = prometheus.query(&format!("group by (alertname, job) (ALERTS{states})")).await;
    let label = |sample: &Sample, name: &str| sample.labels.get(name).cloned().unwrap_or_default();
    alerts.iter().map(|it| (label(it, "alertname"), label(it, "job"))).collect()
}

fn own(alert: &str, job: &str) -> (String, String) {
    (alert.to_owned(), job.to_owned())
}

fn kind(job: &str) -> &str {
    job.split('-').next().unwrap_or(job)
}

fn panels() -> impl Iterator<Item = &'static crate::dashboard::Panel> {
    ROWS.iter().flat_map(|row| row.panels)
}

/// What every panel and every alert came to, as a table.
fn samples(calm: &Highest, fault: &Highest, seen: &BTreeSet<(String, String)>) -> String {
    let mut text = "# Every query on a real Prometheus\n\n\
        Written by `BLESS=1 make prove-monitoring`: five kinds of connectors under load, then under every fault at once. \
        Of each query the series with the highest value.\n\n## Panels\n\n\
        | Panel | Query | In calm | In the faults |\n|---|---|---|---|\n"
        .to_owned();
    let shown =
        |of: Option<&Sample>| of.map_or_else(|| "-".to_owned(), |it| format!("{:.3}", it.value));
    for row in ROWS {
        for panel in row.panels {
            for (query, _) in panel.queries {
                let code = query.replace('|', "\\|");
                let (calm, fault) = (shown(calm.get(query)), shown(fault.get(query)));
                writeln!(text, "| {}: {} | `{code}` | {calm} | {fault} |", row.title, panel.title)
                    .expect("a string takes everything");
            }
        }
    }
    text += "\n## Alerts\n\nIn calm none fired. A second stood for each minute.\n\n\
        | Alert | Query | Fired for |\n|---|---|---|\n";
    for alert in alerts::all() {
        let jobs = seen.iter().filter(|(name, _)| *name == alert.name).map(|(_, job)| job.as_str());
        let jobs: Vec<_> = jobs.collect();
        let code = alert.expr.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        writeln!(text, "| {} | `{code}` | {} |", alert.name, jobs.join(", "))
            .expect("a string takes everything");
    }
    text
}

#[test]
fn every_alert_has_its_fault() {
    let alerts = alerts::all();
    let names: Vec<_> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    let faults: Vec<_> = FIRE.iter().map(|(alert, _)| *alert).collect();
    assert_eq!(names, faults);
    let panels: BTreeSet<_> = panels().map(|panel| panel.title).collect();
    for (title, _) in TROUBLE {
        assert!(panels.contains(title), "there is no panel {title}");
    }
    assert!(SLOW.iter().all(|slow| names.contains(slow)));
}
