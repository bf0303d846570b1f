//! What a bench has to know of each source: how its broker is started and filled, and how its connector is told of it.

pub(crate) mod jetstream;
pub(crate) mod kafka;
pub(crate) mod mqtt;
pub(crate) mod sqs;

use integration::{Gateway, Launch};
use tokio::task::JoinHandle;

use crate::figures::Row;

/// How many of a connector's calls run, unless that is what is looked at.
pub(crate) const RUNNING: usize = 64;
/// The bytes of an event, unless they are what is looked at.
pub(crate) const PAYLOAD: usize = 256;

/// A source whose broker keeps events until a connector comes.
pub(crate) trait Source: Sized {
    /// What it is called on the command line.
    const NAME: &str;
    /// The kind of its connector.
    const CONNECTOR: &str;
    /// How people write its name.
    const TITLE: &str;
    /// What its events are spread over.
    const WIDTHS: &str;
    /// Over how many they are spread, unless that is what is looked at.
    const WIDTH: usize;
    /// How many events a run has.
    const EVENTS: u64;
    /// The most events that its broker takes and gives back in a minute or so.
    const MOST: u64;
    /// The largest payload that its broker takes.
    const LARGEST: usize;
    /// How many events a second are sent when latency is looked at.
    const PACE: u64;
    /// What the connector logs when it receives.
    const RECEIVES: &str;
    /// How the threads of the broker's client are called, if it has its own.
    const CLIENT: Option<&str> = None;

    /// Sends single events.
    type Sender: Sender;

    /// Starts a broker.
    async fn start() -> Self;

    /// Where it listens, as connectors are told.
    fn address(&self) -> String;

    /// A new place for events, spread over so many topics or partitions. What is published from then on is kept for
    /// a connector that calls this gateway.
    async fn place(&self, width: usize, gateway: &Gateway) -> Place;

    /// The connector, told of the place.
    fn launch(&self, place: &Place) -> Launch;

    /// Publishes so many events of so many bytes, and returns when the broker has them.
    async fn publish(&self, place: &Place, bytes: usize, count: u64);

    /// Who publishes there one by one.
    async fn sender(&self, place: &Place) -> Self::Sender;

    /// The headers of a call, one a line, as `oha` takes them.
    fn headers(&self, place: &Place) -> Vec<String>;

    /// Receives so many events from there beside the connector, with the broker's client alone, and tells what
    /// [stamp](crate::latency) each had and when it came, both in nanoseconds since 1970. It tells what the broker takes
    /// from what the connector adds; `None` where that is not asked.
    fn receiver(&self, _place: &Place, _count: u64) -> Option<JoinHandle<Vec<(u64, u64)>>> {
        None
    }

    /// What only this source has to show.
    async fn more(&self) -> Vec<Row> {
        Vec::new()
    }
}

/// Publishes single events.
pub(crate) trait Sender {
    /// Publishes the event of this number; returns when it is on its way.
    async fn send(&mut self, number: u64, payload: String);
}

/// Where events are published.
pub(crate) struct Place {
    /// A topic, a stream, the beginning of topics, or of names of queues.
    pub(crate) name: String,
    /// What functions ask for in their annotations.
    pub(crate) asked: String,
    pub(crate) width: usize,
}

impl Place {
    /// A place whose functions ask for its name.
    pub(crate) fn named(name: String, width: usize) -> Self {
        Self { asked: name.clone(), name, width }
    }
}
