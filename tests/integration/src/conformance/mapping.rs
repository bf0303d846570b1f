//! Which functions are called follows the listing, neither too slowly nor too fast.

use dev_gateway::Function;

use super::{FUNCTION, Message, Play, Setup, Stage};

/// How many functions the connector has mapped.
async fn mapped(connector: &crate::Connector, functions: f64) {
    connector
        .metrics_until("the map to follow the listing", |metrics| {
            metrics.sum("tributary_map_functions", &[]) == functions
        })
        .await;
}

/// Events that nobody is mapped to stay at the broker until somebody is.
pub async fn an_unmapped_topic_is_held_until_mapped<S: Stage>() {
    let play = Play::<S>::without_function(Setup::default()).await;
    let messages = Message::many("held", 10);
    play.stage.publish(&messages).await;
    let connector = play.launch().start().await;
    connector.line("topic map").await;
    play.gateway.wait_for_listings(5).await;
    assert_eq!(play.stage.unsettled().await, 10);

    play.deploy(Function::named(FUNCTION));
    play.delivered(&messages).await;
    play.settled().await;
    play.assert_called_once_each(&messages);
    connector.end().await;
}

/// With no topics set, a function that brings a new topic is called before the listing after the
/// one that shows it, and the topics there are do not notice.
pub async fn a_new_topic_is_called_after_one_listing<S: Stage>() {
    let play = Play::<S>::new(Setup::default()).await;
    let launch = play.launch().unset("topics").set("rebuild_interval", "4s");
    let connector = launch.ready().await;
    let before = Message::many("before", 5);
    play.stage.publish(&before).await;
    play.delivered(&before).await;

    let new = Message::many("new", 5);
    let topic = play.stage.publish_elsewhere(&new).await;
    let listings = play.gateway.listings();
    play.gateway.deploy(Function::named("newcomer").topic(&topic));
    let ledger = play.gateway.ledger();
    ledger.wait_for("the new function", |calls| calls.of("newcomer").count() > 0).await;
    assert_eq!(play.gateway.listings() - listings, 1, "listings until the first call");
    ledger
        .wait_for("five calls", |calls| {
            calls.of("newcomer").filter(|call| call.answered_well()).count() == 5
        })
        .await;
    let after = Message::many("after", 5);
    play.stage.publish(&after).await;
    play.delivered(&after).await;
    play.settled().await;
    play.assert_called_once_each(&before);
    play.assert_called_once_each(&after);
    connector.end().await;
}

/// A function that is missing from a few listings is called as ever.
pub async fn a_missing_listing_changes_nothing<S: Stage>() {
    let play = Play::<S>::new(Setup::default()).await;
    let connector = play.launch().ready().await;
    mapped(&connector, 1.0).await;
    play.gateway.platform(|platform| {
        platform.hidden.insert(FUNCTION.to_owned(), u32::MAX);
    });
    play.gateway.wait_for_listings(4).await;
    let messages = Message::many("missing", 10);
    play.stage.publish(&messages).await;
    play.delivered(&messages).await;
    play.settled().await;
    assert_eq!(connector.metrics().await.sum("tributary_map_functions", &[]), 1.0);
    connector.end().await;
}

/// A function that stays away is unmapped; its topic is held, and goes on when it comes back.
pub async fn a_function_removed_for_good_holds_its_topic<S: Stage>() {
    let play = Play::<S>::new(Setup::default()).await;
    let connector = play.launch().set("unmap_after", "500ms").ready().await;
    let before = Message::many("before", 5);
    play.stage.publish(&before).await;
    play.delivered(&before).await;
    play.settled().await;

    assert!(play.gateway.remove(FUNCTION));
    mapped(&connector, 0.0).await;
    let held = Message::many("held", 5);
    play.stage.publish(&held).await;
    play.gateway.wait_for_listings(5).await;
    assert_eq!(play.stage.unsettled().await, 5);
    assert!(held.iter().all(|message| play.calls_for(message) == 0));

    play.deploy(Function::named(FUNCTION));
    play.delivered(&held).await;
    play.settled().await;
    play.assert_called_once_each(&held);
    connector.end().await;
}
