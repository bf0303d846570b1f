//! Whatever a topic holds reaches the function byte for byte.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dev_gateway::{Call, Calls};
use integration::{Record, until};
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

use super::scene::Scene;

const MEGABYTE: usize = 1_000_000;

/// Records of many sizes, half of them compressible, each told from all others by its key.
fn records(name: &str) -> Vec<Record> {
    let mut random = StdRng::seed_from_u64(7);
    let sizes = [0, 1, 100, 70_000, MEGABYTE, 1_900_000];
    let record = |(number, size): (usize, usize)| {
        let mut payload = vec![b'x'; size];
        if number.is_multiple_of(2) {
            random.fill_bytes(&mut payload);
        }
        Record::of(payload).key(format!("{name}-{number}")).partition(0)
    };
    sizes.into_iter().chain(sizes).enumerate().map(record).collect()
}

/// By key: the payload's length and hash.
type Told = BTreeMap<String, (usize, u64)>;

fn told(records: &[Record]) -> Told {
    let one = |record: &Record| {
        let key = String::from_utf8(record.key.clone().unwrap_or_default()).expect("keys are text");
        let payload = record.payload.as_deref().unwrap_or_default();
        (key, (payload.len(), ledger_checker::plan::fnv1a(payload)))
    };
    records.iter().map(one).collect()
}

fn called(calls: &Calls) -> Told {
    let one =
        |call: &Call| (call.key.clone().unwrap_or_default(), (call.body_length, call.body_hash));
    calls.well().map(one).collect()
}

#[tokio::test]
async fn every_compression_is_undone() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("compressed", 1).await;
    scene.deploy("unpacker", &topic);
    let mut all = Told::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let records = records(codec);
        // Together, so that they share batches.
        let settings = [("compression.type", codec), ("linger.ms", "50")];
        scene.broker.produce_with(&topic, &records, &settings).await;
        all.extend(told(&records));
    }
    let connector = scene.connector(&[&topic]).set("ordering", "key").ready().await;
    let ledger = scene.gateway.ledger();
    ledger.wait_for("all of them", |calls| calls.well().count() >= all.len()).await;
    assert_eq!(ledger.with(called), all);
    assert_eq!(ledger.calls().len(), all.len());
    connector.end().await;
}

#[tokio::test]
async fn records_larger_than_max_bytes_come_all_the_same() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("larger", 1).await;
    scene.deploy("large", &topic);
    let records = records("larger");
    scene.broker.produce_all(&topic, records.clone()).await;
    let launch = scene.connector(&[&topic]).set("max_bytes", "1024").set("buffer_bytes", "64Ki");
    let connector = launch.ready().await;
    let end = i64::try_from(records.len()).expect("few");
    scene.broker.wait_for_commit(&scene.group, &topic, 0, end).await;
    assert_eq!(scene.gateway.ledger().with(called), told(&records));
    connector.end().await;
}

#[tokio::test]
async fn keys_and_headers_named_like_ours_are_theirs() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("posing", 1).await;
    scene.deploy("posed", &topic);
    let record = Record::of("x")
        .key("X-Kafka-Key: forged")
        .header("key", "theirs")
        .header("key", "theirs again")
        .header("topic", "another")
        .header("tombstone", "true")
        .header("X-Topic", "another")
        .header("x-event-id", "forged")
        .header("Host", "elsewhere");
    scene.broker.produce(&topic, record).await;
    // Without a key, but for the header of that name.
    scene.broker.produce(&topic, Record::of("x").header("key", "forged")).await;
    let connector = scene.connector(&[&topic]).ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 2).await;
    let calls = scene.gateway.ledger().calls();
    assert_eq!(calls[1].header("x-kafka-key"), None);
    assert_eq!(calls[1].header("x-kafka-header-key"), Some("forged"));
    let call = &calls[0];
    let all = |name: &str| call.headers.get_all(name).collect::<Vec<_>>();
    assert_eq!(all("x-kafka-key"), ["X-Kafka-Key: forged"]);
    assert_eq!(all("x-kafka-header-key"), ["theirs", "theirs again"]);
    assert_eq!(all("x-topic"), [topic.as_str()]);
    assert_eq!(all("x-event-id"), [format!("kafka:{topic}/0@0")]);
    assert_eq!(all("x-kafka-x-topic"), ["another"]);
    assert_eq!(all("x-kafka-x-event-id"), ["forged"]);
    assert_eq!(all("x-kafka-host"), ["elsewhere"]);
    // A value that is there is no tombstone, whatever a header says.
    assert_eq!(all("x-kafka-header-tombstone"), ["true"]);
    assert_eq!(all("x-kafka-tombstone"), [""; 0]);
    connector.end().await;
}

#[tokio::test]
async fn a_key_that_is_no_text_is_encoded_and_an_empty_one_is_one() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("keys", 1).await;
    scene.deploy("keys", &topic);
    let keys: [Option<&[u8]>; 4] = [None, Some(b""), Some(b"\xff\0\n"), Some("käse".as_bytes())];
    for key in keys {
        let record = Record { key: key.map(<[u8]>::to_vec), ..Record::of("x") };
        scene.broker.produce(&topic, record).await;
    }
    let connector = scene.connector(&[&topic]).ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 4).await;
    let arrived = scene.gateway.ledger().calls().into_iter().map(|call| {
        let key = call.header("x-kafka-key")?.to_owned();
        Some(match call.header("x-kafka-key-enc") {
            Some("b64") => STANDARD.decode(key).expect("base64, as its companion says"),
            _ => key.into_bytes(),
        })
    });
    assert_eq!(arrived.collect::<Vec<_>>(), keys.map(|key| key.map(<[u8]>::to_vec)));
    connector.end().await;
}

#[tokio::test]
async fn an_open_transaction_holds_what_comes_behind_it() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("open", 1).await;
    scene.deploy("bookkeeper", &topic);
    let numbered = |numbers: std::ops::Range<usize>| numbers.map(|n| Record::of(n.to_string()));
    scene.broker.produce_all(&topic, numbered(0..3)).await;
    let first = scene.broker.transaction(&topic, numbered(3..6).collect()).await;
    let second = scene.broker.transaction(&topic, numbered(6..9).collect()).await;
    scene.broker.produce_all(&topic, numbered(9..12)).await;

    let connector = scene.connector(&[&topic]).ready().await;
    // Who does not care reads on to the end: by then the other has read all that it may.
    let heedless = Scene::at(scene.broker.clone()).await;
    heedless.deploy("heedless", &topic);
    let launch = heedless.connector(&[&topic]).set("isolation_level", "read_uncommitted");
    let other = launch.ready().await;
    heedless.broker.wait_for_commit(&heedless.group, &topic, 0, 12).await;
    other.end().await;
    let called = || scene.gateway.ledger().calls().iter().map(Call::text).collect::<Vec<_>>();
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 3).await;
    assert_eq!(called(), ["0", "1", "2"]);

    // The later one ends first, and changes nothing.
    second.end(true).await;
    first.end(false).await;
    let look = async || scene.gateway.ledger().calls().len();
    until("what is behind to be called", look, |calls| *calls >= 9).await;
    assert_eq!(called(), ["0", "1", "2", "6", "7", "8", "9", "10", "11"]);
    connector.end().await;
}
