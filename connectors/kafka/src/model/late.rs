//! Answers that come late or never: more patience than a play of a few steps has.

use std::sync::Arc;

use connector_core::conditions::Conditions;
use connector_core::metrics::Metrics;
use connector_core::testing::{Outside, Process, Settings};
use model::{Answers, World, settle};
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};

use super::cluster::{Client, Cluster, Commit};
use super::member::Member;
use super::shape::settings;
use crate::Kafka;
use crate::client::{Partition, Rebalance};
use crate::commit::{self, ANSWER, Last, Standing};
use crate::config::Ordering;
use crate::meters::Meters;

const INTERVAL: Duration = Duration::from_secs(1);

fn beyond(metadata: &str) -> Standing {
    Standing { offset: 0, metadata: metadata.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_confirms_no_commit_of_the_same_offset() {
    let cluster = Cluster::new(World::new(1, 1, 1, 1), 1, Ordering::None);
    let (tell_commit, answers) = mpsc::unbounded_channel();
    let client = Arc::new(Client { cluster: Arc::clone(&cluster), tell_commit });
    let meters = Meters::of(&Metrics::new("kafka", "0.0.0"));
    let (commits, _committing) =
        commit::start(client, Conditions::new(), meters, answers, INTERVAL);
    let partition = cluster.partitions().remove(0);
    cluster.gives();
    commits.begin(partition.clone(), 1, Standing::none(), Arc::default());

    commits.report(partition.clone(), 1, beyond("one"));
    sleep(ANSWER + INTERVAL / 2).await;
    assert_eq!(cluster.commits_waiting(), 1);
    commits.report(partition.clone(), 1, beyond("one, two"));
    sleep(INTERVAL).await;
    assert_eq!(cluster.commits_waiting(), 2);
    // The first was given up; its answer comes while the second is on its way, which gets lost.
    cluster.answer(Commit::Takes);
    cluster.answer(Commit::Loses);
    sleep(ANSWER + INTERVAL).await;
    cluster.takes_commits();

    assert_eq!(commits.finish(vec![partition]).await, Last::Taken);
    assert_eq!(cluster.committed(), Some(beyond("one, two")));
}

/// A process with one function for the topic, and a broker that has no member yet.
struct Stage {
    world: World,
    cluster: Arc<Cluster>,
    settings: Settings<Kafka>,
    process: Process,
}

impl Stage {
    fn new(partitions: i32) -> Self {
        let world = World::new(1, 1, 1, 1);
        let cluster = Cluster::new(world.clone(), partitions, Ordering::None);
        let outside: Arc<dyn Outside> = Arc::new(world.clone());
        let settings = settings(&[]);
        let process = Process::begin::<Kafka>(&settings, &[("f0", "t")], &outside);
        Self { world, cluster, settings, process }
    }

    fn partition(&self, number: usize) -> Partition {
        self.cluster.partitions().remove(number)
    }

    /// A member that is given these partitions.
    async fn member(&self, partitions: Vec<Partition>) -> Member {
        let mut member = Member::joins(&self.cluster, &self.settings.source, self.process.intake());
        self.cluster.gives();
        member.ask(Rebalance::Assigned(partitions));
        settle().await;
        member
    }

    /// Everything that was committed is taken.
    async fn commits(&self) {
        self.cluster.takes_commits();
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_to_learn_where_partitions_begin() {
    let stage = Stage::new(1);
    let member = stage.member(stage.cluster.partitions()).await;
    assert!(member.owes(), "the first positions are committed before the group is answered");
    stage.process.drain();
    settle().await;
    assert!(!member.owes() && member.is_over());
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_nobody_knows_holds_up_no_other_and_is_read_once_it_is_known() {
    let stage = Stage::new(2);
    stage.cluster.hides(Some(1));
    let mut member = stage.member(stage.cluster.partitions()).await;
    stage.commits().await;
    assert!(!member.owes() && stage.cluster.owns(0) && !stage.cluster.owns(1));
    let told = stage.process.intake().conditions().ready();
    assert!(told.is_ok(), "nobody has ordered it: {told:?}");

    // Given back and given again, it is still looked for.
    member.ask(Rebalance::Revoked(vec![stage.partition(1)]));
    stage.cluster.gives();
    member.ask(Rebalance::Assigned(vec![stage.partition(1)]));
    settle().await;
    sleep(10 * INTERVAL).await;
    assert!(!member.owes() && !member.is_over());

    stage.cluster.hides(None);
    sleep(10 * INTERVAL).await;
    assert!(member.is_over(), "the session begins anew");
    let _next = stage.member(stage.cluster.partitions()).await;
    stage.commits().await;
    assert!(stage.cluster.owns(1));
}

/// Only the owner of a topic's first partition without a commit decides where its partitions begin;
/// here that is the one that was added.
#[tokio::test(start_paused = true)]
async fn an_added_partition_waits_for_no_other_member() {
    let stage = Stage::new(2);
    stage.cluster.produce(0, 0, 0);
    stage.cluster.done_elsewhere(0);
    let member = stage.member(vec![stage.partition(1)]).await;
    stage.commits().await;
    assert!(!member.owes() && stage.cluster.owns(1));
}

#[tokio::test(start_paused = true)]
async fn a_partition_given_up_with_a_commit_on_its_way_is_no_longer_in_the_metrics() {
    let stage = Stage::new(2);
    stage.cluster.produce(0, 0, 0);
    // The other one is another member's, and its first position is committed by this one.
    let mut member = stage.member(vec![stage.partition(0)]).await;
    stage.commits().await;
    let meters = Meters::of(stage.process.intake().metrics());
    assert_eq!(meters.topics().len(), 1);

    stage.world.answer(stage.world.calls()[0], Answers::Well);
    settle().await;
    member.ask(Rebalance::Revoked(vec![stage.partition(0)]));
    settle().await;
    assert_eq!(stage.cluster.commits_waiting(), 1);
    stage.commits().await;
    assert!(!member.owes());
    assert!(meters.topics().is_empty());
}
