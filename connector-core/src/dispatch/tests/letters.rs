//! Dead letters.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::bench::{Bench, event, submit};
use super::gateway::{Act, status};
use crate::event::Event;
use crate::lane::Verdict;
use crate::run::begin_drain;

const TO_TOPIC: (&str, &str) = ("dead_letter", "topic:dead");

#[tokio::test(start_paused = true)]
async fn an_event_refused_for_good_is_dead_lettered_at_once() {
    let bench = Bench::new(&[TO_TOPIC], |_| Act::Answer(400, vec![], "no such user\nat all")).await;
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.calls_of("f").len(), 1);
    let letters = bench.letters.stored();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].reason, letters[0].status, letters[0].attempts),
        ("refused", Some(400), 1)
    );
    assert_eq!(letters[0].error, "status 400: no such user");
    assert_eq!(&*letters[0].event.payload, b"1");
    assert_eq!(bench.came("dead_lettered"), 1);
}

/// A broker may refuse the whole letter for them, again and again.
#[tokio::test(start_paused = true)]
async fn a_letter_has_no_control_characters_of_its_functions_answer() {
    let bench =
        Bench::new(&[TO_TOPIC], |_| Act::Answer(400, vec![], "\x1b[31mno such user\x1b[0m\0"))
            .await;
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    let mut letter = bench.letters.stored()[0].clone();
    assert_eq!(letter.error, "status 400: [31mno such user[0m");
    letter.error = "\x07\x7f\u{9b}".to_owned();
    let notes = letter.notes();
    assert!(notes.iter().all(|(name, _)| *name != "X-Dead-Letter-Error"), "{notes:?}");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_keeps_failing_is_dead_lettered_after_its_attempts() {
    let bench = Bench::new(&[TO_TOPIC, ("max_retry_attempts", "2")], |_| status(500)).await;
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.calls_of("f").len(), 3);
    let letter = &bench.letters.stored()[0];
    assert_eq!((letter.reason, letter.attempts), ("exhausted", 3));
    assert!(letter.notes().iter().any(|(n, v)| *n == "X-Dead-Letter-Function" && v == "f"));
}

#[tokio::test(start_paused = true)]
async fn annotations_of_the_function_win() {
    let bench = Bench::new(&[("max_retry_attempts", "9")], |_| status(418)).await;
    bench.map(&[(
        "f",
        "t",
        &[
            ("com.openfaas.retry.attempts", "1"),
            ("com.openfaas.retry.codes", "418"),
            ("connector.dead-letter", "topic:mine"),
        ],
    )]);
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    assert_eq!(bench.gateway.calls_of("f").len(), 2);
    assert_eq!(bench.letters.stored().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_held_until_its_letter_is_stored() {
    let bench = Bench::new(&[TO_TOPIC], |_| status(400)).await;
    bench.letters.refuses.store(true, Ordering::Relaxed);
    let lane = bench.lane(|_| {});
    let settlement = submit(&lane, event("1", None)).await;
    tokio::pin!(settlement);
    bench.until("storing is tried again", |b| b.letters.tried.load(Ordering::Relaxed) > 5).await;
    assert!(futures_util::poll!(settlement.as_mut()).is_pending());
    assert!(bench.unready().contains("the topic refuses"), "{}", bench.unready());
    bench.letters.refuses.store(false, Ordering::Relaxed);
    assert_eq!(settlement.await.verdict, Verdict::Done);
    assert!(!bench.unready().contains("the topic refuses"));
    assert_eq!(bench.gateway.calls_of("f").len(), 1, "the function is not called again");
}

#[tokio::test(start_paused = true)]
async fn notes_that_make_a_letter_too_large_are_left_out_but_for_the_least() {
    let bench = Bench::new(&[TO_TOPIC], |_| status(400)).await;
    bench.letters.is_small.store(true, Ordering::Relaxed);
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    let notes = [
        ("X-Dead-Letter-Reason", "refused"),
        ("X-Dead-Letter-Function", "f"),
        ("X-Dead-Letter-Position", "test:1"),
    ];
    assert_eq!(bench.letters.stored()[0].notes(), notes.map(|(name, it)| (name, it.to_owned())));
    assert_eq!(bench.letters.tried.load(Ordering::Relaxed), 2);
    assert_eq!(bench.unready(), "");
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_letter_is_not_stored_is_released_with_its_lane() {
    let bench = Bench::new(&[TO_TOPIC], |_| status(400)).await;
    bench.letters.refuses.store(true, Ordering::Relaxed);
    let lane = bench.lane(|_| {});
    let settlement = submit(&lane, event("1", None)).await;
    bench.until("storing is tried", |b| b.letters.tried.load(Ordering::Relaxed) > 1).await;
    assert!(bench.unready().contains("the topic refuses"), "{}", bench.unready());
    lane.end();
    assert_eq!(settlement.await.verdict, Verdict::Release { after: None });
    // Whoever has the event next stores its letter: here nobody would see that it can be stored.
    assert_eq!(bench.unready(), "");
}

#[tokio::test(start_paused = true)]
async fn a_destination_is_told_of_as_long_as_any_letter_waits_for_it() {
    let bench = Bench::new(&[TO_TOPIC], |_| status(400)).await;
    bench.letters.refuses.store(true, Ordering::Relaxed);
    let (ends, stays) = (bench.lane(|_| {}), bench.lane(|_| {}));
    let released = submit(&ends, event("1", None)).await;
    let waits = submit(&stays, event("2", None)).await;
    bench.until("storing is tried", |b| b.letters.tried.load(Ordering::Relaxed) > 3).await;
    ends.end();
    assert_eq!(released.await.verdict, Verdict::Release { after: None });
    assert!(bench.unready().contains("the topic refuses"), "{}", bench.unready());
    bench.letters.refuses.store(false, Ordering::Relaxed);
    assert_eq!(waits.await.verdict, Verdict::Done);
    assert_eq!(bench.unready(), "");
}

/// Released, it would be gone: its broker delivers it no more.
#[tokio::test(start_paused = true)]
async fn a_last_delivery_that_joined_a_call_has_its_outcome_or_a_letter_when_the_process_drains() {
    for (answer, came, letters) in [(200, "repeated", 0), (500, "dead_lettered", 1)] {
        let act = Act::After(Duration::from_secs(5), Box::new(status(answer)));
        let bench = Bench::new(&[TO_TOPIC], move |_| act.clone()).await;
        let lane = bench.lane(|_| {});
        let _first = submit(&lane, event("1", None)).await;
        bench.until("it runs", |b| b.gateway.running("f") == 1).await;
        let last = Event { last_delivery: true, ..event("1", None) };
        let joined = submit(&lane, last).await;
        begin_drain(&bench.intake);
        assert_eq!(joined.await.verdict, Verdict::Done, "{answer}");
        assert_eq!((bench.came(came), bench.letters.stored().len()), (1, letters));
        assert_eq!(bench.gateway.calls_of("f").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_can_take_the_letters() {
    let bench = Bench::new(&[("dead_letter", "function:undertaker")], |seen| {
        match (&*seen.function, seen.nth) {
            ("undertaker", 0) => status(500),
            ("undertaker", _) => status(202),
            _ => status(400),
        }
    })
    .await;
    let lane = bench.lane(|_| {});
    assert_eq!(submit(&lane, event("1", None)).await.await.verdict, Verdict::Done);
    let calls = bench.gateway.calls_of("undertaker");
    assert_eq!(calls.len(), 2, "until it is stored");
    assert_eq!(calls[1].path, "/function/undertaker");
    assert_eq!(calls[1].header("x-dead-letter-reason"), "refused");
    assert_eq!(&*calls[1].body, b"1");
    assert_eq!(bench.came("dead_lettered"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_function_never_gets_its_own_letters() {
    let bench = Bench::new(&[("dead_letter", "function:f")], |_| status(400)).await;
    let lane = bench.lane(|_| {});
    let _waits = submit(&lane, event("1", None)).await;
    bench.until("it is held", |b| b.unready().contains("to itself")).await;
}

#[tokio::test(start_paused = true)]
async fn headers_that_no_gateway_takes_are_the_events_fault() {
    let bench = Bench::new(&[TO_TOPIC], |_| status(200)).await;
    let lane = bench.lane(|_| {});
    let mut event = event("1", None);
    event.attributes.push(crate::Attribute {
        name: bytes::Bytes::from_static(b"huge"),
        value: Some(bytes::Bytes::from(vec![b'x'; 2 << 20])),
    });
    assert_eq!(submit(&lane, event).await.await.verdict, Verdict::Done);
    assert_eq!(bench.letters.stored()[0].reason, "too_large");
    assert!(bench.gateway.calls_of("f").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_good_answer_begins_the_count_of_letters_anew() {
    let settings = [TO_TOPIC, ("dead_letter_limit", "3")];
    let bench =
        Bench::new(&settings, |seen| status(if seen.nth % 3 == 2 { 200 } else { 400 })).await;
    let lane = bench.lane(|_| {});
    for n in 0..9 {
        assert_eq!(submit(&lane, event(&n.to_string(), None)).await.await.verdict, Verdict::Done);
    }
    assert_eq!((bench.came("dead_lettered"), bench.came("delivered")), (6, 3));
}

#[tokio::test(start_paused = true)]
async fn an_event_above_its_sources_limit_is_buried_uncalled_whole() {
    let bench = Bench::new(&[TO_TOPIC], |_| status(200)).await;
    let lane = bench.lane(|_| {});
    let event = crate::Event { oversize: Some(3), ..event("1", None) };
    let payload = event.payload.clone();
    assert_eq!(submit(&lane, event).await.await.verdict, Verdict::Done);
    let letter = &bench.letters.stored()[0];
    assert_eq!((letter.reason, &letter.event.payload), ("too_large", &payload));
    assert_eq!(letter.error, "the event comes to more than 3 bytes");
    assert!(bench.gateway.calls_of("f").is_empty());
}
