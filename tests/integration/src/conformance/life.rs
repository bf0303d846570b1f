//! Processes and brokers come and go; events stay.

use std::time::Duration;

use dev_gateway::{Fault, Gate};

use super::{FUNCTION, Message, Play, Setup, Stage};
use crate::process::Signal;
use crate::until;

/// A process that dies with calls running has settled none of their events.
pub async fn a_crash_before_the_verdict_redelivers<S: Stage>() {
    let play = Play::<S>::new(Setup::default()).await;
    let gate = Gate::closed();
    play.gateway.fault(FUNCTION, Fault::gate(&gate));
    let messages = Message::many("crash", 5);
    play.stage.publish(&messages).await;
    let connector = play.launch().ready().await;
    gate.wait_for_waiting(5).await;
    connector.kill_now().await;
    play.gateway.ledger().wait_for("no call to run", |calls| calls.running() == 0).await;
    assert_eq!(play.stage.unsettled().await, 5);

    gate.open();
    let connector = play.launch().ready().await;
    play.delivered(&messages).await;
    play.settled().await;
    assert!(messages.iter().all(|message| play.calls_for(message) == 2));
    connector.end().await;
}

/// SIGTERM under load: what runs ends and is settled, what waits is left to the next process.
pub async fn a_drain_under_load_loses_and_repeats_nothing<S: Stage>() {
    let play = Play::<S>::new(Setup::default()).await;
    play.gateway.fault(FUNCTION, Fault::slow(Duration::from_millis(10)));
    let messages = Message::many("drain", 300);
    play.stage.publish(&messages).await;
    let connector = play.launch().ready().await;
    let ledger = play.gateway.ledger();
    ledger.wait_for("50 calls", |calls| calls.begun() >= 50).await;
    connector.signal(Signal::Terminate);
    let ended = connector.exited().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.lines);
    let begun = ledger.with(|calls| calls.begun());
    assert!(begun < 300, "the drain came too late to be under load");
    assert_eq!(ledger.with(|calls| calls.well().count() as u64), begun, "a drain cuts nothing");

    let connector = play.launch().ready().await;
    play.delivered(&messages).await;
    play.settled().await;
    play.assert_called_once_each(&messages);
    connector.end().await;
}

/// A broker that dies and comes back is found again, and nothing is lost with it.
pub async fn a_restarted_broker_is_found_again<S: Stage>() {
    let play = Play::<S>::new(Setup { private: true, ..Setup::default() }).await;
    let gate = Gate::closed();
    play.gateway.fault(FUNCTION, Fault::gate(&gate));
    let (before, after) = (Message::many("before", 20), Message::many("after", 20));
    play.stage.publish(&before).await;
    let connector = play.launch().ready().await;
    // Calls run while the broker is away.
    gate.wait_for_waiting(5).await;
    play.stage.restart_broker().await;
    gate.open();
    play.stage.publish(&after).await;
    play.delivered(&before).await;
    play.delivered(&after).await;
    play.settled().await;
    connector.ready().await;
    connector.end().await;
}

/// Two processes of one group both get events, and each event is answered well.
pub async fn two_instances_share<S: Stage>() {
    let play = Play::<S>::new(Setup { lanes: 6, ..Setup::default() }).await;
    let (one, two) =
        tokio::join!(async { play.launch().ready().await }, async { play.launch().ready().await });
    let mut published = Vec::new();
    until(
        "both instances to receive",
        async || {
            let more = Message::many(&format!("shared {}", published.len()), 20);
            play.stage.publish(&more).await;
            published.extend(more);
            (one.metrics().await.received(), two.metrics().await.received())
        },
        |(one, two)| *one > 0 && *two > 0,
    )
    .await;
    play.delivered(&published).await;
    play.settled().await;
    one.end().await;
    two.end().await;
}

/// While calls run a member joins, and then leaves by a crash: every event is answered well.
pub async fn a_member_that_joins_midway_loses_nothing<S: Stage>() {
    let play = Play::<S>::new(Setup { lanes: 6, ..Setup::default() }).await;
    play.gateway.fault(FUNCTION, Fault::slow(Duration::from_millis(20)));
    let first = play.launch().ready().await;
    let second = play.launch().start().await;
    // Under load all the while, until the second has its share, and then it dies.
    let mut published = Vec::new();
    until(
        "the second to receive",
        async || {
            let more = Message::many(&format!("midway {}", published.len()), 50);
            play.stage.publish(&more).await;
            published.extend(more);
            second.metrics().await.received()
        },
        |received| *received >= 10,
    )
    .await;
    second.kill_now().await;
    play.delivered(&published).await;
    play.settled().await;
    first.end().await;
}
