//! Records: written, in transactions too, and read back by a client that is not the connector's.

use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::sleep;

use super::Broker;
use super::clients::ANSWER;
use crate::unique;

/// How long after an attempt to write the next one begins.
const AGAIN: Duration = Duration::from_millis(50);

/// A record as a test writes or reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// `None`: the producer's partitioner decides by the key.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// The headers, in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// When it came about, in milliseconds since 1970; `None`, and so in what is read: when it is
    /// written.
    pub timestamp: Option<i64>,
}

impl Record {
    /// A record without a key.
    pub fn of(payload: impl Into<Vec<u8>>) -> Self {
        Self { payload: Some(payload.into()), ..Self::default() }
    }

    /// Gives it a key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sends it to this partition.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Gives it a time, in milliseconds since 1970.
    #[must_use]
    pub fn at(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), Some(value.into())));
        self
    }

    /// The value of the first header of this name.
    #[must_use]
    pub fn header_value(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(n, _)| n == name)?.1.as_deref()
    }

    /// The value as text; empty for a tombstone.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.payload.as_deref().unwrap_or_default()).into_owned()
    }
}

/// A record with the place it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The record.
    pub record: Record,
}

impl Stored {
    fn copy(message: &BorrowedMessage<'_>) -> Self {
        let own =
            |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.map(<[u8]>::to_vec));
        let headers = message.headers().map(|headers| headers.iter().map(own).collect());
        Self {
            partition: message.partition(),
            offset: message.offset(),
            record: Record {
                partition: None,
                key: message.key().map(<[u8]>::to_vec),
                payload: message.payload().map(<[u8]>::to_vec),
                headers: headers.unwrap_or_default(),
                timestamp: None,
            },
        }
    }
}

impl Broker {
    /// Writes one record and returns its partition and offset once it is stored.
    ///
    /// # Panics
    /// When the broker does not store it.
    pub async fn produce(&self, topic: &str, record: Record) -> (i32, i64) {
        let sent = send(self.clients().producer(), topic, &record).await;
        sent.expect("the broker stores the record")
    }

    /// Writes records; equal partitions in order. Returns once all are stored.
    ///
    /// # Panics
    /// When the broker does not store one.
    pub async fn produce_all(&self, topic: &str, records: impl IntoIterator<Item = Record>) {
        let records: Vec<_> = records.into_iter().collect();
        // In portions, so that the client's queue is never full.
        for portion in records.chunks(10_000) {
            let sent = portion.iter().map(|record| send(self.clients().producer(), topic, record));
            try_join_all(sent).await.expect("the broker stores the records");
        }
    }

    /// Writes records at once; equal partitions in order. Tells of each whether the broker has confirmed it: it may have
    /// stored what it has not.
    pub async fn confirmed(&self, topic: &str, records: &[Record]) -> Vec<bool> {
        let sent = records.iter().map(|record| send(self.clients().producer(), topic, record));
        join_all(sent).await.iter().map(Result::is_ok).collect()
    }

    /// Writes records by a producer with these settings, such as `("compression.type", "zstd")`.
    ///
    /// # Panics
    /// When the broker does not store one.
    pub async fn produce_with(&self, topic: &str, records: &[Record], settings: &[(&str, &str)]) {
        let mut config = self.clients().config.clone();
        config.set("message.max.bytes", "2000000");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        let producer: FutureProducer = config.create().expect("the producer's settings are right");
        let sent = records.iter().map(|record| send(&producer, topic, record));
        try_join_all(sent).await.expect("the broker stores the records");
    }

    /// Writes records in one transaction, which is then committed or aborted: either leaves an
    /// offset that no consumer ever sees.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn produce_in_transaction(&self, topic: &str, records: Vec<Record>, commit: bool) {
        let transaction = self.transaction(topic, records).await;
        transaction.end(commit).await;
    }

    /// Writes records in a transaction that stays open.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn transaction(&self, topic: &str, records: Vec<Record>) -> Transaction {
        let mut config = self.clients().config.clone();
        config.set("transactional.id", unique("transaction"));
        let producer = config.create().expect("the producer's settings are right");
        let transaction = Transaction(producer);
        transaction.on_thread(|producer| producer.init_transactions(ANSWER)).await;
        transaction.on_thread(|producer| producer.begin_transaction()).await;
        for record in &records {
            let sent = send(&transaction.0, topic, record).await;
            sent.expect("the broker stores the record");
        }
        transaction
    }

    /// Every committed record that a topic has now, partition by partition.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn read(&self, topic: &str) -> Vec<Stored> {
        let topic = topic.to_owned();
        let mut config = ClientConfig::new();
        config.set("enable.partition.eof", "true");
        // The end is told with the answer to a fetch, which waits this long for more.
        config.set("fetch.wait.max.ms", "10");
        self.ask(config, move |consumer| {
            let metadata = consumer.fetch_metadata(Some(&topic), ANSWER)?;
            let partitions = metadata.topics().first().map_or(0, |found| found.partitions().len());
            let mut all = TopicPartitionList::new();
            for number in 0..partitions {
                let number = i32::try_from(number).expect("a topic has few partitions");
                all.add_partition_offset(&topic, number, Offset::Beginning)?;
            }
            consumer.assign(&all)?;
            let (mut stored, mut ended) = (Vec::new(), 0);
            while ended < partitions {
                match consumer.poll(ANSWER) {
                    None => panic!("the broker does not answer a fetch of {topic}"),
                    Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                    Some(Err(error)) => return Err(error),
                    Some(Ok(message)) => stored.push(Stored::copy(&message)),
                }
            }
            stored.sort_by_key(|one| (one.partition, one.offset));
            Ok(stored)
        })
        .await
    }
}

/// A transaction that is open, until it is ended.
#[must_use]
pub struct Transaction(FutureProducer);

impl Transaction {
    /// Commits or aborts it.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn end(self, commit: bool) {
        if commit {
            self.on_thread(|producer| producer.commit_transaction(ANSWER)).await;
        } else {
            self.on_thread(|producer| producer.abort_transaction(ANSWER)).await;
        }
    }

    async fn on_thread(&self, act: fn(&FutureProducer) -> Result<(), KafkaError>) {
        let producer = self.0.clone();
        let done = tokio::task::spawn_blocking(move || act(&producer)).await;
        done.expect("the thread does not panic").expect("the broker takes the transaction");
    }
}

async fn send(
    producer: &FutureProducer,
    topic: &str,
    record: &Record,
) -> Result<(i32, i64), KafkaError> {
    let message = || {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_deref() })
        });
        let mut message = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
        message.key = record.key.as_deref();
        message.payload = record.payload.as_deref();
        message.partition = record.partition;
        message.timestamp = record.timestamp;
        message
    };
    let began = Instant::now();
    loop {
        let stored = producer.send(message(), ANSWER).await;
        let error = match stored {
            Ok(delivery) => return Ok((delivery.partition, delivery.offset)),
            Err((error, _)) => error,
        };
        // A broker that has just come back may not know the topic yet. Nothing was sent to it then.
        let unsent = error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownPartition);
        if !unsent || began.elapsed() > ANSWER {
            return Err(error);
        }
        sleep(AGAIN).await;
    }
}
