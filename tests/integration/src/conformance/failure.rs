//! What fails is tried again, then stored, and never lost.

use dev_gateway::{Fault, Function, Reply};

use super::{FUNCTION, Message, Play, Setup, Stage, StoredLetter};
use crate::until;

/// The payload that [`picky`] will not take.
const BAD: &str = "bad";

/// A function that answers 500 to [`BAD`] and echoes all else.
fn picky() -> Function {
    Function::named(FUNCTION).handler(|request| async move {
        if request.body == BAD { Reply::status(500) } else { Reply::text(request.body) }
    })
}

/// A failure that passes costs attempts, which are counted, and nothing else.
pub async fn a_transient_failure_is_retried<S: Stage>() {
    let play = Play::<S>::new(Setup::default()).await;
    play.gateway.fault(FUNCTION, Fault::status(500).times(3));
    let message = Message::many("transient", 1);
    play.stage.publish(&message).await;
    let connector = play.launch().ready().await;
    play.delivered(&message).await;
    play.settled().await;
    let attempts: Vec<_> =
        play.gateway.ledger().with(|calls| calls.of(FUNCTION).map(|call| call.attempt).collect());
    assert_eq!(attempts, [Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(connector.metrics().await.came("delivered"), 1);
    connector.end().await;
}

/// An event that uses up its attempts is stored, unchanged and with the reason.
pub async fn exhausted_is_stored<S: Stage>() {
    let play = Play::<S>::without_function(Setup::default()).await;
    play.deploy(picky());
    let (bad, good) = (Message::new("k", BAD), Message::many("good", 10));
    play.stage.publish(std::slice::from_ref(&bad)).await;
    play.stage.publish(&good).await;
    let connector = play.launch().set("max_retry_attempts", "2").ready().await;
    play.delivered(&good).await;
    play.settled().await;
    assert_eq!(play.calls_for(&bad), 3, "one call and two retries");
    let stored = StoredLetter { message: bad, reason: "exhausted".to_owned() };
    assert_eq!(play.stage.letters().await, [stored]);
    let metrics = connector.metrics().await;
    assert_eq!((metrics.came("delivered"), metrics.came("dead_lettered")), (10, 1));
    connector.end().await;
}

/// While the place for dead letters refuses, the event is held and the process says so.
pub async fn a_letter_that_is_refused_is_held_then_stored<S: Stage>() {
    let setup = Setup { refuses_letters: true, ..Setup::default() };
    let play = Play::<S>::without_function(setup).await;
    play.deploy(picky());
    let (bad, good) = (Message::new("k", BAD), Message::many("good", 10));
    play.stage.publish(std::slice::from_ref(&bad)).await;
    play.stage.publish(&good).await;
    let connector = play.launch().set("max_retry_attempts", "0").start().await;
    play.delivered(&good).await;
    connector.not_ready("dead letters to").await;
    assert!(play.stage.unsettled().await > 0, "what is not stored is not settled");
    assert_eq!(connector.metrics().await.in_flight(), 1);

    play.stage.accept_letters().await;
    play.settled().await;
    connector.ready().await;
    let stored = StoredLetter { message: bad.clone(), reason: "exhausted".to_owned() };
    assert_eq!(play.stage.letters().await, [stored]);
    assert_eq!(play.calls_for(&bad), 1, "storing again calls nothing again");
    connector.end().await;
}

/// While one event fails and all later ones succeed, a crash loses none of them.
pub async fn a_failing_event_is_not_lost_behind_later_ones<S: Stage>() {
    let play = Play::<S>::without_function(Setup { lanes: 1, ..Setup::default() }).await;
    play.deploy(picky());
    let (bad, good) = (Message::new("k", BAD), Message::many("good", 50));
    play.stage.publish(std::slice::from_ref(&bad)).await;
    play.stage.publish(&good).await;
    let launch = play.launch().set("max_retry_attempts", "-1");
    let connector = launch.ready().await;
    play.delivered(&good).await;
    let calls = play.calls_for(&bad);
    assert!(calls > 0);
    // Long enough for whatever would settle too much: the failing one is called ten more times.
    let look = async || play.calls_for(&bad);
    until("more calls of the failing event", look, |now| *now >= calls + 10).await;
    assert!(play.stage.unsettled().await > 0);
    connector.kill_now().await;
    assert!(play.stage.unsettled().await > 0, "the failing event is not settled");

    play.deploy(Function::named(FUNCTION));
    let connector = launch.ready().await;
    play.delivered(std::slice::from_ref(&bad)).await;
    play.settled().await;
    connector.end().await;
}
