//! Where a group begins, what it commits, and what a restart calls again.

use integration::{Record, until};

use super::scene::Scene;

fn numbered(numbers: std::ops::Range<usize>) -> impl Iterator<Item = Record> {
    numbers.map(|n| Record::of(n.to_string()).key(n.to_string()))
}

#[tokio::test]
async fn oldest_begins_with_what_is_there() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("oldest", 1).await;
    scene.deploy("historian", &topic);
    scene.broker.produce_all(&topic, numbered(0..10)).await;
    let connector = scene.connector(&[&topic]).set("initial_offset", "oldest").ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 10).await;
    assert_eq!(scene.gateway.ledger().calls().len(), 10);
    connector.end().await;
}

#[tokio::test]
async fn newest_holds_across_a_crash_before_the_first_call() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("newest", 3).await;
    scene.deploy("novelist", &topic);
    let old = (0..30).map(|n| Record::of("old").partition(n % 3));
    scene.broker.produce_all(&topic, old).await;
    let launch = scene.connector(&[&topic]).set("initial_offset", "newest");
    let connector = launch.ready().await;
    // The positions are committed before anything is called.
    for partition in 0..3 {
        scene.broker.wait_for_commit(&scene.group, &topic, partition, 10).await;
    }
    connector.kill_now().await;
    // What comes while nobody is there is newer than the beginning.
    let new = (0..15).map(|n| Record::of("new").partition(n % 3));
    scene.broker.produce_all(&topic, new).await;
    let connector = launch.ready().await;
    for partition in 0..3 {
        scene.broker.wait_for_commit(&scene.group, &topic, partition, 15).await;
    }
    let called: Vec<_> = scene.gateway.ledger().calls().iter().map(|call| call.text()).collect();
    assert_eq!(called, vec!["new"; 15]);
    connector.end().await;
}

#[tokio::test]
async fn a_later_partition_begins_at_its_beginning() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("grown", 1).await;
    scene.deploy("grower", &topic);
    scene.broker.produce_all(&topic, [Record::of("old").partition(0)]).await;
    let launch = scene.connector(&[&topic]).set("initial_offset", "newest");
    let connector = launch.ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 1).await;
    connector.end().await;
    scene.broker.grow_topic(&topic, 2).await;
    scene.broker.produce_all(&topic, [Record::of("new").partition(1)]).await;
    let connector = launch.ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 1, 1).await;
    let called: Vec<_> = scene.gateway.ledger().calls().iter().map(|call| call.text()).collect();
    assert_eq!(called, ["new"]);
    connector.end().await;
}

/// The client looks at its topics every thirty seconds, so this takes as long.
#[tokio::test]
async fn a_partition_added_while_it_runs_is_read_from_its_beginning() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("growing", 1).await;
    scene.deploy("grower", &topic);
    scene.broker.produce_all(&topic, [Record::of("old").partition(0)]).await;
    let connector = scene.connector(&[&topic]).set("initial_offset", "newest").ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 1).await;
    scene.broker.grow_topic(&topic, 2).await;
    scene.broker.produce_all(&topic, [Record::of("new").partition(1)]).await;
    scene.broker.wait_for_commit(&scene.group, &topic, 1, 1).await;
    assert_eq!(scene.gateway.ledger().calls().len(), 1);
    connector.end().await;
}

#[tokio::test]
async fn holes_left_by_transactions_are_committed_over() {
    let scene = Scene::new().await;
    let topic = scene.broker.topic("transactions", 1).await;
    scene.deploy("banker", &topic);
    let connector = scene.connector(&[&topic]).set("ordering", "key").ready().await;
    let in_transaction = async |numbers, commit| {
        let records = numbered(numbers).collect();
        scene.broker.produce_in_transaction(&topic, records, commit).await;
    };
    scene.broker.produce_all(&topic, numbered(0..3)).await;
    in_transaction(3..6, true).await;
    in_transaction(6..9, false).await;
    scene.broker.produce_all(&topic, numbered(9..10)).await;
    in_transaction(10..12, true).await;
    // 0-2, 3-5 and their marker, 6-8 aborted and their marker, 9, 10-11 and their marker: the last
    // record is at offset 13, what may be committed is 14 or, past the marker, 15.
    let look = async || scene.broker.committed(&scene.group, &topic).await.remove(&0);
    until("the end to be committed", look, |now| now.as_ref().is_some_and(|c| c.offset >= 14))
        .await;
    let mut called: Vec<usize> =
        scene.gateway.ledger().calls().iter().map(|call| call.text().parse().unwrap()).collect();
    called.sort_unstable();
    assert_eq!(called, [0, 1, 2, 3, 4, 5, 9, 10, 11]);
    connector.end().await;
}

#[tokio::test]
async fn holes_left_by_compaction_are_committed_over() {
    let scene = Scene::new().await;
    let topic = integration::unique("compacted");
    let settings = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("segment.ms", "100"),
    ];
    scene.broker.create_topic(&topic, 1, &settings).await;
    scene.deploy("collector", &topic);
    for round in 0..10 {
        let keys = (0..5).map(|key| Record::of(format!("{round}")).key(format!("{key}")));
        scene.broker.produce_all(&topic, keys).await;
    }
    // A segment is compacted once a record that comes later has begun the next one.
    let look = async || {
        scene.broker.produce(&topic, Record::of("next").key("next")).await;
        scene.broker.read(&topic).await.len()
    };
    until("the log to be compacted", look, |records| *records < 40).await;
    let stored = scene.broker.read(&topic).await;
    let end = stored.last().expect("there are records").offset + 1;
    let connector = scene.connector(&[&topic]).set("ordering", "key").ready().await;
    let look = async || scene.broker.committed(&scene.group, &topic).await.remove(&0);
    until("the end to be committed", look, |now| now.as_ref().is_some_and(|c| c.offset >= end))
        .await;
    let called = scene.gateway.ledger().calls();
    let mut offsets: Vec<_> = called.iter().filter_map(|call| call.offset).collect();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), called.len(), "each record once");
    assert!(offsets.len() < usize::try_from(end).unwrap(), "there were holes");
    for call in called {
        // What the cleaner has taken since cannot be compared.
        let record = stored.iter().find(|record| Some(record.offset) == call.offset);
        let Some(record) = record else { continue };
        assert_eq!(call.body.as_deref(), record.record.payload.as_deref());
    }
    connector.end().await;
}

#[tokio::test]
async fn a_time_begins_with_the_first_record_at_or_after_it() {
    const TIME: i64 = 1_700_000_000_000;
    let scene = Scene::new().await;
    let topic = scene.broker.topic("since", 2).await;
    scene.deploy("archivist", &topic);
    // Partition 0 has records on both sides of the time; in partition 1 all are older.
    let before_and_after = (-5..5).map(|n| Record::of(n.to_string()).at(TIME + n).partition(0));
    let before = (-5..0).map(|n| Record::of(n.to_string()).at(TIME + n).partition(1));
    scene.broker.produce_all(&topic, before_and_after.chain(before)).await;
    let launch = scene.connector(&[&topic]).set("initial_offset", TIME.to_string());
    let connector = launch.ready().await;
    scene.broker.wait_for_commit(&scene.group, &topic, 0, 10).await;
    scene.broker.wait_for_commit(&scene.group, &topic, 1, 5).await;
    scene.broker.produce(&topic, Record::of("new").partition(1)).await;
    scene.broker.wait_for_commit(&scene.group, &topic, 1, 6).await;
    let called: Vec<_> = scene.gateway.ledger().calls().iter().map(|call| call.text()).collect();
    assert_eq!(called, ["0", "1", "2", "3", "4", "new"]);
    connector.end().await;
}
