//! Down is proven, not guessed (invariant 13).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;

use super::bench::{Bench, event, submit};
use super::gateway::{Act, Gateway, status};
use crate::lane::Verdict;

#[tokio::test(start_paused = true)]
async fn while_the_platform_is_down_calls_pause_and_no_attempt_counts() {
    let bench = Bench::new(&[("max_retry_attempts", "0")], |seen| match seen.nth {
        0 => Act::Close,
        _ => status(200),
    })
    .await;
    bench.gateway.healthy.store(false, Ordering::Relaxed);
    let lane = bench.lane(|_| {});
    let settlement = submit(&lane, event("1", None)).await;
    bench.until("down is proven", |b| b.unready().contains("the gateway is down")).await;
    let second = submit(&lane, event("2", None)).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(bench.gateway.calls_of("f").len(), 1, "nothing is called meanwhile");
    bench.gateway.healthy.store(true, Ordering::Relaxed);
    assert_eq!(settlement.await.verdict, Verdict::Done);
    assert_eq!(second.await.verdict, Verdict::Done);
    assert_eq!((bench.came("delivered"), bench.came("dropped")), (2, 0));
    let attempts: Vec<String> = bench
        .gateway
        .calls_of("f")
        .iter()
        .map(|c| c.header("x-event-attempt").to_owned())
        .collect();
    assert_eq!(attempts, ["1", "1", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_closed_by_a_healthy_gateway_is_a_failed_attempt() {
    for cut in [Act::Close, Act::Answer(502, vec![], "")] {
        let act = cut.clone();
        let bench = Bench::new(&[("max_retry_attempts", "2")], move |_| act.clone()).await;
        let lane = bench.lane(|_| {});
        assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
        assert_eq!(bench.gateway.calls_of("f").len(), 3);
        assert_eq!(bench.came("dropped"), 1);
        assert_eq!(bench.gateway.asked_health.load(Ordering::Relaxed), 3, "asked each time");
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_the_gateway_cannot_find_is_asked_about_and_tried_again() {
    let bench = Bench::new(&[], |seen| match seen.nth {
        0 => Act::Answer(404, vec![], "error finding function f.openfaas-fn: not found"),
        1 => Act::Answer(500, vec![], "error finding function f.openfaas-fn: listing"),
        _ => status(200),
    })
    .await;
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.asked_health.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_refuses_connections_is_down_until_it_listens() {
    // Bound to learn a free port, then closed: nobody listens there.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let gateway = Gateway::new(|_| status(200));
    let settings = [("max_retry_attempts", "0")];
    let bench = Bench::at(format!("http://{address}"), Arc::clone(&gateway), &settings);
    let lane = bench.lane(|_| {});
    let settlement = submit(&lane, event("1", None)).await;
    bench.until("down is proven", |b| b.unready().contains("the gateway is down")).await;
    let listener = TcpListener::bind(address).await.expect("the same port");
    tokio::spawn(gateway.serve(listener));
    assert_eq!(settlement.await.verdict, Verdict::Done);
    assert_eq!((bench.came("delivered"), bench.came("dropped")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_platform_is_released_with_its_lane() {
    let bench = Bench::new(&[], |_| Act::Close).await;
    bench.gateway.healthy.store(false, Ordering::Relaxed);
    let lane = bench.lane(|_| {});
    let settlement = submit(&lane, event("1", None)).await;
    bench.until("down is proven", |b| b.unready().contains("the gateway is down")).await;
    lane.end();
    assert_eq!(settlement.await.verdict, Verdict::Release { after: None });
}

#[tokio::test(start_paused = true)]
async fn what_got_its_permit_after_the_platform_went_down_is_not_called() {
    let bench = Bench::new(&[("function_concurrency", "1")], |seen| match &*seen.function {
        "g" if seen.nth == 0 => Act::After(Duration::from_secs(1), Box::new(Act::Close)),
        "f" if seen.nth == 0 => Act::After(Duration::from_secs(10), Box::new(status(200))),
        _ => status(200),
    })
    .await;
    bench.map(&[("f", "t", &[]), ("g", "u", &[])]);
    bench.gateway.healthy.store(false, Ordering::Relaxed);
    let lane = bench.lane(|_| {});
    let first = submit(&lane, event("1", None)).await;
    let waits = submit(&lane, event("2", None)).await;
    let mut other = event("3", None);
    other.topic = "u".into();
    let other = submit(&lane, other).await;
    bench.until("down is proven", |b| b.unready().contains("the gateway is down")).await;
    assert_eq!(first.await.verdict, Verdict::Done, "what runs may end");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(bench.gateway.calls_of("f").len(), 1);
    bench.gateway.healthy.store(true, Ordering::Relaxed);
    assert_eq!((waits.await.verdict, other.await.verdict), (Verdict::Done, Verdict::Done));
}
