//! What the runs have in common that [`ledger_checker`] judges: how their plan begins, how their
//! messages are stored, when something is broken, and how they end.

use async_nats::jetstream::Context;
use async_nats::jetstream::message::PublishMessage;
use dev_gateway::{Calls, DevGateway};
use ledger_checker::notes::Notes;
use ledger_checker::plan::{self, Broker, Ordering, Settling};

use super::{Connector, directory, until, until_is};

/// Begins the plan of a run in which a JetStream consumer brings each message to these functions.
pub(crate) fn begin(name: &str, seed: u64, functions: &[&str], lane_window: usize) -> Notes {
    let run = plan::Run {
        name: name.to_owned(),
        seed,
        broker: Broker::JetStream,
        functions: functions.iter().map(|function| format!("{function}.openfaas-fn")).collect(),
        ordering: Ordering::None,
        // What the server forgets is counted.
        settling: Settling::Single { lease_ms: 0, travel_ms: plan::TRAVEL_MS },
        lane_window: lane_window as u64,
    };
    Notes::begin(&directory(), run).unwrap()
}

/// Publishes a message until it is known to be stored; servers may be gone meanwhile. Its payload
/// is its id, by which it is stored once.
pub(crate) async fn store(context: &Context, subject: &str, payload: &str) {
    until("a publish that is stored", async || {
        let message = PublishMessage::build().payload(payload.to_owned().into());
        let sent = context.send_publish(subject.to_owned(), message.message_id(payload)).await;
        sent.ok()?.await.ok()
    })
    .await;
}

/// Waits until so many calls run at least; gives the moment.
pub(crate) async fn until_running(
    gateway: &DevGateway,
    at_least: usize,
    moment: impl Fn() -> u64,
) -> u64 {
    let enough = |calls: &Calls| (calls.running() >= at_least).then(&moment);
    until("calls that run", async || gateway.ledger().with(enough)).await
}

/// Ends the connector, when its server has nothing left for it, and has the run judged.
pub(crate) async fn judge(notes: &Notes, connector: Connector) {
    until_is("in flight", 0, async || connector.metric("tributary_events_in_flight").await).await;
    connector.balanced().await;
    assert_eq!(connector.stop().await.code(), Some(0));
    let judgement = ledger_checker::judged(notes.folder()).unwrap();
    eprintln!("\n{judgement}");
    assert!(judgement.kept(), "see {}", notes.folder().display());
}
