//! How long an event takes from being published to the beginning of its function, at a steady pace.
//!
//! Each event carries the instant at which it was handed to the broker's client; the gateway notes the one at which it
//! has read the call. Both are read off one clock. What the broker takes is part of it; a receiver beside the connector,
//! that does nothing but receive, tells how much that is.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration::Gateway;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use crate::figures::{Row, count, millis, quantile};
use crate::oha;
use crate::run::{limited, reach};
use crate::source::{PAYLOAD, RUNNING, Sender as _, Source};

const WARM_UP: Duration = Duration::from_secs(2);
/// So long that no more calls are looked at than the gateway remembers.
const MEASURED: Duration = Duration::from_secs(10);
/// Fewer have no thousandth.
const ENOUGH: usize = 2_000;

pub(crate) async fn latency<S: Source>(source: &S) -> Vec<Row> {
    eprintln!("{}: latency", S::TITLE);
    let gateway = Gateway::start(None).await;
    let place = source.place(S::WIDTH, &gateway).await;
    gateway.deploy("work", &place.asked).await;
    let connector = limited(source.launch(&place), &gateway, RUNNING).ready().await;
    connector.line(S::RECEIVES).await;

    let warm_up = S::PACE * WARM_UP.as_secs();
    let events = S::PACE * MEASURED.as_secs();
    let receiver = source.receiver(&place, warm_up + events);
    let mut sender = source.sender(&place).await;
    let mut pace = interval(Duration::from_secs(1) / u32::try_from(S::PACE).expect("not too fast"));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0..warm_up + events {
        pace.tick().await;
        sender.send(number, stamped()).await;
    }
    reach(&gateway, warm_up + events).await;
    let calls: Vec<_> = gateway.calls(warm_up).await.iter().map(stamp_and_begin).collect();
    let received = match receiver {
        Some(receiver) => Some(receiver.await.expect("it receives what the connector does")),
        None => None,
    };
    connector.end().await;
    let floor = oha::latency(&gateway, &source.headers(&place), S::PACE, events).await;
    gateway.end().await;

    let (mut names, mut shares) = (vec!["p50", "p99"], vec![0.5, 0.99]);
    if calls.len() >= ENOUGH {
        names.push("p99.9");
        shares.push(0.999);
    }
    let list =
        |values: &[f64]| values.iter().map(|one| millis(*one)).collect::<Vec<_>>().join(", ");
    let spread = |took: &[f64]| {
        let quantiles: Vec<_> = shares.iter().map(|share| quantile(took, *share)).collect();
        list(&quantiles)
    };
    let (pace, names) = (count(S::PACE as f64), names.join(", "));
    let took: Vec<_> = calls.iter().map(|(stamp, begun)| after(*stamp, *begun)).collect();
    let mut rows = vec![Row::new(
        format!("published to function begun, {pace} events a second: {names}"),
        spread(&took),
    )];
    if let Some(received) = received {
        let received: HashMap<_, _> = received.into_iter().collect();
        let came = |stamp| received[&stamp];
        let alone: Vec<_> = calls.iter().map(|(stamp, _)| after(*stamp, came(*stamp))).collect();
        let beside: Vec<_> = calls.iter().map(|(stamp, at)| after(came(*stamp), *at)).collect();
        let name = "published to received by a bare client of the broker meanwhile";
        rows.push(Row::new(format!("{name}: {names}"), spread(&alone)));
        let name = "an event's function begun after that client had the event";
        rows.push(Row::new(format!("{name}: {names}"), spread(&beside)));
    }
    rows.push(Row::new(
        format!("`oha`, as many calls a second, there and back: {names}"),
        list(&floor[..shares.len()]),
    ));
    rows
}

/// A payload that begins with the present instant, of letters that no form has to escape.
fn stamped() -> String {
    format!("{now:0<PAYLOAD$}", now = format!("{}-", now()))
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_nanos();
    u64::try_from(now).expect("it is before 2500")
}

/// When the event of this payload was handed to the broker's client, in nanoseconds since 1970.
pub(crate) fn stamp(payload: &[u8]) -> u64 {
    let stamp = payload.split(|byte| *byte == b'-').next().unwrap_or_default();
    std::str::from_utf8(stamp).ok().and_then(|stamp| stamp.parse().ok()).expect("a stamp")
}

/// The stamp in a call's payload, and when the call began.
fn stamp_and_begin(call: &Value) -> (u64, u64) {
    let body = call["body"].as_str().expect("payloads of this size are remembered");
    let body = STANDARD.decode(body).expect("it is base64");
    (stamp(&body), call["wall_ns"].as_u64().expect("a call has begun"))
}

/// From one moment to another, in milliseconds.
fn after(then: u64, now: u64) -> f64 {
    (now as f64 - then as f64) / 1e6
}
