//! Events that no function is mapped to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::bench::{Bench, event, submit};
use super::gateway::{Act, status};
use crate::event::{Among, Event};
use crate::lane::{Unmatched, Verdict};

#[tokio::test(start_paused = true)]
async fn on_hold_it_waits_for_a_function() {
    let bench = Bench::new(&[], |_| status(200)).await;
    bench.map(&[]);
    let lane = bench.lane(|_| {});
    let settlement = submit(&lane, event("1", None)).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(bench.counted("tributary_events_in_flight "), 1);
    bench.map(&[("other", "u", &[])]);
    bench.map(&[("f", "t", &[])]);
    assert_eq!(settlement.await.verdict, Verdict::Done);
    assert_eq!((bench.came("delivered"), bench.came("unmatched")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn on_hold_it_is_released_with_its_lane() {
    let bench = Bench::new(&[], |_| status(200)).await;
    bench.map(&[]);
    let lane = bench.lane(|_| {});
    let settlement = submit(&lane, event("1", None)).await;
    lane.end();
    assert_eq!(settlement.await.verdict, Verdict::Release { after: None });
}

#[tokio::test(start_paused = true)]
async fn one_message_of_a_wildcard_is_acknowledged_and_counted() {
    let bench = Bench::new(&[], |_| status(200)).await;
    bench.map(&[]);
    let lane = bench.lane(|options| options.unmatched = Unmatched::Wildcard);
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    assert_eq!(bench.came("unmatched"), 1);
}

#[tokio::test(start_paused = true)]
async fn one_message_of_a_mixed_lane_is_given_back_for_a_while() {
    let again = Duration::from_secs(30);
    let bench = Bench::new(&[], |_| status(200)).await;
    bench.map(&[]);
    let lane = bench.lane(|options| options.unmatched = Unmatched::Mixed(again));
    let verdict = submit(&lane, event("1", None)).await.await.verdict;
    assert_eq!(verdict, Verdict::Release { after: Some(again) });
    assert_eq!((bench.came("released"), bench.came("unmatched")), (1, 0));

    let bench = Bench::new(&[("unmatched", "drop")], |_| status(200)).await;
    bench.map(&[]);
    let lane = bench.lane(|options| options.unmatched = Unmatched::Mixed(again));
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
}

#[tokio::test(start_paused = true)]
async fn dropped_or_dead_lettered_where_the_policy_says_so() {
    let bench = Bench::new(&[("unmatched", "drop")], |_| status(200)).await;
    bench.map(&[]);
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    assert_eq!(bench.came("unmatched"), 1);

    let settings = [("unmatched", "dead-letter"), ("dead_letter", "topic:dead")];
    let bench = Bench::new(&settings, |_| status(200)).await;
    bench.map(&[]);
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    assert_eq!(bench.letters.stored()[0].reason, "unmatched");
    assert_eq!(bench.came("dead_lettered"), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_counts_as_unmatched_before_the_map_is_complete() {
    let bench = Bench::incomplete(&[("unmatched", "drop")], Duration::from_secs(60)).await;
    bench.map(&[]);
    let lane = bench.lane(|_| {});
    let early = submit(&lane, event("1", None)).await;
    let late = submit(&lane, event("2", None)).await;
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(bench.counted("tributary_events_in_flight "), 2);
    let began = Instant::now();
    assert_eq!(early.await.verdict, Verdict::Done);
    assert_eq!(late.await.verdict, Verdict::Done);
    assert!(began.elapsed() >= Duration::from_millis(900));
    assert_eq!(bench.came("unmatched"), 2);
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_last_function_is_unmapped_while_it_waits_is_unmatched() {
    let bench = Bench::new(&[("unmatched", "drop")], |_| status(500)).await;
    let lane = bench.lane(|_| {});
    let settlement = submit(&lane, event("1", None)).await;
    bench.until("it has failed", |b| !b.gateway.calls_of("f").is_empty()).await;
    bench.map(&[]);
    assert_eq!(settlement.await.verdict, Verdict::Done);
    assert_eq!((bench.came("unmatched"), bench.came("dropped")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn one_message_of_a_wildcard_goes_back_with_its_function_if_its_broker_keeps_each() {
    for (keeps, wanted) in [(true, Verdict::Release { after: None }), (false, Verdict::Done)] {
        let bench = Bench::new(&[("function_concurrency", "1")], |_| Act::Hang).await;
        let lane = bench.lane(|options| {
            options.unmatched = Unmatched::Wildcard;
            options.stores_waits = keeps;
        });
        let _running = submit(&lane, event("1", None)).await;
        let waiting = submit(&lane, event("2", None)).await;
        bench.until("one runs", |b| b.gateway.running("f") == 1).await;
        bench.map(&[]);
        assert_eq!(waiting.await.verdict, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tick_goes_to_its_function_alone() {
    let bench = Bench::new(&[], |_| status(200)).await;
    bench.map(&[("a", "t", &[]), ("b", "t", &[])]);
    let lane = bench.lane(|_| {});
    let mut tick = event("1", None);
    tick.only = Some(crate::FunctionName::new("b"));
    assert_eq!(submit(&lane, tick).await.await.verdict, Verdict::Done);
    assert_eq!((bench.gateway.calls_of("a").len(), bench.gateway.calls_of("b").len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_event_for_some_goes_to_those_among_the_mapped_as_they_are_by_then() {
    let bench = Bench::new(&[], |_| status(200)).await;
    bench.map(&[("mine", "t", &[]), ("theirs", "t", &[])]);
    let lane = bench.lane(|_| {});
    let among = Among::new(|function| function.as_str() == "mine");
    let for_me = Event { among: Some(among), ..event("1", None) };
    assert_eq!(submit(&lane, for_me).await.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.calls_of("mine").len(), 1);
    assert!(bench.gateway.calls_of("theirs").is_empty());

    let now = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&now);
    let among = Among::new(move |_| told.load(Ordering::Relaxed));
    let later = submit(&lane, Event { among: Some(among), ..event("2", None) }).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    now.store(true, Ordering::Relaxed);
    bench.map(&[("mine", "t", &[])]);
    assert_eq!(later.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.calls_of("mine").len(), 2);
}
