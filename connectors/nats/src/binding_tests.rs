//! Which consumers are taken, and what is read from them.

use super::*;

/// A consumer as a server describes it.
fn consumer(config: &str) -> Info {
    let text = format!(
        "{{\"stream_name\":\"S\",\"name\":\"C\",\"created\":\"2026-01-05T10:00:00Z\",\"config\":{{{config}}},\
         \"delivered\":{{\"consumer_seq\":0,\"stream_seq\":0}},\"ack_floor\":{{\"consumer_seq\":0,\"stream_seq\":0}},\
         \"num_ack_pending\":0,\"num_redelivered\":0,\"num_waiting\":0,\"num_pending\":0}}"
    );
    serde_json::from_str(&text).unwrap()
}

const PULL: &str = "\"deliver_policy\":\"all\",\"ack_policy\":\"explicit\",\"ack_wait\":30000000000,\"max_deliver\":-1,\
                    \"replay_policy\":\"instant\"";

#[test]
fn a_pull_consumer_with_explicit_acknowledgements_is_taken() {
    let terms = Terms::of(&consumer(PULL)).unwrap();
    assert_eq!(terms.extend_every(), Duration::from_secs(15));
    assert!(!terms.is_last(1_000_000));
    assert_eq!(terms.wait(Duration::from_secs(3), 1), Duration::from_secs(3));
}

#[test]
fn every_other_consumer_is_refused_with_the_reason() {
    for (config, why) in [
        (PULL.replace("explicit", "none"), "forgets"),
        (PULL.replace("explicit", "all"), "one acknowledgement for all"),
        (format!("{PULL},\"deliver_subject\":\"d\""), "pushes"),
    ] {
        let said = Terms::of(&consumer(&config)).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_backoff_is_the_lease_and_the_least_wait() {
    let config = PULL.replace("-1", "4");
    let config = format!("{config},\"backoff\":[2000000000,6000000000,60000000000]");
    let terms = Terms::of(&consumer(&config)).unwrap();
    assert_eq!(terms.extend_every(), Duration::from_secs(1));
    assert_eq!(terms.wait(Duration::from_secs(3), 1), Duration::from_secs(3));
    assert_eq!(terms.wait(Duration::from_secs(3), 2), Duration::from_secs(6));
    assert_eq!(terms.wait(Duration::from_secs(3), 9), Duration::from_secs(60));
    assert!(!terms.is_last(3));
    assert!(terms.is_last(4));
}

#[test]
fn a_created_consumer_is_known_by_its_name() {
    let filter = Filter::parse("orders.>").unwrap();
    assert_eq!(name("openfaas", &filter), "openfaas-94bd9984fae08da8");
    let mut info = consumer(&format!("{PULL},\"filter_subject\":\"orders.>\""));
    assert_eq!(is_created("openfaas", &info), None);
    info.name = name("openfaas", &filter);
    assert_eq!(is_created("openfaas", &info), Some(filter));
    assert_eq!(is_created("other", &info), None);
}
