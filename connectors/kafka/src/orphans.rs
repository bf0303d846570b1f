//! Topics that the group gives to nobody, although this member asks for them.
//!
//! Whoever leads the group shares out what the broker lists for it in that moment. A topic that the
//! broker refuses or does not know just then, because access control is being changed or the broker
//! has only just been started, is left out; and librdkafka looks no further, since it joins anew
//! only when its own list of topics changes, which it asks for at other times. Without this module
//! such a topic waited until some member came or went.
//!
//! So a moment after each assignment the group is looked at. If it gives a topic to nobody that the
//! broker serves, this member joins once more: alone, that mends it; where another member leads,
//! the one that leads sees the same and does so too. With `group_protocol=consumer` the broker
//! shares out, and nothing is looked at.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::client::Consumer;
use crate::subscription;

/// How long after an assignment the group is looked at: the other members have theirs by then.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How far apart looks become while they change nothing: joining again interrupts all members, and
/// some brokers do not tell about groups at all.
const LAST_LOOK: Duration = Duration::from_secs(300);
/// How long the broker may take to tell about the group.
const ANSWER: Duration = Duration::from_secs(10);

/// Keeps looking for them.
pub(crate) struct Orphans {
    consumer: Arc<Consumer>,
    group: String,
    /// What this member asks for.
    topics: BTreeSet<String>,
    due: Option<Instant>,
    wait: Duration,
    job: Option<JoinHandle<Result<Look, KafkaError>>>,
}

/// What a look at the group has shown.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// It gives every topic to somebody.
    Well,
    /// Its members do not agree yet, or the broker does not serve what it gives to nobody.
    Unsettled,
    /// It gives these topics to nobody, and could.
    Ungiven(BTreeSet<String>),
}

impl Orphans {
    pub(crate) fn new(consumer: Arc<Consumer>, group: &str) -> Self {
        Self {
            consumer,
            group: group.to_owned(),
            topics: BTreeSet::new(),
            due: None,
            wait: FIRST_LOOK,
            job: None,
        }
    }

    /// Notes what this member asks for from now on.
    pub(crate) fn subscribed(&mut self, topics: &BTreeSet<String>) {
        self.topics.clone_from(topics);
        self.wait = FIRST_LOOK;
    }

    /// Notes that the group has assigned something, if only nothing.
    pub(crate) fn assigned(&mut self) {
        // An answer on its way is about an earlier assignment.
        self.job = None;
        self.due = Some(Instant::now() + self.wait);
    }

    /// Waits until topics are found that the group gives to nobody. Joining again is the caller's.
    ///
    /// Cancel-safe: a look that has begun is gone on with.
    pub(crate) async fn found(&mut self) -> BTreeSet<String> {
        loop {
            if self.job.is_none() {
                let Some(due) = self.due else { pending().await };
                tokio::time::sleep_until(due).await;
            }
            let job = self.job.get_or_insert_with(|| {
                let consumer = Arc::clone(&self.consumer);
                let (group, topics) = (self.group.clone(), self.topics.clone());
                tokio::task::spawn_blocking(move || look(&consumer, &group, &topics))
            });
            let seen = job.await;
            (self.job, self.due) = (None, None);
            match seen {
                Ok(Ok(Look::Well)) => self.wait = FIRST_LOOK,
                Ok(Ok(Look::Ungiven(topics))) => {
                    self.longer();
                    return topics;
                }
                // Told elsewhere, if it lasts.
                Ok(Ok(Look::Unsettled) | Err(_)) => {
                    self.due = Some(Instant::now() + self.wait);
                    self.longer();
                }
                Err(panic) => tracing::error!(%panic, "looking at the group failed"),
            }
        }
    }

    /// Waits longer before the next look, until one shows that all is well.
    fn longer(&mut self) {
        self.wait = (self.wait * 2).min(LAST_LOOK);
    }
}

/// Looks at the group. Blocks for up to some tens of seconds.
fn look(consumer: &Consumer, group: &str, topics: &BTreeSet<String>) -> Result<Look, KafkaError> {
    let groups = consumer.fetch_group_list(Some(group), ANSWER)?;
    let Some(group) = groups.groups().iter().find(|found| found.name() == group) else {
        return Ok(Look::Unsettled);
    };
    if group.state() != "Stable" {
        return Ok(Look::Unsettled);
    }
    let mut ungiven = topics.clone();
    for member in group.members() {
        let Some(given) = member.assignment().and_then(topics_of) else { continue };
        ungiven.retain(|topic| !given.contains(topic.as_bytes()));
    }
    if ungiven.is_empty() {
        return Ok(Look::Well);
    }
    let names = ungiven.iter().map(|topic| topic.as_str().into()).collect();
    let served = subscription::list(consumer, Some(names))?;
    ungiven.retain(|topic| matches!(served.get(topic), Some(Ok(()))));
    Ok(if ungiven.is_empty() { Look::Unsettled } else { Look::Ungiven(ungiven) })
}

/// The topics of a member's assignment, as members write it: a version, then for each topic its
/// name and the numbers of its partitions. `None`: it is written in another way.
fn topics_of(assignment: &[u8]) -> Option<BTreeSet<&[u8]>> {
    let (_version, rest) = assignment.split_first_chunk::<2>()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut topics = BTreeSet::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (name, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
        let (partitions, after) = after.split_first_chunk::<4>()?;
        let bytes = usize::try_from(u32::from_be_bytes(*partitions)).ok()?.checked_mul(4)?;
        topics.insert(name);
        (_, rest) = after.split_at_checked(bytes)?;
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_tells_its_topics() {
        let two = b"\0\x01\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x05\0\x02bc\0\0\0\0\0\0\0\0";
        assert_eq!(topics_of(two), Some([&b"a"[..], b"bc"].into()));
        assert_eq!(topics_of(b"\0\0\0\0\0\0\0\0\0\0"), Some(BTreeSet::new()));
    }

    #[test]
    fn what_is_no_assignment_tells_nothing() {
        let long = b"\0\x01\0\0\0\x01\0\x01a\xff\xff\xff\xff";
        let cut = b"\0\x01\0\0\0\x02\0\x01a\0\0\0\0";
        for bytes in [&b""[..], b"\0\x01\0\0", long, cut, b"\0\0\0\0\0\x01\xff\xffa"] {
            assert_eq!(topics_of(bytes), None, "{bytes:?}");
        }
    }
}
