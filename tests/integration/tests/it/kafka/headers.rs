//! Everything of a record reaches its function, byte for byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dev_gateway::Call;
use integration::Record;

use super::scene::Scene;

/// Every value of a header as bytes, decoded where its companion says that it is encoded.
fn values(call: &Call, name: &str) -> Vec<Vec<u8>> {
    let encoded = call.headers.get(&format!("{name}-enc")) == Some("b64");
    let decode = |value: &str| match encoded {
        true => STANDARD.decode(value).expect("base64, as its companion says"),
        false => value.as_bytes().to_vec(),
    };
    call.headers.get_all(name).map(decode).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_record_arrives_whole() {
    const KEY: &[u8] = b"\xffkey\0\r\n";
    const BINARY: &[u8] = b"\0\x01\r\nX-Topic: forged\xfe\xff";
    const ILLEGAL: &str = "a name\nwith ä";
    let every_byte: Vec<u8> = (0..=255).collect();
    let scene = Scene::new().await;
    let topic = scene.broker.topic("headers", 2).await;
    scene.deploy("reader", &topic);
    let mut record = Record::of(every_byte.clone())
        .partition(1)
        .key(KEY)
        .header("trace", "t-1")
        .header("multi", "a")
        .header("multi", "b, c")
        .header("multi", "a")
        .header("binary", BINARY)
        .header(ILLEGAL, "still here")
        .header("empty", "")
        .header("spaces", "  around  ")
        // What poses as the connector's own.
        .header("partition", "99")
        .header("Offset", "98")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("Content-Type", "application/x-ours");
    record.headers.push(("null".to_owned(), None));
    scene.broker.produce(&topic, Record::of("earlier").partition(1)).await;
    let (partition, offset) = scene.broker.produce(&topic, record).await;
    assert_eq!((partition, offset), (1, 1));

    let connector = scene.connector(&[&topic]).ready().await;
    scene.gateway.ledger().wait_for("two calls", |calls| calls.well().count() == 2).await;
    let call = scene.gateway.ledger().calls()[1].clone();
    assert_eq!(call.body.as_deref(), Some(&*every_byte));
    let one = |name: &str| {
        let mut all = values(&call, name);
        assert_eq!(all.len(), 1, "{name}: {all:?}");
        String::from_utf8_lossy(&all.remove(0)).into_owned()
    };
    assert_eq!(one("x-topic"), topic);
    assert_eq!(one("x-connector"), "kafka-connector");
    assert!(one("user-agent").starts_with("tributary-kafka-connector/"));
    assert_eq!(one("x-event-id"), format!("kafka:{topic}/1@1"));
    assert_eq!(one("x-event-attempt"), "1");
    assert_eq!((one("x-kafka-partition"), one("x-kafka-offset")), ("1".into(), "1".into()));
    assert!(one("x-kafka-timestamp").parse::<u64>().is_ok_and(|ms| ms > 1_500_000_000_000));
    assert_eq!(one("content-type"), "application/x-ours");
    assert!(one("traceparent").starts_with("00-0af76519"));

    assert_eq!(values(&call, "x-kafka-key"), [KEY]);
    assert_eq!(values(&call, "x-kafka-trace"), [b"t-1"]);
    assert_eq!(values(&call, "x-kafka-multi"), [b"a".as_slice(), b"b, c", b"a"]);
    assert_eq!(values(&call, "x-kafka-binary"), [BINARY]);
    let illegal = format!("x-kafka-hex-{}", hex(ILLEGAL.as_bytes()));
    assert_eq!(values(&call, &illegal), [b"still here"]);
    assert_eq!(values(&call, "x-kafka-empty"), [b""]);
    assert_eq!(values(&call, "x-kafka-spaces"), [b"  around  "]);
    assert_eq!(values(&call, "x-kafka-header-partition"), [b"99"]);
    assert_eq!(values(&call, "x-kafka-header-offset"), [b"98"]);
    assert_eq!(values(&call, "x-kafka-null"), [b""]);
    assert_eq!(call.header("x-kafka-null-null"), Some("true"));
    assert_eq!(call.header("x-kafka-empty-null"), None);
    connector.end().await;
}

#[tokio::test]
async fn a_tombstone_is_told_from_an_empty_value() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("tombstones", 1).await;
    scene.deploy("mourner", &topic);
    scene.broker.produce(&topic, Record { key: Some(b"k".to_vec()), ..Record::default() }).await;
    scene.broker.produce(&topic, Record::of("").key("k")).await;
    let connector = scene.connector(&[&topic]).ready().await;
    scene.gateway.ledger().wait_for("two calls", |calls| calls.well().count() == 2).await;
    let calls = scene.gateway.ledger().calls();
    assert!(calls.iter().all(|call| call.body_length == 0));
    let told: Vec<_> = calls.iter().map(|call| call.header("x-kafka-tombstone")).collect();
    assert_eq!(told, [Some("true"), None]);
    connector.end().await;
}
