//! What the status page is made from, while things happen.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::bench::{Bench, event, submit};
use super::gateway::status;
use crate::lane::Verdict;
use crate::settings::ShownSetting;
use crate::status::{About, Status};

fn shown(bench: &Bench) -> Value {
    let setting = ShownSetting {
        name: "broker_password",
        value: "(set)".to_owned(),
        origin: None,
        chosen: true,
    };
    let about = About { kind: "test", started: SystemTime::now(), settings: vec![setting] };
    serde_json::to_value(Status::of(&bench.intake, &about)).expect("a document")
}

/// The entry of a list whose `field` is `value`.
fn entry<'a>(list: &'a Value, field: &str, value: &str) -> &'a Value {
    let entries = list.as_array().expect("a list");
    entries.iter().find(|it| it[field] == value).unwrap_or_else(|| panic!("no {value} in {list}"))
}

#[tokio::test(start_paused = true)]
async fn it_tells_of_each_function_what_it_is_called_for_and_what_came_of_it() {
    let settings = [("initial_retry_wait", "1m"), ("max_retry_wait", "1m")];
    let bench =
        Bench::new(&settings, |seen| status(if seen.function == "bad" { 500 } else { 200 })).await;
    bench.map(&[
        ("bad", "t", &[("connector.concurrency", "3"), ("connector.dead-letter", "topic:late")]),
        ("good", "t,u", &[]),
        ("idle", "v,kafka:t", &[("connector.async", "true"), ("connector.concurrency", "many")]),
        ("other", "kafka:t", &[]),
    ]);
    let lane = bench.lane(|_| {});
    let waits = submit(&lane, event("1", None)).await;
    bench
        .until("an event waits for its next attempt", |bench| {
            shown(bench)["functions"][0]["retrying"] == 1
        })
        .await;

    let status = shown(&bench);
    assert_eq!(status["connector"], "test");
    assert_eq!(status["events"]["received"], 1);
    assert_eq!(status["events"]["in_flight"], 1);
    let bad = entry(&status["functions"], "name", "bad");
    assert_eq!(bad["calls"]["retry"], 1);
    assert_eq!(bad["limit"], 3);
    assert_eq!(bad["dead_letter"], "topic:late");
    assert_eq!(bad["last_failure"]["topic"], "t");
    assert_eq!(bad["last_failure"]["why"], "status 500: answer");
    assert_eq!(bad["recent"]["failed"].as_array().unwrap().last(), Some(&json!(1)));
    let good = entry(&status["functions"], "name", "good");
    assert_eq!((&good["topics"], &good["calls"]["well"]), (&json!(["t", "u"]), &json!(1)));
    assert_eq!((&good["retrying"], &good["last_failure"]), (&json!(0), &Value::Null));
    let idle = entry(&status["functions"], "name", "idle");
    assert_eq!(
        (&idle["async"], &idle["calls"], &idle["topics"]),
        (&json!(true), &json!({}), &json!(["v"]))
    );
    assert_eq!(status["unmapped"], json!(["other"]));
    let topic = entry(&status["topics"], "topic", "t");
    assert_eq!(topic["functions"], json!(["bad", "good"]));
    let received = entry(&status["received"], "topic", "t");
    assert_eq!(
        (&received["received"], &received["functions"]),
        (&json!(1), &json!(["bad", "good"]))
    );
    let skipped = entry(&status["skipped"], "item", "many");
    assert_eq!(skipped["annotation"], "connector.concurrency");
    assert_eq!(entry(&status["skipped"], "function", "other")["foreign"], true);
    assert_eq!(status["settings"][0]["value"], "(set)");
    drop(waits);
}

#[tokio::test(start_paused = true)]
async fn a_look_makes_nothing_of_functions_that_were_never_called() {
    let bench = Bench::new(&[], |_| status(200)).await;
    assert_eq!(entry(&shown(&bench)["functions"], "name", "f")["limit"], 10);
    assert!(!bench.intake.metrics().encode().contains("function=\"f\""));
}

#[tokio::test(start_paused = true)]
async fn holds_and_dead_letters_are_told() {
    let bench = Bench::new(&[("dead_letter", "hold")], |_| status(400)).await;
    let lane = bench.lane(|_| {});
    let held = submit(&lane, event("1", None)).await;
    bench.until("the topic is held", |bench| shown(bench)["held"][0]["function"] == "f").await;
    let status_now = shown(&bench);
    assert_eq!(status_now["held"][0]["why"], "refused: status 400: answer");
    assert_eq!(status_now["ready"], false);
    assert_eq!(entry(&status_now["conditions"], "subject", "t => f")["blocks_ready"], true);
    drop(held);

    let bench = Bench::new(&[("dead_letter", "topic:late")], |_| status(400)).await;
    let lane = bench.lane(|_| {});
    let settled = submit(&lane, event("1", None)).await.await;
    assert_eq!(settled.verdict, Verdict::Done);
    let status_now = shown(&bench);
    assert_eq!(entry(&status_now["functions"], "name", "f")["dead_letters"], 1);
    assert_eq!(status_now["events"]["ended"]["dead_lettered"], 1);
}

#[tokio::test(start_paused = true)]
async fn who_takes_dead_letters_is_shown_by_the_name_it_is_listed_by() {
    let settings = [("dead_letter", "function:undertaker")];
    let bench = Bench::new(&settings, |seen| match &*seen.function {
        "undertaker" => status(200),
        _ => status(400),
    })
    .await;
    bench.map(&[("f.ns", "t", &[]), ("undertaker.ns", "u", &[])]);
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    let functions = &shown(&bench)["functions"];
    assert_eq!(functions.as_array().map(Vec::len), Some(2), "{functions}");
    assert_eq!(entry(functions, "name", "undertaker.ns")["calls"]["well"], 1);
}

/// What the page of metrics has under this name; empty: nothing yet.
fn measured(bench: &Bench, name: &str) -> String {
    let page = bench.intake.page();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn the_metrics_tell_of_what_waits_and_how_near_the_limits_are() {
    let settings = [
        ("initial_retry_wait", "1h"),
        ("max_retry_wait", "1h"),
        ("function_concurrency", "3"),
        ("buffer_bytes", "1Mi"),
    ];
    let bench = Bench::new(&settings, |seen| match &*seen.function {
        "failing" => status(500),
        "moved" => status(405),
        _ => status(200),
    })
    .await;
    bench.map(&[("failing", "t", &[]), ("moved", "u", &[]), ("strange", "x", &[("topics", "y")])]);
    let lane = bench.lane(|_| {});
    let _retried = submit(&lane, event("1", None)).await;
    let retrying = "tributary_function_retrying_events{function=\"failing\"}";
    bench.until("its first call has failed", |bench| measured(bench, retrying) == "1").await;
    tokio::time::advance(Duration::from_secs(61)).await;
    let mut held = event("2", None);
    held.topic = "u".into();
    let _held = submit(&lane, held).await;
    bench.until("it is held", |bench| measured(bench, "tributary_held_events") == "1").await;

    for (name, value) in [
        ("tributary_ready", "0"),
        ("tributary_events_in_flight", "2"),
        ("tributary_holds", "1"),
        ("tributary_calls_running", "0"),
        ("tributary_function_calls_running{function=\"failing\"}", "0"),
        ("tributary_function_calls_limit{function=\"failing\"}", "3"),
        ("tributary_buffer_bytes", "2"),
        ("tributary_buffer_limit_bytes", "1048576"),
        ("tributary_map_functions", "3"),
    ] {
        assert_eq!(measured(&bench, name), value, "{name}");
    }
    let oldest: f64 = measured(&bench, "tributary_oldest_event_seconds").parse().unwrap();
    assert!((60.0..120.0).contains(&oldest), "{oldest}");
    let listed: u64 = measured(&bench, "tributary_map_listed_timestamp_seconds").parse().unwrap();
    assert!(listed > 1_600_000_000, "{listed}");
}
