//! Holds.

use std::time::Duration;

use super::bench::{Bench, event, submit};
use super::gateway::{Act, slow, status};
use crate::lane::Verdict;

const RELEASED: Verdict = Verdict::Release { after: None };
const TO_TOPIC: (&str, &str) = ("dead_letter", "topic:dead");

#[tokio::test(start_paused = true)]
async fn with_hold_the_topic_waits_and_is_tried_now_and_then() {
    let settings = [("dead_letter", "hold"), ("max_retry_wait", "60s")];
    let bench = Bench::new(&settings, |seen| status(if seen.nth < 4 { 400 } else { 200 })).await;
    let lane = bench.lane(|_| {});
    let first = submit(&lane, event("1", None)).await;
    bench.until("it is held", |b| b.unready().contains("t => f: refused")).await;
    let second = submit(&lane, event("2", None)).await;
    assert_eq!(first.await.verdict, Verdict::Done);
    assert_eq!(second.await.verdict, Verdict::Done);
    let calls = bench.gateway.calls_of("f");
    let waits: Vec<u64> = calls.windows(2).map(|w| (w[1].at - w[0].at).as_secs()).collect();
    assert_eq!(waits[..4], [60, 60, 60, 60], "one call each max_retry_wait");
    assert_eq!(calls.len(), 6);
    assert_eq!(bench.unready().find("t => f"), None);
}

#[tokio::test(start_paused = true)]
async fn a_run_of_dead_letters_holds_the_topic() {
    let settings = [TO_TOPIC, ("dead_letter_limit", "3"), ("max_retry_wait", "10s")];
    let bench = Bench::new(&settings, |seen| status(if seen.nth < 5 { 400 } else { 200 })).await;
    let lane = bench.lane(|_| {});
    for n in 0..3 {
        assert_eq!(submit(&lane, event(&n.to_string(), None)).await.await.verdict, Verdict::Done);
    }
    let fourth = submit(&lane, event("4", None)).await;
    bench.until("it is held", |b| b.unready().contains("3 dead letters in a row")).await;
    assert_eq!(fourth.await.verdict, Verdict::Done);
    assert_eq!(bench.letters.stored().len(), 3);
    assert_eq!((bench.came("dead_lettered"), bench.came("delivered")), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_mistake_of_set_up_holds_the_topic_and_costs_no_attempt() {
    for (wrong, why) in [
        (Act::Answer(302, vec![("location", "/ui")], ""), "status 302"),
        (status(405), "status 405"),
        (Act::Answer(401, vec![("www-authenticate", "Basic")], "no"), "status 401"),
    ] {
        let settings = [("max_retry_attempts", "0"), ("max_retry_wait", "5s")];
        let act = wrong.clone();
        let bench = Bench::new(&settings, move |seen| match seen.nth {
            0..3 => act.clone(),
            _ => status(200),
        })
        .await;
        let lane = bench.lane(|_| {});
        let settlement = submit(&lane, event("1", None)).await;
        bench.until("it is held", |b| b.unready().contains(why)).await;
        assert_eq!(settlement.await.verdict, Verdict::Done);
        assert_eq!(bench.came("delivered"), 1);
        assert_eq!(bench.unready().find(why), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_route_for_asynchronous_calls_holds_the_topic() {
    let settings = [("asynchronous_invocation", "true"), ("max_retry_wait", "5s")];
    let bench = Bench::new(&settings, |seen| match seen.nth {
        0 => Act::Answer(404, vec![], "404 page not found"),
        _ => status(202),
    })
    .await;
    let lane = bench.lane(|_| {});
    let settlement = submit(&lane, event("1", None)).await;
    bench.until("it is held", |b| b.unready().contains("no route for asynchronous calls")).await;
    assert_eq!(settlement.await.verdict, Verdict::Done);
}

#[tokio::test(start_paused = true)]
async fn a_held_topic_does_not_hold_another() {
    let bench = Bench::new(&[("max_retry_wait", "300s")], |seen| match &*seen.function {
        "held" => status(405),
        _ => slow(Duration::from_millis(1)),
    })
    .await;
    bench.map(&[("held", "t", &[]), ("free", "u", &[])]);
    let lane = bench.lane(|_| {});
    let _held = submit(&lane, event("1", None)).await;
    bench.until("it is held", |b| b.unready().contains("405")).await;
    let mut other = event("2", None);
    other.topic = "u".into();
    assert_eq!(submit(&lane, other).await.await.verdict, Verdict::Done);
}

#[tokio::test(start_paused = true)]
async fn a_poison_event_ends_the_hold_that_a_mended_mistake_has_left() {
    let settings = [TO_TOPIC, ("max_retry_wait", "5s")];
    let bench = Bench::new(&settings, |seen| match seen.nth {
        0..2 => status(405),
        2 => status(400),
        _ => status(200),
    })
    .await;
    let lane = bench.lane(|_| {});
    let poison = submit(&lane, event("1", Some("k"))).await;
    let behind = submit(&lane, event("2", Some("k"))).await;
    assert_eq!(poison.await.verdict, Verdict::Done);
    assert_eq!(bench.letters.stored()[0].reason, "refused");
    assert_eq!(behind.await.verdict, Verdict::Done);
    assert_eq!(bench.unready().find("405"), None);
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_told_of_as_long_as_any_event_is_in_it() {
    let bench = Bench::new(&[("dead_letter", "hold")], |_| status(400)).await;
    let (ends, stays) = (bench.lane(|_| {}), bench.lane(|_| {}));
    let released = submit(&ends, event("1", None)).await;
    let waits = submit(&stays, event("2", None)).await;
    bench.until("both are held", |b| b.held_events() == 2).await;
    ends.end();
    assert_eq!(released.await.verdict, RELEASED);
    assert!(bench.unready().contains("t => f: refused"), "{}", bench.unready());
    stays.end();
    assert_eq!(waits.await.verdict, RELEASED);
    // Whoever has the events now tries the function: here nobody would see that it is well.
    assert_eq!((bench.unready().as_str(), bench.held_events()), ("", 0));
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_begins_after_its_lane_has_ended_is_not_told_of() {
    let wrong = Act::After(Duration::from_secs(5), Box::new(status(405)));
    let bench = Bench::new(&[], move |_| wrong.clone()).await;
    let lane = bench.lane(|_| {});
    let settlement = submit(&lane, event("1", None)).await;
    bench.until("it runs", |b| b.gateway.running("f") == 1).await;
    lane.end();
    assert_eq!(settlement.await.verdict, RELEASED);
    assert_eq!(bench.unready(), "");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_comes_back_to_a_hold_tries_when_the_next_try_is_due() {
    for (away, tried) in [(10, 60), (100, 100)] {
        let settings = [("dead_letter", "hold"), ("max_retry_wait", "60s")];
        let bench = Bench::new(&settings, |seen| status([400, 200][seen.nth.min(1)])).await;
        let lane = bench.lane(|_| {});
        let released = submit(&lane, event("1", None)).await;
        bench.until("it is held", |b| b.held_events() == 1).await;
        lane.end();
        assert_eq!(released.await.verdict, RELEASED);
        tokio::time::sleep(Duration::from_secs(away)).await;
        let lane = bench.lane(|_| {});
        let again = submit(&lane, event("1", None)).await;
        if away < tried {
            bench.until("it is held again", |b| b.unready().contains("t => f: refused")).await;
        }
        assert_eq!(again.await.verdict, Verdict::Done);
        let calls = bench.gateway.calls_of("f");
        assert_eq!((calls[1].at - calls[0].at).as_secs(), tried);
    }
}
