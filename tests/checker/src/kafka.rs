//! What stands at a Kafka broker: the records, the dead letters, the committed offsets.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::evidence::{Content, Evidence, Letter, Stored};
use crate::plan::{Broker, fnv1a};

/// How long one question to the broker may take.
const ANSWER: Duration = Duration::from_secs(20);
/// How long nothing may come although there is more to read.
const SILENCE: Duration = Duration::from_secs(30);

/// A broker that does not tell what is needed.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The client says so.
    #[error("the broker: {0}")]
    Kafka(#[from] KafkaError),
    /// Nothing comes, although more is there.
    #[error("{topic} ends at {end:?}, but nothing more comes after {read} records")]
    Silence {
        /// The topic.
        topic: String,
        /// The ends of its partitions.
        end: Vec<i64>,
        /// How many records came.
        read: usize,
    },
}

/// Completes the evidence of a run on Kafka with what the broker has; leaves any other as it is.
///
/// # Errors
/// The broker does not answer, or stops doing so.
pub fn gather(evidence: &mut Evidence) -> Result<(), BrokerError> {
    let Broker::Kafka { address, topic, group, dead_letters } = &evidence.run.broker else {
        return Ok(());
    };
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "false")
        .create()?;

    let mut stored = Vec::new();
    let ends = read(&consumer, topic, |record| {
        stored.push(Stored {
            id: format!("kafka:{topic}/{}@{}", record.partition(), record.offset()),
            lane: usize::try_from(record.partition()).unwrap_or_default(),
            position: record.offset(),
            body: fnv1a(record.payload().unwrap_or_default()),
            content: content(record),
        });
    })?;
    stored.sort_by_key(|event| (event.lane, event.position));

    let mut letters = Vec::new();
    if let Some(topic) = dead_letters {
        read(&consumer, topic, |record| {
            letters.push(Letter::at(record.offset(), content(record)))
        })?;
    }

    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(topic, 0, i32::try_from(ends.len()).unwrap_or(1) - 1);
    let committed = consumer.committed_offsets(asked, ANSWER)?;
    evidence.committed = offsets(&committed);
    evidence.ends = ends;
    evidence.stored = stored;
    evidence.letters = letters;
    Ok(())
}

/// The committed offsets of a group's answer, -1 where there is none.
#[must_use]
pub fn offsets(list: &TopicPartitionList) -> Vec<i64> {
    let mut elements: Vec<_> = list.elements();
    elements.sort_by_key(rdkafka::topic_partition_list::TopicPartitionListElem::partition);
    elements
        .iter()
        .map(|element| match element.offset() {
            Offset::Offset(offset) => offset,
            _ => -1,
        })
        .collect()
}

/// Reads a whole topic. Gives back where its partitions end.
fn read(
    consumer: &BaseConsumer,
    topic: &str,
    mut take: impl FnMut(&BorrowedMessage<'_>),
) -> Result<Vec<i64>, BrokerError> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let mut assignment = TopicPartitionList::new();
    let (mut ends, mut left) = (Vec::new(), Vec::new());
    for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
        let (first, end) = consumer.fetch_watermarks(topic, partition, ANSWER)?;
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
        ends.push(end);
        left.push(first < end);
    }
    consumer.assign(&assignment)?;
    let (mut count, mut last) = (0, Instant::now());
    while left.contains(&true) {
        match consumer.poll(Duration::from_millis(200)) {
            Some(record) => {
                let record = record?;
                take(&record);
                (count, last) = (count + 1, Instant::now());
                let partition = usize::try_from(record.partition()).unwrap_or_default();
                left[partition] = record.offset() + 1 < ends[partition];
            }
            None if last.elapsed() > SILENCE => {
                return Err(BrokerError::Silence {
                    topic: topic.to_owned(),
                    end: ends,
                    read: count,
                });
            }
            None => {}
        }
    }
    Ok(ends)
}

fn content(record: &BorrowedMessage<'_>) -> Content {
    let headers = record.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect()
    });
    Content {
        key: record.key().map(<[u8]>::to_vec),
        payload: record.payload().unwrap_or_default().to_vec(),
        headers,
    }
}
