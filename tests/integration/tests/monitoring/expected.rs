//! What each fault has to do to the alerts and to the panels.

use std::ops::RangeInclusive;

use crate::alerts;
use crate::dashboard::{self, ROWS};
use crate::scene::{Fired, KINDS};

/// What must fire, and for which job.
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
pub(crate) const SLOW: [&str; 3] =
    ["TributarySqsBacklogGrows", "TributarySqsDeletesFail", "TributaryNatsBacklogGrows"];

/// A query of a panel, by the panel's row and title and its place there.
type Place = (&'static str, &'static str, usize);

/// What panels show in calm; of several series, all of them.
pub(crate) const CALM: &[(Place, RangeInclusive<f64>)] = &[
    (("Overview", "Ready", 0), 1.0..=1.0),
    (("Overview", "Brokers reached", 0), 1.0..=1.0),
    (("Overview", "Gateway down", 0), 0.0..=0.0),
    (("Overview", "Topics held", 0), 0.0..=0.0),
    (("Overview", "Oldest event", 0), 0.0..=10.0),
    (("Overview", "Dead letters", 0), 0.0..=0.0),
    (("Overview", "Dropped", 0), 0.0..=0.0),
    (("What waits", "Age of the oldest against retention", 0), 0.0..=0.1),
    (("What waits", "Age of the oldest against retention", 1), 0.0..=0.1),
    (("What waits", "Age of the oldest against retention", 2), 0.0..=0.1),
    (("Limits", "Running calls against max_inflight", 0), 0.0..=0.5),
    (("Limits", "Functions nearest to their limits", 0), 0.0..=0.5),
    (("Limits", "Payloads held against buffer_bytes", 0), 0.0..=0.01),
    (("Gateway, map, broker", "Age of the map", 0), 0.0..=8.0),
    (("Gateway, map, broker", "Functions mapped, and items not used", 1), 0.0..=0.0),
    (("Gateway, map, broker", "Gateway down, broker away", 0), 0.0..=0.0),
    (("Gateway, map, broker", "Gateway down, broker away", 1), 0.0..=0.0),
    (("Kafka", "The group", 1), 0.0..=0.0),
    (("Kafka", "The group", 3), 0.0..=0.0),
    (("SQS", "What makes messages come again", 0), 0.0..=0.0),
    (("SQS", "What makes messages come again", 1), 0.0..=0.0),
    (("MQTT", "Sessions, and filters refused", 0), 1.0..=1.0),
    (("MQTT", "Sessions, and filters refused", 1), 0.0..=0.0),
    (("Cron", "Schedules, and who calls", 0), 1.0..=1.0),
    (("Cron", "Schedules, and who calls", 1), 0.0..=0.0),
    (("Cron", "Schedules, and who calls", 2), 1.0..=1.0),
];

/// Panels that show less than in calm in a fault of this kind of connector.
pub(crate) const LESS: &[(Place, &str)] =
    &[(("Overview", "Ready", 0), "sqs"), (("Overview", "Brokers reached", 0), "mqtt")];

/// Panels that show more than in calm in a fault of this kind of connector.
pub(crate) const MORE: &[(Place, &str)] = &[
    (("Overview", "Gateway down", 0), "cron"),
    (("Overview", "Topics held", 0), "sqs"),
    (("Overview", "Oldest event", 0), "kafka"),
    (("Overview", "Dead letters", 0), "mqtt"),
    (("Overview", "Dropped", 0), "kafka"),
    (("What waits", "Oldest event", 0), "kafka"),
    (("What waits", "Events here", 0), "kafka"),
    (("What waits", "Events here", 1), "mqtt"),
    (("What waits", "Events here", 2), "sqs"),
    (("What waits", "Events at the broker", 0), "kafka"),
    (("What waits", "Age of the oldest against retention", 0), "kafka"),
    (("What waits", "Age of the oldest against retention", 1), "sqs"),
    (("What waits", "Age of the oldest against retention", 2), "nats"),
    (("Limits", "Running calls against max_inflight", 0), "kafka"),
    (("Limits", "Functions nearest to their limits", 0), "nats"),
    (("Limits", "Payloads held against buffer_bytes", 0), "mqtt"),
    (("Retries and dead letters", "Calls to be tried again", 0), "mqtt"),
    (("Retries and dead letters", "Dead letters", 0), "mqtt"),
    (("Retries and dead letters", "Dropped", 0), "kafka"),
    (("Gateway, map, broker", "Age of the map", 0), "cron"),
    (("Gateway, map, broker", "Functions mapped, and items not used", 1), "mqtt"),
    (("Gateway, map, broker", "Gateway down, broker away", 0), "cron"),
    (("Gateway, map, broker", "Gateway down, broker away", 1), "mqtt"),
    (("Kafka", "Offsets not committed", 0), "kafka"),
    (("Kafka", "Partitions that receive nothing", 0), "kafka"),
    (("Kafka", "The group", 1), "kafka"),
    (("Kafka", "The group", 3), "kafka"),
    (("SQS", "What makes messages come again", 0), "sqs"),
    (("SQS", "What makes messages come again", 1), "sqs"),
    (("NATS", "Core NATS: messages lost", 0), "nats"),
    (("MQTT", "Sessions, and filters refused", 1), "mqtt"),
    (("MQTT", "QoS 0: messages lost", 0), "mqtt"),
    (("Cron", "Schedules, and who calls", 1), "cron"),
];

/// The query at this place.
pub(crate) fn query(&(row, title, number): &Place) -> &'static str {
    let row = ROWS.iter().find(|it| it.title == row).expect("there is such a row");
    let panel = row.panels.iter().find(|it| it.title == title);
    panel.unwrap_or_else(|| panic!("there is no panel {title}")).queries[number].0
}

/// The kind of connector that is scraped under this job.
pub(crate) fn kind(job: &str) -> &str {
    job.split('-').next().unwrap_or(job)
}

/// What connectors of this kind have to fire and have not.
pub(crate) fn left(of: &str, fired: &Fired) -> Vec<(&'static str, &'static str)> {
    let all = FIRE.iter().copied().filter(|(_, job)| kind(job) == of);
    all.filter(|&(alert, job)| !fired.contains(&own(alert, job))).collect()
}

/// What has fired and should not have.
pub(crate) fn unexpected(fired: &Fired) -> Vec<&(String, String)> {
    let rightly = |(alert, job): &&(String, String)| {
        let along =
            BROUGHT_ALONG.iter().any(|(it, jobs)| it == alert && jobs.contains(&job.as_str()));
        along || FIRE.iter().any(|(it, its)| it == alert && its == job)
    };
    fired.iter().filter(|it| !rightly(it)).collect()
}

fn own(alert: &str, job: &str) -> (String, String) {
    (alert.to_owned(), job.to_owned())
}

#[test]
fn every_alert_has_its_fault() {
    let alerts = alerts::all();
    let names: Vec<_> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    let faults: Vec<_> = FIRE.iter().map(|(alert, _)| *alert).collect();
    assert_eq!(names, faults);
    assert!(FIRE.iter().all(|(_, job)| KINDS.contains(&kind(job))));
    assert!(SLOW.iter().all(|slow| names.contains(slow)));
}

#[test]
fn every_place_is_one_on_the_dashboard() {
    let places = CALM.iter().map(|(place, _)| place);
    let places = places.chain(LESS.iter().chain(MORE).map(|(place, _)| place));
    for place in places {
        assert!(dashboard::queries().any(|it| it == query(place)));
    }
}
