//! What a consumer at the server must be like for us, and what it promises.
//!
//! A consumer somebody else made is taken as it is or refused with the reason; it is never changed.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy, Info, pull};
use connector_core::conditions::Subject as Condition;
use connector_core::fingerprint;

use crate::subject::Filter;

/// The ack wait of a consumer that we create: JetStream's own default.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// How many deliveries of a created consumer may be without an acknowledgement, over all replicas:
/// JetStream's own default.
const MAX_ACK_PENDING: i64 = 1_000;

/// What a consumer promises, as far as we must keep to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) stream: String,
    pub(crate) consumer: String,
    /// What it delivers. Empty: everything in the stream.
    pub(crate) filters: Vec<Filter>,
    /// How long a delivery is ours: one entry for each delivery, the last for all that follow.
    leases: Vec<Duration>,
    /// Whether the leases are a schedule that its maker set for redeliveries.
    has_backoff: bool,
    /// After so many deliveries the server gives up on a message.
    pub(crate) max_deliver: Option<u32>,
    pub(crate) max_batch: Option<usize>,
    pub(crate) max_bytes: Option<usize>,
    pub(crate) max_expires: Option<Duration>,
}

/// What the condition of a consumer is called.
pub(crate) fn condition(stream: &str, consumer: &str) -> Condition {
    Condition(format!("consumer {stream}/{consumer}").into())
}

impl Terms {
    /// Reads what a consumer promises.
    ///
    /// # Errors
    /// Why it cannot be served without losing messages, as a sentence's end.
    pub(crate) fn of(info: &Info) -> Result<Self, String> {
        let Config { ack_wait, backoff, max_deliver, .. } = &info.config;
        if info.config.deliver_subject.is_some() {
            return Err("pushes its messages: only a pull consumer waits for us".to_owned());
        }
        match info.config.ack_policy {
            AckPolicy::Explicit => {}
            AckPolicy::None => {
                return Err("forgets what it has delivered (ack policy none): explicit is needed"
                    .to_owned());
            }
            AckPolicy::All => {
                return Err("takes one acknowledgement for all before it (ack policy all): explicit is needed".to_owned());
            }
        }
        let one = &info.config.filter_subject;
        let filters = info.config.filter_subjects.iter().chain((!one.is_empty()).then_some(one));
        let filters = filters.map(|text| Filter::parse(text)).collect::<Result<Vec<_>, _>>();
        let mut leases: Vec<Duration> = backoff.clone();
        let has_backoff = !leases.is_empty();
        if leases.is_empty() {
            leases.push(if ack_wait.is_zero() { ACK_WAIT } else { *ack_wait });
        }
        let limit = |number: i64| usize::try_from(number).ok().filter(|it| *it > 0);
        Ok(Self {
            stream: info.stream_name.clone(),
            consumer: info.name.clone(),
            filters: filters.map_err(|why| format!("has a filter that {why}"))?,
            leases,
            has_backoff,
            max_deliver: u32::try_from(*max_deliver).ok().filter(|it| *it > 0),
            max_batch: limit(info.config.max_batch),
            max_bytes: limit(info.config.max_bytes),
            max_expires: Some(info.config.max_expires).filter(|it| !it.is_zero()),
        })
    }

    /// How often all leases are extended: at half of the shortest one.
    pub(crate) fn extend_every(&self) -> Duration {
        let shortest = self.leases.iter().min().copied().unwrap_or(ACK_WAIT);
        (shortest / 2).max(Duration::from_millis(5))
    }

    /// After so long without a word from us a delivery is surely over.
    pub(crate) fn longest_lease(&self) -> Duration {
        self.leases.iter().max().copied().unwrap_or(ACK_WAIT)
    }

    /// The wait to release with, where a wait is wanted: not shorter than the schedule that the
    /// consumer's maker set, which the server itself does not apply to what is given back.
    pub(crate) fn wait(&self, wanted: Duration, delivered: u32) -> Duration {
        if !self.has_backoff {
            return wanted;
        }
        let index = usize::try_from(delivered.saturating_sub(1)).unwrap_or(usize::MAX);
        let scheduled = self.leases.get(index).or_else(|| self.leases.last());
        scheduled.map_or(wanted, |scheduled| wanted.max(*scheduled))
    }

    /// Whether the server will not deliver a message again that has been delivered so often.
    pub(crate) fn is_last(&self, delivered: u32) -> bool {
        self.max_deliver.is_some_and(|most| delivered >= most)
    }

    /// Whether some message of it may be on a subject that `filter` matches.
    pub(crate) fn overlaps(&self, filter: &Filter) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|mine| mine.overlaps(filter))
    }
}

/// The consumer that is created for one filter.
pub(crate) fn created(durable: &str, filter: &Filter, from: DeliverPolicy) -> pull::Config {
    pull::Config {
        durable_name: Some(name(durable, filter)),
        description: Some(format!("nats-connector: {filter}")),
        deliver_policy: from,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: -1,
        max_ack_pending: MAX_ACK_PENDING,
        filter_subject: filter.as_str().to_owned(),
        ..pull::Config::default()
    }
}

/// The name of the consumer that is created for one filter: a filter's own characters are not
/// legal in a name.
pub(crate) fn name(durable: &str, filter: &Filter) -> String {
    format!("{durable}-{:016x}", fingerprint(filter.as_str()))
}

/// Whether the consumer was created by [`created`] under this `durable`, and for which filter.
pub(crate) fn is_created(durable: &str, info: &Info) -> Option<Filter> {
    let filter = Filter::parse(&info.config.filter_subject).ok()?;
    (info.name == name(durable, &filter)).then_some(filter)
}

#[cfg(test)]
#[path = "binding_tests.rs"]
mod tests;
