//! What has finished behind a record that is stuck in retries is never called again: not after a
//! crash, and not by the partition's next owner.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use dev_gateway::{Calls, Function, Reply};
use integration::kafka::Committed;
use integration::{Connector, Launch, Record, until};

use super::scene::Scene;

const BEHIND: usize = 5_000;

/// A topic whose every partition begins with a record that fails until the function is deployed
/// anew, and goes on with records that do not.
struct Stuck {
    scene: Scene,
    topic: String,
    partitions: i32,
}

impl Stuck {
    async fn new(partitions: i32) -> Self {
        let scene = Scene::new().await;
        let topic = scene.broker.topic("stuck", partitions).await;
        let picky = Function::named("stuck").topic(&topic).handler(|request| async move {
            Reply::status(if request.body.starts_with(b"head") { 500 } else { 200 })
        });
        scene.gateway.deploy(picky);
        let to = |number: usize| i32::try_from(number).expect("few") % partitions;
        let heads = (0..partitions).map(|n| Record::of("head").key("head").partition(n));
        scene.broker.produce_all(&topic, heads).await;
        let behind = (0..BEHIND).map(|number| {
            Record::of(number.to_string()).key(number.to_string()).partition(to(number))
        });
        scene.broker.produce_all(&topic, behind).await;
        Self { scene, topic, partitions }
    }

    fn launch(&self) -> Launch {
        self.scene
            .connector(&[&self.topic])
            .set("ordering", "key")
            .set("function_concurrency", "64")
            .set("print_response", "false")
            .set("max_retry_attempts", "-1")
    }

    /// Starts a connector, and waits until all but the heads are finished and noted at the broker.
    async fn all_but_the_heads(&self) -> Connector {
        let connector = self.launch().ready().await;
        let behind = |calls: &Calls| calls.iter().filter(|call| call.text() != "head").count();
        self.scene.gateway.ledger().wait_for("all behind", |calls| behind(calls) == BEHIND).await;
        let heads = u64::try_from(self.partitions).expect("few");
        connector.metrics_until("only heads to remain", |m| m.in_flight() == heads).await;
        self.noted().await;
        connector
    }

    /// Waits until the commits say all they are going to: two looks, more than an interval apart,
    /// agree.
    async fn noted(&self) {
        let mut last = BTreeMap::new();
        let look = async || {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let now = self.scene.broker.committed(&self.scene.group, &self.topic).await;
            let settled = !now.is_empty() && now == last;
            last.clone_from(&now);
            (settled, now)
        };
        let (_, noted) = until("a commit of all that is finished", look, |(same, _)| *same).await;
        let offsets: Vec<_> = noted.values().map(|Committed { offset, .. }| *offset).collect();
        assert_eq!(offsets, vec![0; offsets.len()], "no head is finished: {noted:?}");
    }

    /// How often each record was called, but for the heads.
    fn calls(&self) -> HashMap<String, usize> {
        let mut calls = HashMap::new();
        for call in self.scene.gateway.ledger().calls() {
            if call.text() != "head" {
                *calls.entry(call.text()).or_default() += 1;
            }
        }
        calls
    }

    /// Waits until a partition's new owner has read it to its end, and asserts that it called the
    /// head first, and nothing of what was finished.
    async fn goes_on_with_its_head(&self, partition: i32, before: u64) {
        // Published now, read behind all others: when it has been called, so would they have been.
        let last = format!("last of {partition}");
        let record = Record::of(&*last).key(&*last).partition(partition);
        self.scene.broker.produce(&self.topic, record).await;
        let ledger = self.scene.gateway.ledger();
        ledger.wait_for("the last", |calls| calls.well().any(|call| call.text() == last)).await;
        let first = ledger.with(|calls| {
            let mut since = calls.iter().filter(|call| call.number >= before);
            since
                .find(|call| call.partition == Some(i64::from(partition)))
                .map(dev_gateway::Call::text)
        });
        assert_eq!(first.as_deref(), Some("head"), "the head is first");
        let again: Vec<_> = self.calls().into_iter().filter(|(_, calls)| *calls > 1).collect();
        assert!(again.is_empty(), "{} were called again: {:?}", again.len(), again.first());
    }

    /// Lets the heads pass; then all is finished.
    async fn ends(&self) {
        self.scene.deploy("stuck", &self.topic);
        for partition in 0..self.partitions {
            let records = BEHIND / usize::try_from(self.partitions).expect("few") + 2;
            let end = i64::try_from(records).expect("few");
            let Scene { broker, group, .. } = &self.scene;
            broker.wait_for_commit(group, &self.topic, partition, end).await;
        }
    }
}

#[tokio::test]
async fn a_crash_calls_nothing_again_that_finished_behind_a_stuck_head() {
    let stuck = Stuck::new(1).await;
    stuck.all_but_the_heads().await.kill().await;
    let before = stuck.scene.gateway.ledger().with(Calls::begun);
    let connector = stuck.launch().ready().await;
    stuck.goes_on_with_its_head(0, before).await;
    stuck.ends().await;
    connector.end().await;
}

#[tokio::test]
async fn nor_does_the_next_owner_of_its_partition() {
    let stuck = Stuck::new(2).await;
    let first = stuck.all_but_the_heads().await;
    let before = stuck.scene.gateway.ledger().with(Calls::begun);
    let second = stuck.launch().ready().await;
    second.line("partitions assigned").await;
    for partition in 0..2 {
        stuck.goes_on_with_its_head(partition, before).await;
    }
    stuck.ends().await;
    first.end().await;
    second.end().await;
}
