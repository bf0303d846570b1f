//! What librdkafka tells us, sent on to whoever answers it.
//!
//! Callbacks run on the worker that polls the consumer, in the middle of `recv()`. Waiting in one
//! would block that worker, so nothing here waits or decides: rebalances, commit results and
//! errors go over channels, and the tasks at their other ends do the work.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{
    BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol, StreamConsumer,
};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::sync::{Notify, mpsc};

use crate::commit::Standing;
use crate::meters::Meters;
use crate::raw;

/// The consumer, with our ear at its callbacks.
pub(crate) type Consumer = StreamConsumer<Listener>;

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Partition {
    pub(crate) topic: Arc<str>,
    pub(crate) number: i32,
}

/// What the group asks of this member. It waits for the answer: assign or unassign.
#[derive(Debug)]
pub(crate) enum Rebalance {
    /// These partitions are ours from now on.
    Assigned(Vec<Partition>),
    /// These partitions go to others once we say so.
    Revoked(Vec<Partition>),
    /// These partitions went to others: nothing may be committed for them any more.
    Lost(Vec<Partition>),
}

/// What became of one commit, by partition: what it said, and the refusal if any.
pub(crate) type Committed = Vec<(Partition, Standing, Option<RDKafkaErrorCode>)>;

/// The consumer's callbacks.
pub(crate) struct Listener {
    rebalances: mpsc::UnboundedSender<Rebalance>,
    commits: mpsc::UnboundedSender<Committed>,
    meters: Arc<Meters>,
    trouble: Mutex<Option<Trouble>>,
    troubled: Notify,
}

/// The last thing that librdkafka complained of, until somebody sees that it is over.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Trouble {
    /// Username or password were refused.
    #[error("the broker refuses the credentials: {0}")]
    Authentication(String),
    /// TLS could not be agreed on.
    #[error("TLS cannot be agreed on: {0}")]
    Tls(String),
    /// No broker can be reached.
    #[error("no broker can be reached: {0}")]
    Unreachable(String),
}

impl Trouble {
    /// Whether a person must act: time alone mends nothing.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Authentication(_) | Self::Tls(_))
    }
}

thread_local! {
    /// Where the log ended, as told by the error of the poll that runs on this thread.
    static END: Cell<Option<i64>> = const { Cell::new(None) };
}

/// Where the partition's log ended when `recv` has just given [`KafkaError::PartitionEOF`]: the
/// offset that the next record will have at least.
///
/// rdkafka's error leaves the offset out, but its context hears the full text in the same poll on
/// the same thread. So ask before the next await. `None`: the text was another.
pub(crate) fn end_of_partition() -> Option<i64> {
    END.take()
}

impl Listener {
    pub(crate) fn new(
        rebalances: mpsc::UnboundedSender<Rebalance>,
        commits: mpsc::UnboundedSender<Committed>,
        meters: Arc<Meters>,
    ) -> Self {
        Self { rebalances, commits, meters, trouble: Mutex::default(), troubled: Notify::new() }
    }

    /// What librdkafka complained of last.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the last complaint: the broker has answered since.
    pub(crate) fn answered(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn note(&self, trouble: Trouble, is_absence: bool) {
        let mut last = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        // A refusal is told once or twice, then only that all brokers are down: the cause stays,
        // until a broker is not even there to refuse anything.
        let is_over = is_absence && last.as_ref().is_some_and(Trouble::is_refusal);
        if matches!(trouble, Trouble::Unreachable(_)) && last.is_some() && !is_over {
            return;
        }
        self.troubled.notify_one();
        *last = Some(trouble);
    }

    /// Resolves when librdkafka has complained of something new.
    pub(crate) async fn troubled(&self) {
        self.troubled.notified().await;
    }

    /// Resolves when librdkafka has complained of a refusal.
    pub(crate) async fn refusal(&self) -> Trouble {
        loop {
            self.troubled().await;
            if let Some(trouble) = self.trouble().filter(Trouble::is_refusal) {
                return trouble;
            }
        }
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug => tracing::trace!(facility, "librdkafka: {message}"),
            // What an operator must know is said by us, once for each change of state; these
            // lines come with every attempt to reconnect.
            _ => tracing::debug!(facility, "librdkafka: {message}"),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.meters.statistics(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::PartitionEOF) {
            END.set(offset_in(reason));
            return;
        }
        match code.and_then(|code| trouble(code, reason)) {
            Some(trouble) => self.note(trouble, tells_absence(code, reason)),
            None => tracing::debug!(%error, reason, "librdkafka reports an error"),
        }
    }
}

impl ConsumerContext for Listener {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: Code, list: &mut TopicPartitionList) {
        let partitions = partitions(list);
        let assigned = matches!(code, Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS);
        let rebalance = if assigned {
            Rebalance::Assigned(partitions)
        } else if consumer.assignment_lost() {
            Rebalance::Lost(partitions)
        } else {
            Rebalance::Revoked(partitions)
        };
        if self.rebalances.send(rebalance).is_ok() {
            return;
        }
        // Nobody is left to answer: the consumer is being closed, which waits for the answer.
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let answered = match (cooperative, assigned) {
            (false, _) => consumer.unassign(),
            (true, true) => consumer.incremental_assign(list),
            (true, false) => consumer.incremental_unassign(list),
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "a rebalance during the close was answered in vain");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let all = result.err().and_then(|error| error.rdkafka_error_code());
        let committed = offsets
            .elements()
            .iter()
            .zip(raw::metadata(offsets))
            .filter_map(|(element, metadata)| {
                let refused = element.error().err().and_then(|e| e.rdkafka_error_code());
                let partition =
                    Partition { topic: element.topic().into(), number: element.partition() };
                // Written by us, so it is text.
                let metadata = String::from_utf8(metadata).ok()?;
                let standing = Standing { offset: element.offset().to_raw()?, metadata };
                Some((partition, standing, refused.or(all)))
            })
            .collect();
        // Nobody listens while the consumer is being closed.
        drop(self.commits.send(committed));
    }
}

/// The partitions of a list.
pub(crate) fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements()
        .iter()
        .map(|element| Partition { topic: element.topic().into(), number: element.partition() })
        .collect()
}

/// A list of partitions, without offsets.
pub(crate) fn list<'a>(partitions: impl IntoIterator<Item = &'a Partition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&partition.topic, partition.number);
    }
    list
}

/// The offset in librdkafka's "... reached end of partition at offset 7 (HighwaterMark 9)".
fn offset_in(reason: &str) -> Option<i64> {
    let (_, after) = reason.split_once("end of partition at offset ")?;
    after.split(' ').next()?.parse().ok()
}

/// What a complaint of librdkafka's is about, if it is about the way to the broker.
fn trouble(code: RDKafkaErrorCode, reason: &str) -> Option<Trouble> {
    use RDKafkaErrorCode as Code;

    let kind = match code {
        Code::Authentication if !is_told_by_broker(reason) => Trouble::Unreachable,
        Code::Authentication | Code::SaslAuthenticationFailed => Trouble::Authentication,
        // With TLS 1.3 a client's certificate is refused when the connection looks made.
        Code::BrokerTransportFailure if reason.contains("SSL alert") => Trouble::Tls,
        Code::SSL => Trouble::Tls,
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve => Trouble::Unreachable,
        _ => return None,
    };
    Some(kind(in_our_words(reason)))
}

/// Whether a failed proof was refused. A broker that goes away in the middle of it has refused
/// nothing, nor has one that is asked for another proof too soon after the last (within a second:
/// it only says that it did not expect it); the next connection will do.
fn is_told_by_broker(reason: &str) -> bool {
    !reason.contains("Broker transport failure") && !reason.contains("current SASL state")
}

/// Whether a complaint is that no connection to a broker could be made at all.
fn tells_absence(code: Option<RDKafkaErrorCode>, reason: &str) -> bool {
    code == Some(RDKafkaErrorCode::Resolve) || reason.contains("in state CONNECT")
}

/// librdkafka's reason without what differs from one attempt to the next (how long it took, how
/// often it was said), and with the settings as they are called here.
fn in_our_words(reason: &str) -> String {
    let reason = reason.split_once(" (after ").map_or(reason, |(before, _)| before);
    reason.replace(
        "verify that ssl.ca.location is correctly configured or root CA certificates are installed \
         (install ca-certificates package)",
        "its authority is neither in ca_file nor, without one, among the public ones",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_partition_is_read_from_the_librarys_text() {
        let text = "Fetch from broker 1 reached end of partition at offset 7 (HighwaterMark 9)";
        assert_eq!(offset_in(text), Some(7));
        assert_eq!(offset_in("Broker: No more messages"), None);
    }

    #[test]
    fn only_what_the_broker_says_itself_is_a_refusal() {
        let refusal = |code, reason| trouble(code, reason).map(|trouble| trouble.is_refusal());
        let (refused, cut) =
            (RDKafkaErrorCode::Authentication, RDKafkaErrorCode::BrokerTransportFailure);
        assert_eq!(
            refusal(refused, "SASL authentication error: Authentication failed"),
            Some(true)
        );
        let gone = "SASL PLAIN mechanism handshake failed: Local: Broker transport failure";
        assert_eq!(refusal(refused, gone), Some(false));
        let too_soon = "SASL OAUTHBEARER mechanism handshake failed: Broker: Request not valid in \
                        current SASL state";
        assert_eq!(refusal(refused, too_soon), Some(false));
        assert_eq!(refusal(cut, "Connection refused"), Some(false));
        let alert = "Receive failed: error:0A000416:SSL routines::sslv3 alert certificate unknown: \
                     SSL alert number 46";
        assert_eq!(refusal(cut, alert), Some(true));
        assert_eq!(refusal(RDKafkaErrorCode::NotCoordinator, ""), None);
    }

    #[test]
    fn a_refusal_stays_the_cause_until_the_broker_is_not_there_any_more() {
        let (rebalances, commits) = (mpsc::unbounded_channel().0, mpsc::unbounded_channel().0);
        let meters = Meters::of(&connector_core::metrics::Metrics::new("kafka", "0.0.0"));
        let listener = Listener::new(rebalances, commits, meters);
        let hears = |code, reason: &str| {
            listener.error(KafkaError::Global(code), reason);
            listener.trouble().is_some_and(|trouble| trouble.is_refusal())
        };
        let refusals = [
            (
                RDKafkaErrorCode::Authentication,
                "SASL authentication error (after 302ms in state AUTH_REQ)",
            ),
            (RDKafkaErrorCode::SSL, "SSL handshake failed (after 3ms in state SSL_HANDSHAKE)"),
        ];
        let absences = [
            (
                RDKafkaErrorCode::BrokerTransportFailure,
                "Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT, 4 identical error(s) suppressed)",
            ),
            (
                RDKafkaErrorCode::BrokerTransportFailure,
                "Connection setup timed out in state CONNECT (after 30029ms in state CONNECT)",
            ),
            (
                RDKafkaErrorCode::Resolve,
                "Failed to resolve 'kafka:9092': Name or service not known",
            ),
        ];
        for (refused, why) in refusals {
            for (absent, reason) in absences {
                assert!(hears(refused, why));
                let cut = "Disconnected (after 1ms in state AUTH_REQ)";
                assert!(hears(RDKafkaErrorCode::BrokerTransportFailure, cut));
                assert!(hears(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down"));
                assert!(!hears(absent, reason), "{reason}");
            }
        }
    }

    #[test]
    fn a_reason_is_the_same_for_each_attempt_and_names_our_settings() {
        let refused = "sasl_ssl://b:9093/1: SASL authentication error: Authentication failed";
        for after in ["", " (after 302ms in state AUTH_REQ, 4 identical error(s) suppressed)"] {
            assert_eq!(in_our_words(&(refused.to_owned() + after)), refused);
        }
        let unknown = "certificate verify failed: broker certificate could not be verified, verify \
                       that ssl.ca.location is correctly configured or root CA certificates are \
                       installed (install ca-certificates package) (after 3ms in state SSL_HANDSHAKE)";
        let said = in_our_words(unknown);
        assert!(said.contains("ca_file") && !said.contains("ssl.ca.location"), "{said}");
    }
}
