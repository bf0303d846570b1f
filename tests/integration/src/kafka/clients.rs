//! What a test asks of a broker: topics, records, committed offsets.
//!
//! librdkafka's answers to such questions block, so they are asked on a thread for that.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::Broker;
use crate::unique;

/// How long the broker may take to answer.
const ANSWER: Duration = Duration::from_secs(20);

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

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// The commit's metadata.
    pub metadata: String,
}

/// The clients of one broker, made when first asked for.
pub(super) struct Clients {
    config: ClientConfig,
    producer: std::sync::OnceLock<FutureProducer>,
    admin: std::sync::OnceLock<AdminClient<DefaultClientContext>>,
}

impl Clients {
    pub(super) fn new(address: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address);
        // After a restart the broker is to be found again at once.
        config.set("reconnect.backoff.max.ms", "500");
        Self { config, producer: Default::default(), admin: Default::default() }
    }

    fn producer(&self) -> &FutureProducer {
        self.producer.get_or_init(|| {
            let mut config = self.config.clone();
            config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "1");
            config.set("message.max.bytes", "2000000");
            config.create().expect("the producer's settings are right")
        })
    }

    fn admin(&self) -> &AdminClient<DefaultClientContext> {
        self.admin.get_or_init(|| self.config.create().expect("the admin's settings are right"))
    }
}

impl Broker {
    /// Creates a topic under a name of its own and gives the name.
    pub async fn topic(&self, purpose: &str, partitions: i32) -> String {
        let name = unique(purpose);
        self.create_topic(&name, partitions, &[]).await;
        name
    }

    /// Creates a topic, with settings such as `("cleanup.policy", "compact")`.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let created = self.clients().admin().create_topics([&topic], &admin_options()).await;
        for one in created.expect("the broker answers") {
            one.unwrap_or_else(|error| panic!("topic {} is not created: {}", error.0, error.1));
        }
        // The answer comes before every part of the broker knows of it.
        let known = name.to_owned();
        crate::until(
            "the topic to be known",
            async || self.partitions(&known).await,
            |found| i32::try_from(*found) == Ok(partitions),
        )
        .await;
    }

    /// Adds partitions to a topic.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn grow_topic(&self, name: &str, partitions: usize) {
        let more = NewPartitions::new(name, partitions);
        let grown = self.clients().admin().create_partitions([&more], &admin_options()).await;
        for one in grown.expect("the broker answers") {
            one.unwrap_or_else(|error| panic!("topic {} does not grow: {}", error.0, error.1));
        }
        crate::until(
            "the topic to grow",
            async || self.partitions(name).await,
            |found| *found == partitions,
        )
        .await;
        // The producer would find out by itself, within minutes.
        let (producer, name) = (self.clients().producer().clone(), name.to_owned());
        let refresh = move || producer.client().fetch_metadata(Some(&name), ANSWER).map(drop);
        let refreshed = tokio::task::spawn_blocking(refresh).await;
        refreshed.expect("the thread does not panic").expect("the broker answers");
    }

    /// Deletes a topic.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn delete_topic(&self, name: &str) {
        let deleted = self.clients().admin().delete_topics(&[name], &admin_options()).await;
        for one in deleted.expect("the broker answers") {
            one.unwrap_or_else(|error| panic!("topic {} is not deleted: {}", error.0, error.1));
        }
    }

    /// How many partitions a topic has; 0 when it does not exist.
    pub async fn partitions(&self, topic: &str) -> usize {
        let topic = topic.to_owned();
        self.ask(ClientConfig::new(), move |consumer| {
            let metadata = consumer.fetch_metadata(Some(&topic), ANSWER)?;
            let found = metadata.topics().iter().find(|t| t.name() == topic);
            Ok(found.filter(|t| t.error().is_none()).map_or(0, |t| t.partitions().len()))
        })
        .await
    }

    /// Writes one record and returns its partition and offset once it is stored.
    ///
    /// # Panics
    /// When the broker does not store it.
    pub async fn produce(&self, topic: &str, record: Record) -> (i32, i64) {
        self.send(topic, &record).await.expect("the broker stores the record")
    }

    /// Writes records; equal partitions in order. Returns once all are stored.
    ///
    /// # Panics
    /// When the broker does not store one.
    pub async fn produce_all(&self, topic: &str, records: impl IntoIterator<Item = Record>) {
        let records: Vec<_> = records.into_iter().collect();
        // In portions, so that the client's queue is never full.
        for portion in records.chunks(10_000) {
            let sent = try_join_all(portion.iter().map(|record| self.send(topic, record))).await;
            sent.expect("the broker stores the records");
        }
    }

    async fn send(&self, topic: &str, record: &Record) -> Result<(i32, i64), KafkaError> {
        let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_deref() })
        });
        let mut message = FutureRecord::<[u8], [u8]>::to(topic).headers(headers);
        message.key = record.key.as_deref();
        message.payload = record.payload.as_deref();
        message.partition = record.partition;
        let stored = self.clients().producer().send(message, ANSWER).await;
        stored.map(|delivery| (delivery.partition, delivery.offset)).map_err(|(error, _)| error)
    }

    /// Writes records in one transaction, which is then committed or aborted: either leaves an
    /// offset that no consumer ever sees.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn produce_in_transaction(&self, topic: &str, records: Vec<Record>, commit: bool) {
        let mut config = self.clients().config.clone();
        config.set("transactional.id", unique("transaction"));
        let (clients, topic) = (Clients::new(self.address()), topic.to_owned());
        let producer: FutureProducer = config.create().expect("the producer's settings are right");
        clients.producer.set(producer.clone()).ok().expect("it is new");
        let on_thread = |act: fn(&FutureProducer) -> Result<(), KafkaError>| {
            let producer = producer.clone();
            async move {
                let done = tokio::task::spawn_blocking(move || act(&producer)).await;
                done.expect("the thread does not panic").expect("the broker takes the transaction");
            }
        };
        on_thread(|producer| producer.init_transactions(ANSWER)).await;
        on_thread(|producer| producer.begin_transaction()).await;
        for record in records {
            let mut message = FutureRecord::<[u8], [u8]>::to(&topic);
            message.key = record.key.as_deref();
            message.payload = record.payload.as_deref();
            message.partition = record.partition;
            producer.send(message, ANSWER).await.expect("the broker stores the record");
        }
        if commit {
            on_thread(|producer| producer.commit_transaction(ANSWER)).await;
        } else {
            on_thread(|producer| producer.abort_transaction(ANSWER)).await;
        }
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
                    Some(Ok(message)) => stored.push(Stored {
                        partition: message.partition(),
                        offset: message.offset(),
                        record: Record {
                            partition: None,
                            key: message.key().map(<[u8]>::to_vec),
                            payload: message.payload().map(<[u8]>::to_vec),
                            headers: message.headers().map_or_else(Vec::new, |headers| {
                                let own = |h: Header<'_, &[u8]>| {
                                    (h.key.to_owned(), h.value.map(<[u8]>::to_vec))
                                };
                                headers.iter().map(own).collect()
                            }),
                        },
                    }),
                }
            }
            stored.sort_by_key(|one| (one.partition, one.offset));
            Ok(stored)
        })
        .await
    }

    /// What `group` has committed, by partition; partitions without a commit are left out.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, Committed> {
        let topic = topic.to_owned();
        let mut config = ClientConfig::new();
        config.set("group.id", group);
        self.ask(config, move |consumer| {
            let metadata = consumer.fetch_metadata(Some(&topic), ANSWER)?;
            let partitions = metadata.topics().first().map_or(0, |found| found.partitions().len());
            let mut asked = TopicPartitionList::new();
            for number in 0..partitions {
                asked.add_partition(&topic, i32::try_from(number).expect("few partitions"));
            }
            let told = consumer.committed_offsets(asked, ANSWER)?;
            let each = told.elements().into_iter().filter_map(|one| match one.offset() {
                Offset::Offset(offset) => {
                    let metadata = one.metadata().to_owned();
                    Some((one.partition(), Committed { offset, metadata }))
                }
                _ => None,
            });
            Ok(each.collect())
        })
        .await
    }

    /// Waits until the group has committed exactly `offset` for a partition.
    ///
    /// # Panics
    /// When it does not, or commits beyond it.
    pub async fn wait_for_commit(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let look = async || self.committed(group, topic).await.remove(&partition);
        let what = format!("{group} to commit {offset} of {topic}/{partition}");
        crate::until(&what, look, |now| {
            let now = now.as_ref().map(|committed| committed.offset);
            assert!(now <= Some(offset), "{group} has committed {now:?} of {topic}, past {offset}");
            now == Some(offset)
        })
        .await;
    }

    /// Asks on a thread that may block, with a consumer of its own.
    async fn ask<T: Send + 'static>(
        &self,
        more: ClientConfig,
        ask: impl FnOnce(&BaseConsumer) -> Result<T, KafkaError> + Send + 'static,
    ) -> T {
        let mut config = self.clients().config.clone();
        // A group of no account: asking joins none.
        config.set("group.id", "the-tests").set("enable.auto.commit", "false");
        for (key, value) in more.config_map() {
            config.set(key, value);
        }
        let asked = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer =
                config.create().expect("the consumer's settings are right");
            ask(&consumer)
        });
        asked.await.expect("the thread does not panic").expect("the broker answers")
    }
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER))
}
