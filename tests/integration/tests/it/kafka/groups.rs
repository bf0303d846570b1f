//! What a group of other members, slow functions and rough ends does to its events.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use dev_gateway::{Calls, Fault, Gate};
use integration::metrics::Metrics;
use integration::process::Signal;
use integration::{Broker, Connector, Record, until};

use super::scene::Scene;

const PARTITIONS: usize = 4;

/// Records `from..to`, in turns over the partitions.
fn numbered(numbers: Range<usize>) -> impl Iterator<Item = Record> {
    let partition = |number| i32::try_from(number % PARTITIONS).expect("few");
    numbers.map(move |number| Record::of(number.to_string()).partition(partition(number)))
}

fn texts(numbers: Range<usize>) -> BTreeSet<String> {
    numbers.map(|number| number.to_string()).collect()
}

fn called(calls: &Calls) -> BTreeSet<String> {
    calls.well().map(dev_gateway::Call::text).collect()
}

/// Waits until a line has come this often.
async fn lines(connector: &Connector, line: &str, often: usize) {
    let look = async || connector.count(line);
    until(&format!("{line:?} {often} times"), look, |count| *count >= often).await;
}

#[tokio::test]
async fn a_java_member_may_be_there_before_and_come_back_after() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("java", i32::try_from(PARTITIONS).expect("few")).await;
    scene.deploy("beside", &topic);
    let produce = async |numbers| scene.broker.produce_all(&topic, numbered(numbers)).await;
    produce(0..200).await;
    let java = scene.broker.java_member(&topic, &scene.group);
    let all = |received: &Vec<String>| received.len() == 200;
    until("the Java member to have all", async || java.received(), all).await;

    // Beside it: each has two partitions.
    let connector = scene.connector(&[&topic]).ready().await;
    connector.line("partitions assigned").await;
    produce(200..400).await;
    let both = |(java, calls): &(usize, usize)| java + calls >= 400 && *java > 200 && *calls > 0;
    let ledger = scene.gateway.ledger();
    let look = async || (java.received().len(), ledger.with(|calls| calls.well().count()));
    until("both to have their half", look, both).await;

    // It goes, and all partitions are ours.
    let java = java.leave().await;
    lines(&connector, "partitions assigned", 2).await;
    produce(400..600).await;
    for partition in 0..PARTITIONS {
        let (partition, end) = (i32::try_from(partition).expect("few"), 600 / 4);
        scene.broker.wait_for_commit(&scene.group, &topic, partition, end).await;
    }
    let mut reached: BTreeSet<_> = java.into_iter().collect();
    reached.extend(ledger.with(called));
    assert_eq!(reached, texts(0..600), "nothing is lost");
    connector.end().await;

    // And back: to whom our commits are offsets like any other.
    produce(600..604).await;
    let java = scene.broker.java_member(&topic, &scene.group);
    until("the Java member to go on", async || java.received(), |got| got.len() >= 4).await;
    let after: BTreeSet<_> = java.leave().await.into_iter().collect();
    assert_eq!(after, texts(600..604));
}

#[tokio::test]
async fn a_handler_outlasts_every_patience_of_the_group() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("hours", 1).await;
    scene.deploy("slow", &topic);
    // More than five times the poll interval and the session.
    scene.gateway.fault("slow", Fault::slow(Duration::from_secs(11)).times(1).then(Fault::none()));
    scene.broker.produce_all(&topic, [Record::of("slow"), Record::of("next")]).await;
    let connector = scene
        .connector(&[&topic])
        .set("session_timeout", "2s")
        .set("max_poll_interval", "2100ms")
        .set("revoke_wait", "1s")
        .ready()
        .await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 2).await;
    let calls: Vec<_> = scene.gateway.ledger().calls().iter().map(|call| call.text()).collect();
    assert_eq!(calls, ["slow", "next"], "each is called once");
    assert_eq!(scene.broker.generations(&scene.group), 1, "the group is as it was");
    assert_eq!(connector.count("partitions assigned"), 1);
    connector.end().await;
}

#[tokio::test]
async fn a_static_member_comes_back_without_a_rebalance() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("static", i32::try_from(PARTITIONS).expect("few")).await;
    scene.deploy("steady", &topic);
    let launch = |name| {
        let launch = scene.connector(&[&topic]).set("group_instance_id", name);
        launch.set("session_timeout", "20s").set("ordering", "key")
    };
    let first = launch("the-first").ready().await;
    first.line("partitions assigned").await;
    let second = launch("the-second").ready().await;
    second.line("partitions assigned").await;
    lines(&first, "partitions assigned", 2).await;
    let generations = scene.broker.generations(&scene.group);

    let ledger = scene.gateway.ledger();
    let produce = async |numbers| scene.broker.produce_all(&topic, numbered(numbers)).await;
    let all = |upto: usize| move |calls: &Calls| called(calls) == texts(0..upto);

    first.kill_now().await;
    produce(0..40).await;
    let first = launch("the-first").ready().await;
    ledger.wait_for("all, those of the dead one too", all(40)).await;

    // A good end is no other: a static member does not leave.
    second.end().await;
    produce(40..80).await;
    let second = launch("the-second").ready().await;
    ledger.wait_for("all, those of the absent one too", all(80)).await;

    assert_eq!(scene.broker.generations(&scene.group), generations, "nobody else noticed");
    first.end().await;
    second.end().await;
}

#[tokio::test]
async fn the_cooperative_assignor_takes_only_what_moves() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("sticky", i32::try_from(PARTITIONS).expect("few")).await;
    scene.deploy("sticky", &topic);
    let gate = Gate::closed();
    scene.gateway.fault("sticky", Fault::gate(&gate));
    scene.broker.produce_all(&topic, numbered(0..PARTITIONS)).await;
    let launch = scene.connector(&[&topic]).set("assignor", "cooperative-sticky");
    let launch = launch.set("revoke_wait", "30s");
    let first = launch.ready().await;
    gate.wait_for_waiting(PARTITIONS).await;

    // Calls run on all four partitions; two of them are asked for, and wait for their calls.
    let second = launch.ready().await;
    let revoked = first.line("partitions revoked").await;
    assert_eq!(revoked.matches(&topic).count(), 2, "{revoked}");
    gate.open();
    lines(&second, "partitions assigned", 1).await;
    scene.broker.produce_all(&topic, numbered(PARTITIONS..2 * PARTITIONS)).await;
    let ledger = scene.gateway.ledger();
    ledger.wait_for("all", |calls| called(calls) == texts(0..2 * PARTITIONS)).await;

    // What a dead member had comes back; what is kept is not touched again.
    second.kill_now().await;
    scene.broker.produce_all(&topic, numbered(2 * PARTITIONS..3 * PARTITIONS)).await;
    ledger.wait_for("all", |calls| called(calls) == texts(0..3 * PARTITIONS)).await;
    assert_eq!(first.count("partitions revoked"), 1);
    let running = |call: &dev_gateway::Call| call.text().parse::<usize>().unwrap() < PARTITIONS;
    let calls = ledger.with(|calls| calls.iter().filter(|call| running(call)).count());
    assert_eq!(calls, PARTITIONS, "a call that ended in time is not repeated");
    first.end().await;
}

#[tokio::test]
async fn partitions_lost_are_called_by_their_next_owner_and_committed_by_nobody_else() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("lost", 1).await;
    scene.deploy("lost", &topic);
    let gate = Gate::closed();
    scene.gateway.fault("lost", Fault::gate(&gate).times(1).then(Fault::none()));
    scene.broker.produce_all(&topic, ["head", "behind"].map(Record::of)).await;
    let first = scene.connector(&[&topic]).ready().await;
    gate.wait_for_waiting(1).await;

    // Stopped for longer than its session: the group goes on without it, and without its answer.
    first.signal(Signal::Stop);
    let second = scene.connector(&[&topic]).ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 2).await;
    scene.broker.produce(&topic, Record::of("later")).await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 3).await;

    // Back again it has an answer to the first record, which settles nothing any more.
    gate.open();
    first.signal(Signal::Continue);
    first.line("partitions lost").await;
    second.end().await;
    lines(&first, "partitions assigned", 2).await;
    scene.broker.produce(&topic, Record::of("last")).await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 4).await;
    let calls: Vec<_> = scene.gateway.ledger().calls().iter().map(|call| call.text()).collect();
    // Until it hears that the partition is lost it may go on to the next record: that is repeated, and nothing else.
    let again = calls.iter().filter(|text| *text == "behind").count();
    assert!(again <= 2, "{calls:?}");
    let others: Vec<_> = calls.iter().filter(|text| *text != "behind").collect();
    assert_eq!(others, ["head", "head", "later", "last"], "{calls:?}");
    first.end().await;
}

/// A client may have let go of every broker it knew, and then asks nobody any more.
#[tokio::test]
async fn a_broker_that_is_silent_for_longer_than_a_session_is_asked_by_another_client() {
    let scene = Scene::at(Broker::private("silent", &[]).await).await;
    let topic = scene.broker.topic("silent", 1).await;
    scene.deploy("listener", &topic);
    let connector = scene.connector(&[&topic]).set("session_timeout", "3s").ready().await;
    // A client may be replaced at the start, too: it may know of a new topic before the broker does.
    scene.broker.produce(&topic, Record::of("before")).await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 1).await;
    let replaced = |seen: &Metrics| seen.sum("tributary_source_restarts_total", &[]);
    let before = replaced(&connector.metrics().await);
    scene.broker.stop().await;
    connector.not_ready("broker").await;
    connector.metrics_until("another client", |seen| replaced(seen) > before).await;
    scene.broker.restart().await;
    scene.broker.produce(&topic, Record::of("heard")).await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 2).await;
    connector.end().await;
}

/// A call runs while a second member joins and gets its partition, or the other one. Gives how often the function
/// was called for the record.
async fn handed_over(revoke_wait: &str, gate_opens_before: bool) -> usize {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("handed", 2).await;
    scene.deploy("handed", &topic);
    let gate = Gate::closed();
    scene.gateway.fault("handed", Fault::gate(&gate).times(2).then(Fault::none()));
    let records = (0..2).map(|partition| Record::of("running").partition(partition));
    scene.broker.produce_all(&topic, records).await;
    let launch = scene.connector(&[&topic]).set("revoke_wait", revoke_wait);
    let first = launch.ready().await;
    gate.wait_for_waiting(2).await;
    let second = launch.start().await;
    first.line("partitions revoked").await;
    if gate_opens_before {
        gate.open();
    }
    second.line("partitions assigned").await;
    second.ready().await;
    let ledger = scene.gateway.ledger();
    if !gate_opens_before {
        let again = |calls: &Calls| calls.well().any(|call| call.number >= 2);
        ledger.wait_for("the new owner to call", again).await;
        gate.open();
    }
    for partition in 0..2 {
        scene.broker.wait_for_commit(&scene.group, &topic, partition, 1).await;
    }
    let calls = ledger.calls().len();
    first.end().await;
    second.end().await;
    calls
}

#[tokio::test]
async fn a_running_call_may_end_before_its_partition_is_handed_over() {
    assert_eq!(handed_over("30s", true).await, 2, "what has ended in time is committed");
}

#[tokio::test]
async fn the_group_does_not_wait_longer_than_that() {
    // One partition goes to another process, which calls again; the other comes back to the process that still
    // runs its call, and finds it running.
    assert_eq!(handed_over("100ms", false).await, 3);
}
