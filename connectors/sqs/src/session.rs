//! Which queues are consumed: those of the settings, or those that annotations ask for.
//!
//! SQS has no connection that could break: a request fails, and is made again by whoever needs it.
//! So the session goes on through outages, with everything that is in flight, and each queue says
//! for itself how it fares.

use std::collections::BTreeMap;
use std::sync::Arc;

use connector_core::Intake;
use connector_core::conditions::Subject;
use connector_core::source::SourceError;
use connector_core::topics::TopicMap;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::config::SqsConfig;
use crate::consume::Consumer;
use crate::queue::QueueRef;
use crate::report::Report;

/// The queues of one process.
pub(crate) struct Session {
    config: Arc<SqsConfig>,
    intake: Intake,
    account: Arc<Account>,
    tasks: JoinSet<()>,
    /// By name.
    consumed: BTreeMap<String, Consumed>,
    /// The last word about wishes that cannot be served beside others.
    told: Vec<String>,
}

/// One queue that is being consumed.
struct Consumed {
    queue: QueueRef,
    task: Id,
    stop: CancellationToken,
}

impl Session {
    /// Proves that there are credentials. Whether they are good for a queue, the queue tells.
    pub(crate) async fn connect(
        config: Arc<SqsConfig>,
        intake: Intake,
    ) -> Result<Self, SourceError> {
        // Known before anything can fail: not ready without them.
        for (text, queue) in &config.orders {
            let name = queue.as_ref().map_or(&**text, QueueRef::name);
            let subject = Subject(format!("queue {name}").into());
            match queue {
                Ok(_) => intake.conditions().expect(&subject),
                Err(why) => intake.conditions().unwell(&subject, why, true),
            }
        }
        let account = Arc::clone(config.account().await?);
        let (tasks, consumed, told) = (JoinSet::new(), BTreeMap::new(), Vec::new());
        Ok(Self { config, intake, account, tasks, consumed, told })
    }

    /// Consumes until draining has begun and everything received is settled.
    pub(crate) async fn run(mut self) -> Result<(), SourceError> {
        let intake = self.intake.clone();
        let draining = intake.draining();
        tokio::pin!(draining);
        let mut topics = self.intake.topics();
        loop {
            let map = Arc::clone(&topics.borrow_and_update());
            self.reconcile(&map);
            tokio::select! {
                biased;
                () = &mut draining => break,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                changed = topics.changed() => if changed.is_err() { break },
            }
        }
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended);
        }
        Ok(())
    }

    /// Begins and ends consuming, so that what is wanted is consumed.
    fn reconcile(&mut self, map: &TopicMap) {
        let ordered = !self.config.orders.is_empty();
        let wanted = if ordered {
            choose(self.config.orders.iter().filter_map(|(_, queue)| queue.clone().ok()))
        } else {
            choose(map.wishes().iter().filter_map(|wish| wish.item.parse().ok()))
        };
        for (name, consumed) in &self.consumed {
            if wanted.queues.get(name) != Some(&consumed.queue) {
                consumed.stop.cancel();
            }
        }
        for (name, queue) in wanted.queues {
            // One that is still stopping is begun again when it has ended.
            if !self.consumed.contains_key(&name) {
                self.begin(name, queue, ordered);
            }
        }
        for refused in wanted.refused.iter().filter(|refused| !self.told.contains(refused)) {
            tracing::warn!(
                queue = refused.as_str(),
                "not consumed: another queue of this name is, and functions could not tell them \
                 apart; run a second connector for it"
            );
        }
        self.told = wanted.refused;
    }

    fn begin(&mut self, name: String, queue: QueueRef, ordered: bool) {
        let stop = CancellationToken::new();
        let consumer = Consumer {
            config: Arc::clone(&self.config),
            intake: self.intake.clone(),
            account: Arc::clone(&self.account),
            queue: queue.clone(),
            report: Report::new(self.intake.conditions().clone(), queue.clone(), ordered),
            stop: stop.clone(),
        };
        let task = self.tasks.spawn(consumer.run()).id();
        self.consumed.insert(name, Consumed { queue, task, stop });
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let task = match ended {
            Ok((task, ())) => task,
            Err(error) => {
                tracing::error!(%error, "consuming a queue failed; it is begun again");
                error.id()
            }
        };
        self.consumed.retain(|_, consumed| consumed.task != task);
    }
}

/// The queues to consume, by name, and those that cannot be beside them.
struct Wanted {
    queues: BTreeMap<String, QueueRef>,
    refused: Vec<String>,
}

/// Of several ways to write one queue the one that tells most is taken.
fn choose(queues: impl Iterator<Item = QueueRef>) -> Wanted {
    let mut wanted = Wanted { queues: BTreeMap::new(), refused: Vec::new() };
    for queue in queues {
        match wanted.queues.get_mut(queue.name()) {
            None => {
                wanted.queues.insert(queue.name().to_owned(), queue);
            }
            Some(known) if known.contradicts(&queue) => wanted.refused.push(queue.to_string()),
            Some(known) if known.detail() < queue.detail() => *known = queue,
            Some(_) => {}
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_consumed_once() {
        let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders";
        let elsewhere = "https://sqs.eu-west-2.amazonaws.com/123456789012/orders";
        let arn = "arn:aws:sqs:eu-west-1:123456789012:orders";
        let all = ["orders", arn, url, elsewhere, "other"];
        let wanted = choose(all.iter().map(|text| text.parse().expect("a queue")));
        let queues: Vec<_> = wanted.queues.values().map(ToString::to_string).collect();
        assert_eq!(queues, [url, "other"]);
        assert_eq!(wanted.refused, [elsewhere]);
    }
}
