//! Order by key (invariant 12), by example and against a naive model.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::bench::{Bench, event, submit};
use super::gateway::{Act, slow, status};
use crate::lane::Verdict;

#[tokio::test(start_paused = true)]
async fn equal_keys_go_one_by_one_and_different_ones_together() {
    let bench = Bench::new(&[], |_| slow(Duration::from_millis(10))).await;
    let lane = bench.lane(|options| options.ordered = true);
    let mut settlements = Vec::new();
    for n in 0..12 {
        let key = ["a", "b", "c"][n % 3];
        settlements.push(submit(&lane, event(&format!("{key}{n}"), Some(key))).await);
    }
    for settlement in settlements {
        assert_eq!(settlement.await.verdict, Verdict::Done);
    }
    assert_eq!(bench.gateway.most("f"), 3);
    let calls = bench.gateway.calls_of("f");
    let of_a: Vec<&[u8]> = calls.iter().map(|c| &*c.body).filter(|b| b[0] == b'a').collect();
    assert_eq!(of_a, [&b"a0"[..], b"a3", b"a6", b"a9"]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_keeps_its_turn() {
    let bench = Bench::new(&[], |seen| match (&*seen.body, seen.nth) {
        (b"1", 0..5) => status(500),
        _ => status(200),
    })
    .await;
    let lane = bench.lane(|options| options.ordered = true);
    let first = submit(&lane, event("1", Some("k"))).await;
    let second = submit(&lane, event("2", Some("k"))).await;
    assert_eq!((first.await.verdict, second.await.verdict), (Verdict::Done, Verdict::Done));
    let bodies: Vec<Vec<u8>> =
        bench.gateway.calls_of("f").iter().map(|c| c.body.to_vec()).collect();
    let mut sorted = bodies.clone();
    sorted.sort();
    assert_eq!(bodies, sorted);
}

#[tokio::test(start_paused = true)]
async fn after_a_release_the_rest_of_the_key_is_released_uncalled() {
    let fails_once = |seen: &super::gateway::Seen| match seen.nth {
        0 => Act::After(Duration::from_secs(1), Box::new(status(500))),
        _ => status(200),
    };
    let is_release = |verdict| matches!(verdict, Verdict::Release { .. });
    for ordered in [true, false] {
        let bench = Bench::new(&[], fails_once).await;
        let lane = bench.lane(|options| {
            options.ordered = ordered;
            // The simplest reason to release: the wait for the next attempt is the broker's.
            options.stores_waits = true;
        });
        let first = submit(&lane, event("1", Some("k"))).await;
        let second = submit(&lane, event("2", Some("k"))).await;
        assert!(is_release(first.await.verdict) && is_release(second.await.verdict));
        let later = submit(&lane, event("3", Some("k"))).await.await.verdict;
        // An ordered lane is over with its first release; in another one the key goes on.
        assert_eq!(is_release(later), ordered);
        assert_eq!(bench.gateway.calls_of("f").len(), if ordered { 1 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_is_released_when_its_lane_ends() {
    let bench = Bench::new(&[], |_| slow(Duration::from_secs(10))).await;
    let lane = bench.lane(|options| options.ordered = true);
    let other = bench.lane(|options| options.ordered = true);
    let first = submit(&lane, event("1", Some("k"))).await;
    let second = submit(&lane, event("2", Some("k"))).await;
    let elsewhere = submit(&other, event("3", Some("k"))).await;
    bench.until("the first runs", |b| b.gateway.running("f") == 1).await;
    lane.end();
    assert_eq!(second.await.verdict, Verdict::Release { after: None });
    assert_eq!(bench.gateway.running("f"), 1, "at once, not after the call before it");
    assert_eq!((first.await.verdict, elsewhere.await.verdict), (Verdict::Done, Verdict::Done));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_the_processes_not_the_lanes() {
    let bench = Bench::new(&[], |_| slow(Duration::from_secs(5))).await;
    let lane = bench.lane(|options| options.ordered = true);
    drop(submit(&lane, event("1", Some("k"))).await);
    bench.until("it runs", |b| b.gateway.running("f") == 1).await;
    drop(lane);
    let lane = bench.lane(|options| options.ordered = true);
    assert_eq!(submit(&lane, event("2", Some("k"))).await.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.most("f"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_turn_can_last_until_the_settlement_is_taken() {
    let bench = Bench::new(&[], |_| status(200)).await;
    let lane = bench.lane(|options| options.turn_until_settled = true);
    let first = submit(&lane, event("1", Some("k"))).await.await;
    let second = submit(&lane, event("2", Some("k"))).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.gateway.calls_of("f").len(), 1, "the first is not settled yet");
    drop(first);
    assert_eq!(second.await.verdict, Verdict::Done);
}

/// One event of the model: its key, how long each of its calls takes, and how many fail first.
fn events() -> impl Strategy<Value = Vec<(u8, u64, u8)>> {
    proptest::collection::vec(
        (0..5_u8, 1..40_u64, prop_oneof![4 => Just(0_u8), 1 => 1..3_u8]),
        1..60,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the keys, times and failures: no two calls of a key overlap, first successes of a
    /// key come in order, and every event ends done.
    #[test]
    fn keys_hold_whatever_happens(events in events()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let plan = events.clone();
            let bench = Bench::new(&[("initial_retry_wait", "10ms"), ("max_retry_wait", "50ms")], move |seen| {
                let n: usize = std::str::from_utf8(&seen.body).expect("text").parse().expect("a number");
                let (_, took, failures) = plan[n];
                let attempt: u8 = seen.header("x-event-attempt").parse().expect("a number");
                let answer = status(if attempt <= failures { 500 } else { 200 });
                Act::After(Duration::from_millis(took), Box::new(answer))
            }).await;
            let lane = bench.lane(|options| options.ordered = true);
            let mut settlements = Vec::new();
            for (n, (key, ..)) in events.iter().enumerate() {
                let key = char::from(b'a' + key).to_string();
                settlements.push(submit(&lane, event(&n.to_string(), Some(&key))).await);
            }
            for settlement in settlements {
                assert_eq!(settlement.await.verdict, Verdict::Done);
            }
            // The model: within a key, events in order, each with failures + 1 calls, each call
            // beginning only after the one before has taken its time.
            let mut expected: HashMap<u8, Vec<usize>> = HashMap::new();
            for (n, (key, _, failures)) in events.iter().enumerate() {
                let calls = expected.entry(*key).or_default();
                calls.extend(std::iter::repeat_n(n, usize::from(*failures) + 1));
            }
            let calls = bench.gateway.calls_of("f");
            for (key, expected) in expected {
                let of_key: Vec<(usize, Duration)> = calls.iter()
                    .map(|c| (std::str::from_utf8(&c.body).expect("text").parse().expect("a number"), c.at))
                    .filter(|(n, _): &(usize, Duration)| events[*n].0 == key)
                    .collect();
                let order: Vec<usize> = of_key.iter().map(|(n, _)| *n).collect();
                assert_eq!(order, expected);
                for pair in of_key.windows(2) {
                    let took = Duration::from_millis(events[pair[0].0].1);
                    assert!(pair[1].1 >= pair[0].1 + took, "calls of one key overlap");
                }
            }
        });
    }
}
