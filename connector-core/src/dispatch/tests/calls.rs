//! Calls, attempts, waits and limits.

use std::time::Duration;

use super::bench::{Bench, event, submit};
use super::gateway::{Act, slow, status};
use crate::event::{Attribute, Event};
use crate::lane::Verdict;

const RELEASED: Verdict = Verdict::Release { after: None };

#[tokio::test(start_paused = true)]
async fn an_event_answered_well_is_done() {
    let bench = Bench::new(&[], |_| status(204)).await;
    let lane = bench.lane(|_| {});
    let settled = submit(&lane, event("1", None)).await.await;
    assert_eq!(settled.verdict, Verdict::Done);
    let calls = bench.gateway.calls_of("f");
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].path, "/function/f");
    assert_eq!(&*calls[0].body, b"1");
    assert_eq!(calls[0].header("x-topic"), "t");
    assert_eq!(calls[0].header("x-connector"), "test-connector");
    assert_eq!(calls[0].header("x-event-id"), "test:1");
    assert_eq!(calls[0].header("x-event-attempt"), "1");
    assert_eq!(bench.came("delivered"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_is_repeated_with_growing_waits() {
    let settings = [("backoff", "exponential"), ("initial_retry_wait", "1s")];
    let bench = Bench::new(&settings, |seen| status(if seen.nth < 3 { 500 } else { 200 })).await;
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    let calls = bench.gateway.calls_of("f");
    let attempts: Vec<&str> = calls.iter().map(|c| c.header("x-event-attempt")).collect();
    assert_eq!(attempts, ["1", "2", "3", "4"]);
    let waits: Vec<u64> = calls.windows(2).map(|w| (w[1].at - w[0].at).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4]);
    assert_eq!((bench.came("delivered"), bench.came("released")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn retry_after_replaces_the_wait() {
    let settings = [("backoff", "exponential"), ("initial_retry_wait", "1s")];
    let bench = Bench::new(&settings, |seen| match seen.nth {
        0 => Act::Answer(503, vec![("retry-after", "7")], ""),
        _ => status(200),
    })
    .await;
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    let calls = bench.gateway.calls_of("f");
    assert_eq!((calls[1].at - calls[0].at).as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_platform_error_is_repeated_whatever_its_status() {
    let bench = Bench::new(&[], |seen| match seen.nth {
        0 => Act::Answer(418, vec![("x-openfaas-internal", "proxy")], "no endpoints"),
        _ => status(200),
    })
    .await;
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.calls_of("f").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_past_its_timeout_counts_as_an_attempt() {
    let settings = [("upstream_timeout", "2s"), ("max_retry_attempts", "1")];
    let bench = Bench::new(&settings, |_| Act::Hang).await;
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.calls_of("f").len(), 2);
    assert_eq!(bench.came("dropped"), 1);
    assert_eq!(bench.gateway.asked_health.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn asynchronous_calls_want_202() {
    let settings = [("asynchronous_invocation", "true"), ("max_retry_attempts", "0")];
    let bench = Bench::new(&settings, |seen| status(if seen.nth == 0 { 202 } else { 200 })).await;
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.calls_of("f")[0].path, "/async-function/f");
    assert_eq!(bench.came("delivered"), 1);
    // A 200 on that route is no promise that anything was queued.
    assert_eq!(submit(&lane, event("2", None)).await.await.verdict, Verdict::Done);
    assert_eq!(bench.came("dropped"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_function_chooses_the_queue_for_itself() {
    for (setting, annotation, path) in
        [("false", "true", "/async-function/f"), ("true", "false", "/function/f")]
    {
        let settings = [("asynchronous_invocation", setting), ("max_retry_attempts", "0")];
        let bench = Bench::new(&settings, |seen| {
            status(if seen.path.starts_with("/async") { 202 } else { 200 })
        })
        .await;
        bench.map(&[("f", "t", &[("connector.async", annotation)])]);
        let lane = bench.lane(|_| {});
        assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
        assert_eq!(bench.gateway.calls_of("f")[0].path, path);
        assert_eq!(bench.came("delivered"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_waits_gets_the_functions_answer() {
    let settings = [("asynchronous_invocation", "true"), ("max_retry_attempts", "0")];
    let bench = Bench::new(&settings, |seen| match seen.nth {
        0 => Act::Answer(200, vec![("content-type", "text/x")], "hello"),
        _ => Act::Answer(500, vec![], "broken"),
    })
    .await;
    let lane = bench.lane(|_| {});
    let ask = |id| {
        let mut event = event(id, None);
        event.wants_reply = true;
        event
    };
    let reply = submit(&lane, ask("1")).await.await.reply.expect("an answer");
    assert_eq!((reply.status, &*reply.body), (200, &b"hello"[..]));
    assert_eq!(reply.content_type.as_deref(), Some(&b"text/x"[..]));
    assert_eq!(bench.gateway.calls_of("f")[0].path, "/function/f", "a reply needs a sync call");
    let reply = submit(&lane, ask("2")).await.await.reply.expect("an answer");
    assert_eq!((reply.status, &*reply.body), (500, &b"broken"[..]));
}

#[tokio::test(start_paused = true)]
async fn each_of_several_functions_is_called_and_only_the_failing_one_again() {
    let bench = Bench::new(&[], |seen| match (&*seen.function, seen.nth) {
        ("b", 0..4) => status(500),
        _ => status(200),
    })
    .await;
    bench.map(&[("a", "t", &[]), ("b", "x, t", &[]), ("c", "t,t", &[])]);
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    let calls = ["a", "b", "c"].map(|f| bench.gateway.calls_of(f).len());
    assert_eq!(calls, [1, 5, 1]);
    assert_eq!(bench.came("delivered"), 1);
}

#[tokio::test(start_paused = true)]
async fn running_calls_stay_within_both_limits() {
    let settings = [("max_inflight", "8"), ("function_concurrency", "5")];
    let bench = Bench::new(&settings, |_| slow(Duration::from_millis(50))).await;
    bench.map(&[("a", "t", &[]), ("b", "t", &[("connector.concurrency", "2")])]);
    let lane = bench.lane(|_| {});
    let mut settlements = Vec::new();
    for n in 0..40 {
        settlements.push(submit(&lane, event(&n.to_string(), None)).await);
    }
    for settlement in settlements {
        assert_eq!(settlement.await.verdict, Verdict::Done);
    }
    assert_eq!((bench.gateway.most("a"), bench.gateway.most("b")), (5, 2));
}

#[tokio::test(start_paused = true)]
async fn a_function_that_hangs_leaves_permits_for_others() {
    let settings = [("max_inflight", "8"), ("function_concurrency", "64")];
    let bench = Bench::new(&settings, |seen| match &*seen.function {
        "stuck" => Act::Hang,
        _ => status(200),
    })
    .await;
    bench.map(&[("stuck", "t", &[]), ("quick", "u", &[])]);
    let (stuck, quick) = (bench.lane(|_| {}), bench.lane(|_| {}));
    let mut waiting = Vec::new();
    for n in 0..80 {
        waiting.push(submit(&stuck, event(&n.to_string(), None)).await);
    }
    bench.until("the stuck ones run", |b| b.gateway.running("stuck") == 6).await;
    for n in 0..20 {
        let mut event = event(&format!("q{n}"), None);
        event.topic = "u".into();
        assert_eq!(submit(&quick, event).await.await.verdict, Verdict::Done);
    }
    assert_eq!(bench.gateway.calls_of("stuck").len(), 6);
    drop((stuck, waiting));
    bench.intake.0.cut.cancel();
    bench.until("all are released", |b| b.came("released") == 80).await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_stored_in_the_broker_only_where_no_other_function_could_be_called_twice() {
    let settings = [("backoff", "exponential"), ("initial_retry_wait", "1s")];
    let bench = Bench::new(&settings, |seen| match (&*seen.function, seen.nth) {
        ("a", 0..2) => status(500),
        _ => status(200),
    })
    .await;
    bench.map(&[("a", "t", &[])]);
    let lane = bench.lane(|options| options.stores_waits = true);
    let deliver = |count| {
        let mut event = event("1", None);
        event.delivery_count = Some(count);
        event
    };
    let waits = |secs| Verdict::Release { after: Some(Duration::from_secs(secs)) };
    assert_eq!(submit(&lane, deliver(1)).await.await.verdict, waits(1));
    assert_eq!(submit(&lane, deliver(2)).await.await.verdict, waits(2));
    assert_eq!(submit(&lane, deliver(3)).await.await.verdict, Verdict::Done);
    let calls = bench.gateway.calls_of("a");
    let attempts: Vec<&str> = calls.iter().map(|c| c.header("x-event-attempt")).collect();
    assert_eq!(attempts, ["1", "2", "3"]);

    // With a second function that answers well, before or after, the wait stays with us.
    for late in ["a", "b"] {
        let bench = Bench::new(&settings, move |seen| {
            let act = match (&*seen.function, seen.nth) {
                ("a", 0) => status(500),
                _ => status(200),
            };
            if seen.function == late {
                Act::After(Duration::from_secs(1), Box::new(act))
            } else {
                act
            }
        })
        .await;
        bench.map(&[("a", "t", &[]), ("b", "t", &[])]);
        let lane = bench.lane(|options| options.stores_waits = true);
        assert_eq!(submit(&lane, deliver(1)).await.await.verdict, Verdict::Done);
        assert_eq!(bench.gateway.calls_of("b").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_delivery_is_retried_here_and_not_in_the_broker() {
    let bench = Bench::new(&[], |seen| if seen.nth < 3 { status(500) } else { status(200) }).await;
    let lane = bench.lane(|options| options.stores_waits = true);
    let mut last = event("1", None);
    last.delivery_count = Some(5);
    last.last_delivery = true;
    assert_eq!(submit(&lane, last).await.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.calls_of("f").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_released_when_the_lane_ends_and_what_runs_goes_on() {
    let settings = [("function_concurrency", "1")];
    let bench = Bench::new(&settings, |_| slow(Duration::from_secs(10))).await;
    let lane = bench.lane(|_| {});
    let runs = submit(&lane, event("1", None)).await;
    let waits = submit(&lane, event("2", None)).await;
    bench.until("the first runs", |b| b.gateway.running("f") == 1).await;
    lane.end();
    assert_eq!(waits.await.verdict, RELEASED);
    assert!(lane.slot(1).await.is_none(), "nothing more is received");
    assert_eq!(runs.await.verdict, Verdict::Done, "its verdict still arrives");
    assert_eq!(bench.gateway.calls_of("f").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_joins_the_call_that_outlived_its_lane() {
    let bench = Bench::new(&[], |_| slow(Duration::from_secs(10))).await;
    let lane = bench.lane(|_| {});
    drop(submit(&lane, event("1", None)).await);
    bench.until("it runs", |b| b.gateway.running("f") == 1).await;
    drop(lane);
    let lane = bench.lane(|_| {});
    let joined = submit(&lane, event("1", None)).await.await;
    assert_eq!(joined.verdict, Verdict::Done);
    // And after it has ended, its outcome is remembered.
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.calls_of("f").len(), 1);
    assert_eq!((bench.came("delivered"), bench.came("repeated")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_after_its_lane_ended_is_not_repeated() {
    let bench = Bench::new(&[], |seen| match seen.nth {
        0 => Act::After(Duration::from_secs(5), Box::new(status(500))),
        _ => status(200),
    })
    .await;
    let lane = bench.lane(|_| {});
    let settlement = submit(&lane, event("1", None)).await;
    bench.until("it runs", |b| b.gateway.running("f") == 1).await;
    lane.end();
    assert_eq!(settlement.await.verdict, RELEASED);
    assert_eq!(bench.gateway.calls_of("f").len(), 1);
    // The next delivery is free to call.
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
}

#[tokio::test(start_paused = true)]
async fn running_calls_are_cut_at_the_deadline_and_released() {
    let bench = Bench::new(&[], |_| Act::Hang).await;
    let lane = bench.lane(|_| {});
    let settlement = submit(&lane, event("1", None)).await;
    bench.until("it runs", |b| b.gateway.running("f") == 1).await;
    bench.intake.0.draining.cancel();
    bench.intake.0.cut.cancel();
    assert_eq!(settlement.await.verdict, RELEASED);
    assert_eq!(bench.counted("tributary_calls_total{function=\"f\",outcome=\"cut\"} "), 1);
}

#[tokio::test(start_paused = true)]
async fn the_window_bounds_what_has_no_verdict() {
    let bench = Bench::new(&[], |_| slow(Duration::from_secs(1))).await;
    let lane = bench.lane(|options| options.window = std::num::NonZeroUsize::MIN);
    let first = submit(&lane, event("1", None)).await;
    assert!(lane.try_slot(1).is_none());
    assert_eq!(first.await.verdict, Verdict::Done);
    assert!(lane.try_slot(1).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_was_reserved_for_a_payload_is_corrected_to_its_length() {
    let bench = Bench::new(&[("buffer_bytes", "1000")], |_| slow(Duration::from_secs(1))).await;
    let lane = bench.lane(|_| {});
    let slots = lane.slots(std::num::NonZeroUsize::new(3).expect("not zero"), 400).await;
    let mut slots = slots.expect("the lane lives");
    assert_eq!(slots.len(), 2, "a third would pass the budget");
    let settlement = slots.pop().expect("two").submit(event("1", None));
    assert!(lane.try_slot(400).is_some(), "one byte is held of the four hundred");
    assert_eq!(settlement.await.verdict, Verdict::Done);
}

#[tokio::test(start_paused = true)]
async fn a_key_and_attributes_take_room_as_a_payload_does() {
    let bench = Bench::new(&[("buffer_bytes", "1000")], |_| slow(Duration::from_secs(1))).await;
    let lane = bench.lane(|_| {});
    let attribute = Attribute { name: "tag".into(), value: Some(vec![b'x'; 500].into()) };
    let key = Some(vec![b'k'; 300].into());
    let large = Event { attributes: vec![attribute], key, ..event("1", None) };
    let settlement = lane.try_slot(1).expect("the first").submit(large);
    assert!(lane.try_slot(200).is_none(), "804 bytes are held");
    assert!(lane.try_slot(196).is_some());
    assert_eq!(settlement.await.verdict, Verdict::Done);
}
