//! The ledger, in memory and in its file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use dev_gateway::{Config, Fault, Function, Gate};
use serde_json::Value;

use crate::support::{client, start, start_with, temporary_directory};

fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn every_field_of_a_call_is_recorded() {
    let path = temporary_directory().join("ledger");
    let config = Config { ledger: Some(path.clone()), ledger_bodies: 4, ..Config::default() };
    let gateway = start_with(config.clone()).await;
    gateway.deploy(Function::named("f"));
    gateway.fault("f", Fault::none().times(1).then(Fault::reset().times(1)));
    let post = |body: &'static str| {
        client()
            .post(format!("{}/function/f/x?y", gateway.url()))
            .header("user-agent", "tributary-kafka-connector/1")
            .header("content-type", "text/plain")
            .header("x-topic", "orders")
            .header("x-event-id", "kafka:orders/3@17")
            .header("x-event-attempt", "2")
            .header("x-kafka-key", "a2V5")
            .header("x-kafka-key-enc", "b64")
            .header("x-kafka-partition", "3")
            .header("x-kafka-offset", "17")
            .header("x-more", "a: b")
            .header("x-more", "")
            .body(body)
            .send()
    };
    post("body").await.unwrap();
    assert!(post("too long").await.is_err());
    let call = &gateway.ledger().calls()[0];
    assert_eq!(call.event_id.as_deref(), Some("kafka:orders/3@17"));
    assert_eq!((call.attempt, call.partition, call.offset), (Some(2), Some(3), Some(17)));
    let sent: Vec<_> = call.headers.get_all("x-more").collect();
    assert_eq!((sent, call.header("x-none")), (vec!["a: b", ""], None));
    assert!(call.answered_well() && call.text() == "body");

    let records = records(&path);
    let kinds: Vec<_> = records.iter().map(|record| record["record"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["open", "start", "end", "start", "end"]);
    let start = &records[1];
    for (field, value) in [
        ("n", "0"),
        ("mode", "\"sync\""),
        ("function", "\"f.openfaas-fn\""),
        ("topic", "\"orders\""),
        ("event_id", "\"kafka:orders/3@17\""),
        ("attempt", "2"),
        ("key", "\"a2V5\""),
        ("key_enc", "\"b64\""),
        ("partition", "3"),
        ("offset", "17"),
        ("caller", "\"tributary-kafka-connector/1\""),
        ("content_type", "\"text/plain\""),
        ("method", "\"POST\""),
        ("path", "\"/x?y\""),
        ("connection", "0"),
        ("body_length", "4"),
        ("body_fnv1a", "\"cd4de79bc6c93295\""),
        ("body", "\"Ym9keQ==\""),
    ] {
        assert_eq!(start[field].to_string(), value, "{field}");
    }
    assert!(start["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    let end = &records[2];
    assert_eq!(
        (&end["n"], &end["call_id"], end["status"].as_u64()),
        (&start["n"], &start["call_id"], Some(200))
    );
    assert!(
        end["mono_ns"].as_u64() >= start["mono_ns"].as_u64()
            && end["wall_ns"].as_u64() >= start["wall_ns"].as_u64()
    );
    assert!(records[3].get("body").is_none());
    assert_eq!(
        (records[4]["status"].as_u64(), records[4]["fault"].as_str()),
        (Some(0), Some("reset"))
    );

    drop(gateway);
    drop(start_with(config).await);
    assert_eq!(self::records(&path).len(), 6, "appended, not overwritten");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_seen_stands_in_the_file() {
    let path = temporary_directory().join("ledger");
    let gateway = start_with(Config { ledger: Some(path.clone()), ..Config::default() }).await;
    gateway.deploy(Function::named("f"));
    let client = client();
    let mut callers = Vec::new();
    for caller in 0..16 {
        let (client, url, path) =
            (client.clone(), format!("{}/function/f", gateway.url()), path.clone());
        callers.push(tokio::spawn(async move {
            for attempt in 0..40 {
                let id = format!("{caller}-{attempt}");
                client.post(&url).header("x-call-id", &id).send().await.unwrap();
                let text = std::fs::read_to_string(&path).unwrap();
                let wanted = format!(r#""call_id":"{id}","function":"f.openfaas-fn","status":200"#);
                assert!(text.contains(&wanted), "no end of {id}");
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    let mut lines = BTreeMap::<String, usize>::new();
    for record in records(&path) {
        *lines.entry(record["record"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!((lines["start"], lines["end"]), (640, 640));
}

#[tokio::test]
async fn a_vain_wait_panics_with_an_account_of_the_calls() {
    let gateway = start().await;
    gateway.deploy(Function::named("f"));
    client()
        .post(format!("{}/function/f", gateway.url()))
        .header("x-topic", "orders")
        .send()
        .await
        .unwrap();
    let ledger = gateway.ledger().clone();
    let waited = tokio::spawn(async move {
        ledger
            .wait_for_within(Duration::from_millis(20), "two calls", |calls| {
                calls.topic("orders").count() == 2
            })
            .await;
    });
    let panic = waited.await.unwrap_err().into_panic();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("for two calls; there are 1 calls begun, 0 running"), "{text}");
    assert!(text.contains("#0 f.openfaas-fn topic=orders"), "{text}");
}

#[tokio::test]
async fn old_calls_are_forgotten_beyond_the_bound() {
    let gateway = start_with(Config { remember_calls: 2, ..Config::default() }).await;
    gateway.deploy(Function::named("f"));
    for _ in 0..5 {
        client().post(format!("{}/function/f", gateway.url())).send().await.unwrap();
    }
    let numbers: Vec<_> = gateway.ledger().calls().iter().map(|call| call.number).collect();
    assert_eq!(numbers, [3, 4]);
    gateway.ledger().forget();
    assert_eq!(
        gateway.ledger().with(|calls| (calls.iter().count(), calls.begun(), calls.ended())),
        (0, 5, 5)
    );
}

#[tokio::test]
async fn overlaps_are_told() {
    let gateway = start().await;
    gateway.deploy(Function::named("f"));
    let gate = Gate::closed();
    gateway.fault("f", Fault::gate(&gate));
    let post = || client().post(format!("{}/function/f", gateway.url())).send();
    let both = async { tokio::join!(post(), post()) };
    let open = async {
        gate.wait_for_waiting(2).await;
        gate.open();
    };
    let ((first, second), ()) = tokio::join!(both, open);
    assert!(first.is_ok() && second.is_ok() && post().await.is_ok());
    let calls = gateway.ledger().calls();
    assert!(calls[0].overlaps(&calls[1]) && !calls[1].overlaps(&calls[2]));
}
