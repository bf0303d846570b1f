//! Events reach their function once, as they are, from however many lanes.

use dev_gateway::{Fault, Function};

use super::{FUNCTION, Message, Play, Setup, Stage};

/// Every event is called once, answered well, and settled.
pub async fn delivered_once<S: Stage>() {
    let play = Play::<S>::new(Setup::default()).await;
    let (before, after) = (Message::many("before", 30), Message::many("after", 30));
    play.stage.publish(&before).await;
    let connector = play.launch().ready().await;
    play.stage.publish(&after).await;
    play.delivered(&before).await;
    play.delivered(&after).await;
    play.settled().await;
    play.assert_called_once_each(&before);
    play.assert_called_once_each(&after);

    let metrics = connector.metrics().await;
    assert_eq!((metrics.received(), metrics.came("delivered")), (60, 60), "{metrics:?}");
    connector.end().await;
    // Nothing comes again in the next process either.
    let connector = play.launch().ready().await;
    let last = Message::many("last", 1);
    play.stage.publish(&last).await;
    play.delivered(&last).await;
    assert_eq!(connector.metrics().await.received(), 1);
    connector.end().await;
}

/// Payloads arrive byte for byte: empty, large, and every byte there is.
pub async fn payloads_are_unchanged<S: Stage>() {
    let play = Play::<S>::new(Setup::default()).await;
    let large = (0..S::CAPABILITIES.largest_payload).map(|n| (n * 31 % 251) as u8).collect();
    let payloads: [Vec<u8>; 4] =
        [Vec::new(), (0..=255).collect(), b"{\"a\":\"\\u00e9\"}\r\n\0".to_vec(), large];
    let messages: Vec<_> = payloads
        .into_iter()
        .enumerate()
        .map(|(n, payload)| Message { key: n.to_string().into(), payload })
        .collect();
    play.stage.publish(&messages).await;
    let connector = play.launch().ready().await;
    play.settled().await;
    // The ledger keeps a hash where it keeps no body.
    let mut called: Vec<_> = play
        .gateway
        .ledger()
        .with(|calls| calls.of(FUNCTION).map(|call| (call.body_length, call.body_hash)).collect());
    let mut published: Vec<_> =
        messages.iter().map(|m| (m.payload.len(), fnv1a(&m.payload))).collect();
    called.sort_unstable();
    published.sort_unstable();
    assert_eq!(called, published);
    connector.end().await;
}

/// Headers of any request, and those that the gateway adds.
const NOT_OURS: [&str; 7] = [
    "host",
    "accept",
    "content-length",
    "x-call-id",
    "x-start-time",
    "x-forwarded-for",
    "x-forwarded-host",
];

/// What a function is called with, and the function for dead letters, stands in the reference that
/// the binary prints of its headers.
pub async fn every_header_is_in_the_reference<S: Stage>() {
    const UNDERTAKER: &str = "undertaker";
    let play = Play::<S>::new(Setup::default()).await;
    play.gateway.deploy(Function::named(UNDERTAKER));
    play.gateway.fault(FUNCTION, Fault::status(400).body("no"));
    let launch = play.launch().set("dead_letter", format!("function:{UNDERTAKER}"));
    let reference = launch.clone().argument("-header-reference").run().await.stdout();
    let rows = reference.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let known: Vec<String> = rows.map(str::to_ascii_lowercase).collect();

    let connector = launch.ready().await;
    // The key is one that needs a companion where it is sent.
    play.stage.publish(&[Message::new("\u{e9}", "one")]).await;
    let ledger = play.gateway.ledger();
    ledger.wait_for("the letter", |calls| calls.of(UNDERTAKER).next().is_some()).await;
    ledger.with(|calls| {
        let headers = calls.iter().flat_map(|call| call.headers.iter().map(|(name, _)| name));
        for name in headers.filter(|name| !NOT_OURS.contains(name)) {
            let is_known = known.iter().any(|known| known == name.trim_end_matches("-enc"));
            assert!(is_known, "{name} is not in the reference:\n{reference}");
        }
        let letter = calls.of(UNDERTAKER).next().expect("it was waited for");
        for note in known.iter().filter(|known| known.starts_with("x-dead-letter-")) {
            assert!(letter.header(note).is_some(), "{note} is not sent");
        }
    });
    connector.end().await;
}

/// More lanes than the process may run calls, all idle but one: the busy one moves.
pub async fn idle_lanes_do_not_hold_up_a_busy_one<S: Stage>() {
    let play = Play::<S>::new(Setup { lanes: 24, ..Setup::default() }).await;
    play.deploy(Function::named("beside"));
    let launch = play.launch().set("lane_window", "2").set("max_inflight", "2");
    let connector = launch.ready().await;
    // One key, one lane.
    let messages: Vec<_> = (0..100).map(|n| Message::new("the busy one", &n.to_string())).collect();
    play.stage.publish(&messages).await;
    play.delivered(&messages).await;
    play.settled().await;
    play.assert_called_once_each(&messages);
    connector.end().await;
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
