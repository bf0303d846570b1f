//! What travels inward: one event and the names around it.
//!
//! An event is immutable once submitted. It carries the message as the broker gave it; how it
//! becomes an HTTP request is [`crate::headers`]' affair, and what it did is told by its verdict.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderName;
use serde::Serialize;

/// One message, or one tick of a schedule.
#[derive(Debug, Clone)]
pub struct Event {
    /// Names this event: the same on every redelivery, never the same for two events.
    pub id: EventId,
    /// What else tells this event from another with the same id, such as a record's timestamp and
    /// leader epoch: a topic that was deleted and created again counts its offsets from zero.
    /// Zero where ids are unique by themselves.
    pub stamp: (u64, u64),
    /// The name that functions are matched on.
    pub topic: Arc<str>,
    /// The message's body, byte for byte.
    pub payload: Bytes,
    /// The message's own content type, if it has one.
    pub content_type: Option<Bytes>,
    /// What the source tells about the delivery, each under its full header name
    /// (`X-Kafka-Partition`). Names are unique; a message's own attribute never replaces one.
    pub headers: Vec<(HeaderName, Bytes)>,
    /// The message's own headers, attributes or user properties: order and duplicates kept.
    pub attributes: Vec<Attribute>,
    /// The message's key, for a dead letter that must keep it. Functions get it through `headers`.
    pub key: Option<Bytes>,
    /// When the event happened, as the broker tells it.
    pub occurred_at: Option<SystemTime>,
    /// How often the broker says it has delivered this event, this time included. `None` when it
    /// cannot say.
    pub delivery_count: Option<u32>,
    /// The broker gives up on this event once it is given back. So no wait of it is stored in the
    /// broker, and when draining cuts it short, its letter is stored (reason `shutdown`) where
    /// there is a place for letters.
    pub last_delivery: bool,
    /// Events with equal keys are called one after the other, in order of arrival. `None`: free.
    pub order_key: Option<OrderKey>,
    /// The publisher waits for the function's answer (core NATS, MQTT 5).
    pub wants_reply: bool,
    /// Narrows the match to one function: a tick belongs to the function whose schedule made it.
    pub only: Option<FunctionName>,
    /// Narrows the match to some functions: where each annotation has a subscription of its own,
    /// a message comes once for each that it matches, and goes to those who asked for that one.
    pub among: Option<Among>,
    /// The source's limit, in bytes, if this event is above it. No function is called with it:
    /// each has it buried with the reason `too_large`.
    pub oversize: Option<usize>,
}

impl Event {
    /// An event with nothing but its id, topic and payload; the rest is set by field.
    #[must_use]
    pub fn new(id: EventId, topic: Arc<str>, payload: Bytes) -> Self {
        Self {
            id,
            stamp: (0, 0),
            topic,
            payload,
            content_type: None,
            headers: Vec::new(),
            attributes: Vec::new(),
            key: None,
            occurred_at: None,
            delivery_count: None,
            last_delivery: false,
            order_key: None,
            wants_reply: false,
            only: None,
            among: None,
            oversize: None,
        }
    }

    /// What it takes of `buffer_bytes`: what the message brought, be it payload, key or attributes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(Attribute::bytes);
        self.payload.len() + self.key.as_ref().map_or(0, Bytes::len) + attributes.sum::<usize>()
    }
}

/// Some of the functions, as they are now: asked at each match, so that it follows the annotations.
#[derive(Clone)]
pub struct Among(Arc<dyn Fn(&FunctionName) -> bool + Send + Sync>);

impl Among {
    /// The functions that `holds` says yes to.
    pub fn new(holds: impl Fn(&FunctionName) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(holds))
    }

    /// Whether `function` is one of them.
    #[must_use]
    pub fn holds(&self, function: &FunctionName) -> bool {
        (self.0)(function)
    }
}

impl fmt::Debug for Among {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Among").finish_non_exhaustive()
    }
}

/// One header, attribute or user property of a message, as the broker has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name: any bytes, since a broker may allow any.
    pub name: Bytes,
    /// Its value; `None` where the broker tells an absent value from an empty one.
    pub value: Option<Bytes>,
}

impl Attribute {
    /// How many bytes of `buffer_bytes` it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.name.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// The name of one event, such as `kafka:orders/3@1207`. Sent to functions as `X-Event-Id`, so
/// that they can recognise a repetition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventId(Bytes);

impl EventId {
    /// Takes the id as it will be sent: visible ASCII, beginning with the source's kind.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into().into())
    }

    /// The same from memory that other texts of the event share.
    ///
    /// # Panics
    /// When it is not UTF-8: a source writes its ids itself.
    #[must_use]
    pub fn shared(id: Bytes) -> Self {
        assert!(std::str::from_utf8(&id).is_ok(), "an event's id is text");
        Self(id)
    }

    /// A name for an event that its broker does not name: `<kind>:<fresh UUID>`.
    #[must_use]
    pub fn unique(kind: &str) -> Self {
        // Random bytes by way of a generator: asking the kernel for each would be a system call.
        let uuid = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        Self::new(format!("{kind}:{uuid}"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it was made from text")
    }

    /// The id as a header has it.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What events must not overtake each other on. It is made of topic and partition (or queue and
/// group) and never of an assignment or a connection: a call that outlives its lane keeps its key,
/// and the partition's next owner in this process must see that.
///
/// It is a hash, and nobody outside knows how it comes about: thousands of events wait with their
/// keys. Should two keys ever share one, their events take turns, which harms nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OrderKey(u64);

impl OrderKey {
    /// The key of everything in one partition, queue or topic that has no key of its own.
    #[must_use]
    pub fn of(topic: &str, partition: Option<i32>) -> Self {
        Self::with(topic, partition, None)
    }

    /// The key of the messages of one partition that share `key`. An empty key is not no key.
    #[must_use]
    pub fn with(topic: &str, partition: Option<i32>, key: Option<&[u8]>) -> Self {
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(HASHER.hash_one((topic, partition, key)))
    }
}

/// The name a function is called by: `name.namespace`, or `name` where the provider has no
/// namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct FunctionName(Arc<str>);

impl FunctionName {
    /// Takes a full name as the gateway's routes have it.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The full name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without the namespace: what people call it, and what the upstream connectors log.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.rsplit_once('.').map_or(&*self.0, |(name, _)| name)
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
