//! Events that a broker only lends, and what it does itself with those that keep coming back.

use std::time::Duration;

use super::bench::{Bench, event, submit};
use super::gateway::{Act, status};
use crate::dead_letter::Address;
use crate::lane::{Lane, Loan, Redrive, Verdict};
use crate::settlement::Settlement;

const RELEASED: Verdict = Verdict::Release { after: None };

async fn lend(lane: &Lane, id: &str, key: Option<&str>) -> (Settlement, Loan) {
    lane.slot(1).await.expect("the lane lives").submit_lent(event(id, key))
}

fn slow() -> Act {
    Act::After(Duration::from_secs(10), Box::new(status(200)))
}

#[tokio::test(start_paused = true)]
async fn a_revoked_event_that_waits_is_released_uncalled_and_a_running_call_goes_on() {
    let bench = Bench::new(&[("function_concurrency", "1")], |_| slow()).await;
    let lane = bench.lane(|_| {});
    let (runs, of_running) = lend(&lane, "1", None).await;
    bench.until("the first runs", |b| b.gateway.running("f") == 1).await;
    let (waits, of_waiting) = lend(&lane, "2", None).await;
    let (stays, _of_staying) = lend(&lane, "3", None).await;
    of_running.revoke();
    of_waiting.revoke();
    assert_eq!(waits.await.verdict, RELEASED);
    assert_eq!(runs.await.verdict, Verdict::Done);
    assert_eq!(stays.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.calls_of("f").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn with_a_revoked_event_goes_what_waits_behind_it_for_its_key() {
    let bench = Bench::new(&[], |_| slow()).await;
    let lane = bench.lane(|options| options.turn_until_settled = true);
    let elsewhere = bench.lane(|options| options.turn_until_settled = true);
    let (first, _loan) = lend(&lane, "1", Some("k")).await;
    let (second, _loan) = lend(&lane, "2", Some("k")).await;
    let (third, of_third) = lend(&lane, "3", Some("k")).await;
    let (fourth, _loan) = lend(&lane, "4", Some("k")).await;
    let (another, _loan) = lend(&elsewhere, "5", Some("k")).await;
    of_third.revoke();
    assert_eq!(third.await.verdict, RELEASED);
    assert_eq!(fourth.await.verdict, RELEASED, "it would overtake the third");
    for settlement in [first, second, another] {
        assert_eq!(settlement.await.verdict, Verdict::Done);
    }
    assert_eq!(bench.gateway.calls_of("f").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_on_a_revoked_lease_is_not_repeated() {
    let bench =
        Bench::new(&[], |_| Act::After(Duration::from_secs(5), Box::new(status(500)))).await;
    let lane = bench.lane(|_| {});
    let (settlement, loan) = lend(&lane, "1", None).await;
    bench.until("it runs", |b| b.gateway.running("f") == 1).await;
    loan.revoke();
    assert_eq!(settlement.await.verdict, RELEASED);
    assert_eq!(bench.gateway.calls_of("f").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_settled_gives_back_what_waits_behind_it() {
    let bench = Bench::new(&[], |_| status(200)).await;
    let lane = bench.lane(|options| options.turn_until_settled = true);
    let first = submit(&lane, event("1", Some("k"))).await.await;
    let second = submit(&lane, event("2", Some("k"))).await;
    first.unsettled();
    assert_eq!(second.await.verdict, RELEASED);
    // The redelivery of the first calls nothing, and then it is the second's turn.
    let first = submit(&lane, event("1", Some("k"))).await;
    let second = submit(&lane, event("2", Some("k"))).await;
    drop(first.await);
    assert_eq!(second.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.calls_of("f").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_function_is_called_more_often_than_the_broker_would_deliver() {
    let bench = Bench::new(&[("initial_retry_wait", "1s")], |_| status(500)).await;
    let redrive = Redrive { deliveries: 3, address: Some(Address::Broker("dead".into())) };
    let lane = bench.lane(|options| options.redrive = Some(redrive.clone()));
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.calls_of("f").len(), 3);
    assert_eq!(bench.letters.stored()[0].reason, "exhausted");
    // Deliveries count wherever they were made.
    let mut last = event("2", None);
    last.delivery_count = Some(3);
    assert_eq!(submit(&lane, last).await.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.calls_of("f").len(), 4);
    // An annotation's address wins.
    bench.map(&[("g", "t", &[("connector.dead-letter", "drop")])]);
    assert_eq!(submit(&lane, event("3", None)).await.await.verdict, Verdict::Done);
    assert_eq!((bench.came("dead_lettered"), bench.came("dropped")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_refused_leaves_the_event_to_the_brokers_rule() {
    let bench = Bench::new(&[("backoff", "exponential")], |_| status(400)).await;
    bench.letters.refuses.store(true, std::sync::atomic::Ordering::Relaxed);
    let redrive = Redrive { deliveries: 3, address: Some(Address::Broker("dead".into())) };
    let lane = bench.lane(|options| {
        options.redrive = Some(redrive);
        options.stores_waits = true;
    });
    let settled = submit(&lane, event("1", None)).await.await;
    assert_eq!(settled.verdict, Verdict::Release { after: Some(Duration::from_secs(1)) });
    assert_eq!(bench.unready(), "", "it is the broker's to decide");
}

#[tokio::test(start_paused = true)]
async fn an_event_of_several_functions_never_waits_in_the_broker() {
    // The one fails at once, the other answers well only later.
    let bench = Bench::new(&[], |seen| match (&*seen.function, seen.nth) {
        ("a", 0) => status(500),
        ("b", _) => Act::After(Duration::from_secs(5), Box::new(status(200))),
        _ => status(200),
    })
    .await;
    bench.map(&[("a", "t", &[]), ("b", "t", &[])]);
    let lane = bench.lane(|options| options.stores_waits = true);
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.calls_of("b").len(), 1);
}
