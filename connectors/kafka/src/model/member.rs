//! A member of the group: what a session does with rebalances, without a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connector_core::Intake;
use connector_core::source::SourceError;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::cluster::{Client, Cluster};
use crate::assignment::Assignment;
use crate::client::Rebalance;
use crate::commit;
use crate::config::KafkaConfig;
use crate::lane::Stuck;
use crate::meters::Meters;

/// One session with the group.
pub(super) struct Member {
    tell: mpsc::UnboundedSender<Rebalance>,
    asked: usize,
    answered: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Member {
    pub(super) fn joins(
        cluster: &Arc<Cluster>,
        config: &Arc<KafkaConfig>,
        intake: &Intake,
    ) -> Self {
        let (tell, asked) = mpsc::unbounded_channel();
        let answered = Arc::<AtomicUsize>::default();
        let session = session(
            Arc::clone(cluster),
            Arc::clone(config),
            intake.clone(),
            asked,
            Arc::clone(&answered),
        );
        Self { tell, asked: 0, answered, task: tokio::spawn(session) }
    }

    /// The group asks for something.
    pub(super) fn ask(&mut self, rebalance: Rebalance) {
        self.asked += 1;
        // A session that is over answers nothing.
        self.tell.send(rebalance).ok();
    }

    /// Whether it still owes the group an answer.
    pub(super) fn owes(&self) -> bool {
        self.asked > self.answered.load(Ordering::Relaxed)
    }

    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

/// The part of [`Session`](crate::session::Session) that is about partitions, in the same order.
async fn session(
    cluster: Arc<Cluster>,
    config: Arc<KafkaConfig>,
    intake: Intake,
    mut rebalances: mpsc::UnboundedReceiver<Rebalance>,
    answered: Arc<AtomicUsize>,
) {
    let (tell_commit, answers) = mpsc::unbounded_channel();
    let (tell_stuck, mut stuck) = mpsc::unbounded_channel();
    let client = Arc::new(Client { cluster, tell_commit });
    let meters = Meters::of(intake.metrics());
    let (commits, committing) = commit::start(
        Arc::clone(&client),
        intake.conditions().clone(),
        Arc::clone(&meters),
        answers,
        config.commit_interval,
    );
    let mut assignment =
        Assignment::new(client, Arc::clone(&config), intake.clone(), commits, meters, tell_stuck);
    let ended: Result<(), SourceError> = loop {
        tokio::select! {
            biased;
            () = intake.draining() => break Ok(()),
            Some(Stuck(why)) = stuck.recv() => break Err(SourceError::Broken(why)),
            Some(rebalance) = rebalances.recv() => {
                let done = assignment.answer(rebalance).await;
                answered.fetch_add(1, Ordering::Relaxed);
                if let Err(error) = done {
                    break Err(error);
                }
            }
        }
    };
    match ended {
        Ok(()) => {
            assignment.drained().await;
            assignment.end_all(Duration::ZERO).await;
        }
        Err(_) => assignment.end_all(config.revoke_wait).await,
    }
    drop(assignment);
    committing.abort();
}
