//! Records that no function will ever take.

use std::time::Duration;

use dev_gateway::{Function, Reply};
use integration::Record;
use tokio::time::{Instant, sleep};

use super::scene::Scene;

/// A function that answers 400 to `poison` and echoes all else.
fn picky(topic: &str) -> Function {
    Function::named("picky").topic(topic).handler(|request| async move {
        let status = if request.body == "poison" { 400 } else { 200 };
        Reply::status(status).body("not with me")
    })
}

fn poison() -> Record {
    Record::of("poison").key(*b"\xffkey\0").header("trace", "t-1").header("binary", *b"\0\xfe")
}

#[tokio::test]
async fn poison_is_stored_at_once_and_its_partition_goes_on() {
    let scene = Scene::new().await;
    let (topic, letters) =
        (scene.broker.topic("poison", 1).await, scene.broker.topic("poison-letters", 1).await);
    scene.gateway.deploy(picky(&topic));
    let records = [Record::of("before"), poison(), Record::of("after 1"), Record::of("after 2")];
    scene.broker.produce_all(&topic, records).await;

    let launch = scene.connector(&[&topic]).set("dead_letter", format!("topic:{letters}"));
    let connector = launch.ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 4).await;
    let called: Vec<_> = scene.gateway.ledger().calls().iter().map(|call| call.text()).collect();
    assert_eq!(called, ["before", "poison", "after 1", "after 2"], "each once, in order");

    let stored = scene.broker.read(&letters).await;
    assert_eq!(stored.len(), 1, "{stored:?}");
    let letter = &stored[0].record;
    assert_eq!((&letter.key, &letter.payload), (&poison().key, &poison().payload));
    assert_eq!(letter.headers[..2], poison().headers);
    let note = |name: &str| {
        String::from_utf8_lossy(letter.header_value(name).unwrap_or_default()).into_owned()
    };
    assert_eq!(note("X-Dead-Letter-Reason"), "refused");
    assert_eq!(note("X-Dead-Letter-Status"), "400");
    assert_eq!(note("X-Dead-Letter-Attempts"), "1");
    assert_eq!(note("X-Dead-Letter-Function"), "picky.openfaas-fn");
    assert_eq!(note("X-Dead-Letter-Position"), format!("kafka:{topic}/0@1"));
    assert!(note("X-Dead-Letter-Error").contains("not with me"), "{letter:?}");

    let metrics = connector.metrics().await;
    assert_eq!((metrics.came("delivered"), metrics.came("dead_lettered")), (3, 1));
    connector.end().await;
}

#[tokio::test]
async fn a_letter_that_its_notes_make_too_large_is_stored_with_the_least_of_them() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("large", 1).await;
    let letters = format!("{topic}-letters");
    scene.broker.create_topic(&letters, 1, &[("max.message.bytes", "2000")]).await;
    scene.gateway.deploy(Function::named("picky").topic(&topic).answer(Reply::status(400)));
    let large = Record { payload: Some(vec![b'x'; 1700]), ..poison() };
    scene.broker.produce_all(&topic, [large.clone(), poison()]).await;

    let launch = scene.connector(&[&topic]).set("dead_letter", format!("topic:{letters}"));
    let connector = launch.ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 2).await;
    let stored = scene.broker.read(&letters).await;
    let [brief, whole] = &stored[..] else { panic!("two letters: {stored:?}") };
    assert_eq!((&brief.record.key, &brief.record.payload), (&large.key, &large.payload));
    assert_eq!(brief.record.headers[..2], large.headers);
    let noted: Vec<_> = brief.record.headers[2..].iter().map(|(name, _)| name.as_str()).collect();
    let least = ["X-Dead-Letter-Reason", "X-Dead-Letter-Function", "X-Dead-Letter-Position"];
    assert_eq!(noted, least);
    assert!(whole.record.header_value("X-Dead-Letter-Error").is_some(), "{whole:?}");
    connector.end().await;
}

#[tokio::test]
async fn poison_is_held_while_its_letter_is_refused() {
    const COMMITS: Duration = Duration::from_millis(100);
    let scene = Scene::new().await;
    let topic = scene.broker.topic("held", 2).await;
    let letters = format!("{topic}-letters");
    scene.gateway.deploy(picky(&topic));
    for partition in 0..2 {
        let records = [Record::of("before"), poison()].map(|record| record.partition(partition));
        scene.broker.produce_all(&topic, records).await;
        let behind = (0..50).map(|n| Record::of("behind").key(n.to_string()).partition(partition));
        scene.broker.produce_all(&topic, behind).await;
    }
    let launch = scene
        .connector(&[&topic])
        .set("ordering", "key")
        .set("dead_letter", format!("topic:{letters}"));
    // What is behind the poison is called, and must all the same not be committed.
    let held = async || {
        let until = Instant::now() + 5 * COMMITS;
        while Instant::now() < until {
            for (partition, committed) in scene.broker.committed(&scene.group, &topic).await {
                assert!(committed.offset <= 1, "partition {partition}: {committed:?}");
            }
            sleep(COMMITS / 5).await;
        }
    };
    let behind = |calls: &dev_gateway::Calls| calls.well().filter(|c| c.text() == "behind").count();

    let first = launch.start().await;
    scene.gateway.ledger().wait_for("what is behind", |calls| behind(calls) == 100).await;
    first.not_ready("dead letters to").await;
    held().await;
    // A second member takes one of the two partitions, and holds its poison likewise.
    let second = launch.start().await;
    second.line("partitions assigned").await;
    second.not_ready("dead letters to").await;
    held().await;

    scene.broker.create_topic(&letters, 1, &[]).await;
    for partition in 0..2 {
        scene.broker.wait_for_commit(&scene.group, &topic, partition, 52).await;
    }
    let stored = scene.broker.read(&letters).await;
    assert_eq!(stored.len(), 2, "one letter for each poison: {stored:?}");
    assert_eq!(scene.gateway.ledger().with(behind), 100, "nothing was called again");
    first.ready().await;
    second.ready().await;
    first.end().await;
    second.end().await;
}
