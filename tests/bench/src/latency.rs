//! How long an event takes from being published to the beginning of its function, at a steady pace.
//!
//! Each event carries the instant at which it was handed to the broker's client; the gateway notes the one at which it
//! has read the call. Both are read off one clock. What the broker takes is part of it.

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
    let mut sender = source.sender(&place).await;
    let mut pace = interval(Duration::from_secs(1) / u32::try_from(S::PACE).expect("not too fast"));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0..warm_up + events {
        pace.tick().await;
        sender.send(number, stamped()).await;
    }
    reach(&gateway, warm_up + events).await;
    let took: Vec<f64> = gateway.calls(warm_up).await.iter().map(took).collect();
    connector.end().await;
    let floor = oha::latency(&gateway, &source.headers(&place), S::PACE, events).await;
    gateway.end().await;

    let (mut names, mut ours) = (vec!["p50", "p99"], vec![0.5, 0.99]);
    if took.len() >= ENOUGH {
        names.push("p99.9");
        ours.push(0.999);
    }
    let list =
        |values: &[f64]| values.iter().map(|one| millis(*one)).collect::<Vec<_>>().join(", ");
    let ours: Vec<_> = ours.iter().map(|share| quantile(&took, *share)).collect();
    let (pace, names) = (count(S::PACE as f64), names.join(", "));
    vec![
        Row::new(
            format!("published to function begun, {pace} events a second: {names}"),
            list(&ours),
        ),
        Row::new(
            format!("`oha`, as many calls a second, there and back: {names}"),
            list(&floor[..ours.len()]),
        ),
    ]
}

/// A payload that begins with the present instant, of letters that no form has to escape.
fn stamped() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_nanos();
    format!("{now:0<PAYLOAD$}", now = format!("{now}-"))
}

/// From the stamp in a call's payload to its beginning, in milliseconds.
fn took(call: &Value) -> f64 {
    let body = call["body"].as_str().expect("payloads of this size are remembered");
    let body = STANDARD.decode(body).expect("it is base64");
    let stamp = body.split(|byte| *byte == b'-').next().unwrap_or_default();
    let stamp: u64 =
        std::str::from_utf8(stamp).ok().and_then(|stamp| stamp.parse().ok()).expect("a stamp");
    let begun = call["wall_ns"].as_u64().expect("a call has begun");
    let took = begun as f64 - stamp as f64;
    took / 1e6
}
