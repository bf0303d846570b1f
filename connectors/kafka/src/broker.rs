//! What lanes, the committer and the assignment ask of the broker's client.
//!
//! Few things, and here they are named, so that the three can be run beside a broker that is a
//! model: see `model`. Everything else, such as the way to the broker, the subscription and the
//! proof of who we are, talks to librdkafka itself.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use connector_core::source::SourceError;
use rdkafka::consumer::stream_consumer::StreamPartitionQueue;
use rdkafka::consumer::{Consumer as _, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::client::{Consumer, Listener, Partition, end_of_partition, list};
use crate::commit::Standing;
use crate::config::InitialOffset;
use crate::positions::{Positions, once_settled, resolve};
use crate::raw;
use crate::record::Record;

/// A member of a group, as its client sees it.
pub(crate) trait Broker: Send + Sync + 'static {
    /// Where the records of one partition arrive.
    type Queue: Queue;

    /// The name that the group gave this member; empty while it is in none.
    fn member(&self) -> String;

    /// The queue of a partition that is about to be assigned; `None`: it has none.
    fn queue(self: &Arc<Self>, partition: &Partition) -> Option<Self::Queue>;

    /// Where partitions begin.
    fn positions(
        self: &Arc<Self>,
        partitions: &[Partition],
        initial: InitialOffset,
    ) -> impl Future<Output = Result<Positions, SourceError>> + Send;

    /// Answers the group: these are taken, and read from there.
    fn assign(&self, starts: &HashMap<Partition, Standing>) -> Result<(), KafkaError>;

    /// Answers the group: these are given up.
    fn unassign(&self, partitions: &[Partition]) -> Result<(), KafkaError>;

    /// Whether assignments add to what there is rather than replace it.
    fn is_cooperative(&self) -> bool;

    /// Receives no more of a partition for now, and lets go of what was fetched ahead.
    fn pause(&self, partition: &Partition) -> Result<(), KafkaError>;

    /// Undoes [`pause`](Self::pause).
    fn resume(&self, partition: &Partition) -> Result<(), KafkaError>;

    /// Begins a commit. What becomes of it is told to the committer.
    ///
    /// # Errors
    /// The commit was not even begun.
    fn commit<'a>(
        &self,
        standings: impl Iterator<Item = (&'a Partition, &'a Standing)>,
    ) -> Result<(), KafkaError>;
}

/// The records of one partition, in order. Dropping it gives the partition's queue back.
pub(crate) trait Queue: Send + Sync + 'static {
    /// Waits for the next thing to come.
    ///
    /// Cancel-safe.
    fn next(&self) -> impl Future<Output = Result<Received, KafkaError>> + Send;
}

/// What comes out of a partition's queue.
pub(crate) enum Received {
    Record(Record),
    /// The log ends here: the offset that the next record will have at least, where that is told.
    End(Option<i64>),
}

impl Broker for Consumer {
    type Queue = StreamPartitionQueue<Listener>;

    fn member(&self) -> String {
        raw::member_id(self.client().native_ptr())
    }

    fn queue(self: &Arc<Self>, partition: &Partition) -> Option<Self::Queue> {
        self.split_partition_queue(&partition.topic, partition.number)
    }

    async fn positions(
        self: &Arc<Self>,
        partitions: &[Partition],
        initial: InitialOffset,
    ) -> Result<Positions, SourceError> {
        once_settled(|| {
            let (consumer, partitions) = (Arc::clone(self), partitions.to_vec());
            tokio::task::spawn_blocking(move || resolve(&consumer, &partitions, initial))
        })
        .await
    }

    fn assign(&self, starts: &HashMap<Partition, Standing>) -> Result<(), KafkaError> {
        let list = offsets(starts.iter())?;
        if Broker::is_cooperative(self) {
            self.incremental_assign(&list)
        } else {
            rdkafka::consumer::Consumer::assign(self, &list)
        }
    }

    fn unassign(&self, partitions: &[Partition]) -> Result<(), KafkaError> {
        if Broker::is_cooperative(self) {
            self.incremental_unassign(&list(partitions))
        } else {
            rdkafka::consumer::Consumer::unassign(self)
        }
    }

    fn is_cooperative(&self) -> bool {
        matches!(self.rebalance_protocol(), RebalanceProtocol::Cooperative)
    }

    fn pause(&self, partition: &Partition) -> Result<(), KafkaError> {
        rdkafka::consumer::Consumer::pause(self, &list([partition]))
    }

    fn resume(&self, partition: &Partition) -> Result<(), KafkaError> {
        rdkafka::consumer::Consumer::resume(self, &list([partition]))
    }

    fn commit<'a>(
        &self,
        standings: impl Iterator<Item = (&'a Partition, &'a Standing)>,
    ) -> Result<(), KafkaError> {
        raw::commit(self.client().native_ptr(), &offsets(standings)?)
    }
}

impl Queue for StreamPartitionQueue<Listener> {
    async fn next(&self) -> Result<Received, KafkaError> {
        match self.recv().await {
            // Copied at once: a borrowed record pins the fetch that it came with.
            Ok(message) => Ok(Received::Record(Record::copy(&message))),
            // Told on this thread in this very poll: nothing is awaited in between.
            Err(KafkaError::PartitionEOF(_)) => Ok(Received::End(end_of_partition())),
            Err(error) => Err(error),
        }
    }
}

/// Standings as librdkafka takes them.
fn offsets<'a>(
    standings: impl Iterator<Item = (&'a Partition, &'a Standing)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, standing) in standings {
        let mut element = list.add_partition(&partition.topic, partition.number);
        element.set_offset(Offset::Offset(standing.offset))?;
        element.set_metadata(&standing.metadata);
    }
    Ok(list)
}
