//! Where partitions are begun.
//!
//! At what the group has committed, with its metadata. What has no commit is resolved by us, once,
//! and committed before the first call, so that a crash before the first commit does not resolve
//! it anew (with `newest` that would skip what came in between). All partitions of the topic are
//! resolved together, whoever owns them; one that is added later begins at its beginning. Where
//! everybody would choose the same, the oldest record, each member resolves its own alone.
//!
//! A partition may have no leader, for as long as a broker is away. Where the group has committed
//! it begins there, unchecked; without a commit nobody can say where, and it is left out.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use connector_core::source::SourceError;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::client::{Consumer, Partition, list};
use crate::commit::Standing;
use crate::config::InitialOffset;
use crate::meters::Meters;
use crate::progress::{MARK, is_ours};
use crate::raw;

/// How long one question to the broker may take.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a topic may be unknown here and there, or without leaders, that the group has just
/// given us: the brokers, and the client's own list of topics, learn of a new one one by one.
const SETTLING: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Where partitions begin.
#[derive(Default)]
pub(crate) struct Positions {
    /// Those of the partitions asked for that can be begun.
    pub(crate) starts: HashMap<Partition, Standing>,
    /// What has yet to be committed before anything is called, ours or not.
    pub(crate) fresh: Vec<(Partition, Standing)>,
    /// Those asked for of which nobody says where they begin.
    pub(crate) missing: Vec<Partition>,
    /// Those that do not begin where the group has committed.
    pub(crate) out_of_range: Vec<OutOfRange>,
}

/// A partition whose log does not have the committed offset any more.
pub(crate) struct OutOfRange {
    partition: Partition,
    committed: i64,
    first: i64,
    end: i64,
}

impl OutOfRange {
    /// Counts it and logs it.
    pub(crate) fn tell(self, meters: &Meters) {
        let Self { partition: Partition { topic, number }, committed, first, end } = self;
        meters.out_of_range.inc();
        tracing::error!(%topic, partition = number, committed, first, end,
            "the log does not have the committed offset any more: records are lost; begins at the first there is");
    }
}

/// Waits for an answer of [`resolve`], asking again as long as the topic may not be known everywhere
/// yet. What is still missing then is left out.
///
/// # Errors
/// Only a fresh connection may mend it.
pub(crate) async fn once_settled(
    mut ask: impl FnMut() -> JoinHandle<Result<Positions, KafkaError>>,
) -> Result<Positions, SourceError> {
    let until = Instant::now() + SETTLING;
    loop {
        let is_late = Instant::now() >= until;
        match ask().await {
            Ok(Ok(found)) if found.missing.is_empty() || is_late => return Ok(found),
            Ok(Ok(found)) => tracing::debug!(missing = ?found.missing, "not known yet"),
            Ok(Err(error)) if is_unsettled(&error) && !is_late => {
                tracing::debug!(%error, "positions are not known yet");
            }
            Ok(Err(error)) => {
                return Err(SourceError::Broken(format!("cannot look up positions: {error}")));
            }
            Err(panic) => {
                return Err(SourceError::Broken(format!("looking up positions failed: {panic}")));
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Whether it is said of a topic that was made a moment ago.
fn is_unsettled(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::NotLeaderForPartition
        )
    )
}

/// Whether the partition has no leader, or has just lost it.
fn is_leaderless(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::LeaderNotAvailable | RDKafkaErrorCode::NotLeaderForPartition)
    )
}

/// Asks the broker where `partitions` begin.
///
/// Blocks for up to some tens of seconds; meant for a blocking thread.
pub(crate) fn resolve(
    consumer: &Arc<Consumer>,
    partitions: &[Partition],
    initial: InitialOffset,
) -> Result<Positions, KafkaError> {
    let mut starts = committed(consumer, partitions)?;
    let mut fresh = Vec::new();

    let unknown: BTreeSet<_> = partitions
        .iter()
        .filter(|partition| !starts.contains_key(partition))
        .map(|partition| Arc::clone(&partition.topic))
        .collect();
    for topic in unknown {
        let all = all_partitions(consumer, &topic)?;
        let known = committed(consumer, &all)?;
        // A commit of ours says that all partitions of that time were committed with it, or were to
        // begin at the oldest record: this one was added since, or is such a one. Commits of others
        // do not: some clients commit only what they handled.
        let added = known.values().any(|standing| is_ours(standing.metadata.as_bytes()));
        let mut without: Vec<_> = all.into_iter().filter(|p| !known.contains_key(p)).collect();
        let from = if added { InitialOffset::Oldest } else { initial };
        if from == InitialOffset::Oldest {
            without.retain(|partition| partitions.contains(partition));
        }
        let offsets = offsets_at(consumer, &without, from)?;
        // Our commits for the others would say that one without a leader was added since.
        if from != InitialOffset::Oldest && offsets.len() < without.len() {
            continue;
        }
        for (partition, offset) in offsets {
            let standing = Standing { offset, metadata: MARK.to_owned() };
            if partitions.contains(&partition) {
                starts.insert(partition.clone(), standing.clone());
            }
            fresh.push((partition, standing));
        }
    }

    let missing = partitions.iter().filter(|p| !starts.contains_key(p)).cloned().collect();
    let out_of_range = keep_in_range(consumer, &mut starts)?;
    Ok(Positions { starts, fresh, missing, out_of_range })
}

/// What the group has committed, for those partitions that it has committed.
fn committed(
    consumer: &Arc<Consumer>,
    partitions: &[Partition],
) -> Result<HashMap<Partition, Standing>, KafkaError> {
    if partitions.is_empty() {
        return Ok(HashMap::new());
    }
    let answer = consumer.committed_offsets(list(partitions), ANSWER)?;
    let metadata = raw::metadata(&answer);
    let mut known = HashMap::new();
    for (element, metadata) in answer.elements().iter().zip(metadata) {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            let partition =
                Partition { topic: element.topic().into(), number: element.partition() };
            // Ours is ASCII; another tool's is of no use, whatever it says.
            let metadata = String::from_utf8(metadata).unwrap_or_default();
            known.insert(partition, Standing { offset, metadata });
        }
    }
    Ok(known)
}

/// Begins at the earliest record where the log does not have the committed offset any more.
fn keep_in_range(
    consumer: &Arc<Consumer>,
    starts: &mut HashMap<Partition, Standing>,
) -> Result<Vec<OutOfRange>, KafkaError> {
    let partitions: Vec<_> = starts.keys().cloned().collect();
    let first = offsets_at(consumer, &partitions, InitialOffset::Oldest)?;
    let mut end = offsets_at(consumer, &partitions, InitialOffset::Newest)?;
    // To who reads what is committed alone, the log ends before the first open transaction. A commit
    // may be beyond that: the group was read otherwise before.
    let is_beyond = |partition: &&Partition| {
        end.get(*partition).is_some_and(|end| *end < starts[*partition].offset)
    };
    let beyond = list(partitions.iter().filter(is_beyond));
    end.extend(raw::log_ends(consumer.client().native_ptr(), beyond, ANSWER)?);
    let mut out_of_range = Vec::new();
    for (partition, standing) in starts {
        let (Some(&first), Some(&end)) = (first.get(partition), end.get(partition)) else {
            continue;
        };
        if (first..=end).contains(&standing.offset) {
            continue;
        }
        let (partition, committed) = (partition.clone(), standing.offset);
        *standing = Standing { offset: first, metadata: MARK.to_owned() };
        out_of_range.push(OutOfRange { partition, committed, first, end });
    }
    Ok(out_of_range)
}

/// The numbers of all partitions of a topic.
fn all_partitions(
    consumer: &Arc<Consumer>,
    topic: &Arc<str>,
) -> Result<Vec<Partition>, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER)?;
    Ok(metadata
        .topics()
        .iter()
        .filter(|found| found.name() == &**topic)
        .flat_map(|found| found.partitions())
        .map(|found| Partition { topic: Arc::clone(topic), number: found.id() })
        .collect())
}

/// The offsets at a time, the log's ends included: one request to each leader. Partitions without
/// a leader are left out.
fn offsets_at(
    consumer: &Arc<Consumer>,
    partitions: &[Partition],
    at: InitialOffset,
) -> Result<HashMap<Partition, i64>, KafkaError> {
    if partitions.is_empty() {
        return Ok(HashMap::new());
    }
    let time = match at {
        InitialOffset::Oldest => Offset::Beginning,
        InitialOffset::Newest => Offset::End,
        InitialOffset::Since(time) => Offset::Offset(time),
    };
    let mut asked = list(partitions);
    asked.set_all_offsets(time)?;
    let answer = match consumer.offsets_for_times(asked, ANSWER) {
        // None of them has a leader.
        Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::NoEnt) => {
            return Ok(HashMap::new());
        }
        answer => answer?,
    };
    let mut offsets = HashMap::new();
    let mut after_all = TopicPartitionList::new();
    for element in answer.elements() {
        match element.error() {
            Err(error) if is_leaderless(&error) => continue,
            told => told?,
        }
        match element.offset() {
            Offset::Offset(offset) => {
                let partition =
                    Partition { topic: element.topic().into(), number: element.partition() };
                offsets.insert(partition, offset);
            }
            // No record is as late as the time asked for.
            _ => {
                after_all.add_partition(element.topic(), element.partition());
            }
        }
    }
    if after_all.count() > 0 && at != InitialOffset::Newest {
        let rest = crate::client::partitions(&after_all);
        offsets.extend(offsets_at(consumer, &rest, InitialOffset::Newest)?);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: RDKafkaErrorCode) -> KafkaError {
        KafkaError::OffsetFetch(code)
    }

    fn partition(number: i32) -> Partition {
        Partition { topic: "orders".into(), number }
    }

    /// An answer that has the first of two partitions, or both.
    fn found(both: bool) -> Positions {
        let known = if both { 0..2 } else { 0..1 };
        let starts = known.map(|number| (partition(number), Standing::none())).collect();
        let missing = if both { Vec::new() } else { vec![partition(1)] };
        Positions { starts, missing, ..Positions::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_is_not_known_everywhere_yet_is_looked_at_again() {
        let mut answers = vec![
            Ok(found(true)),
            Ok(found(false)),
            Err(said(RDKafkaErrorCode::LeaderNotAvailable)),
            Err(said(RDKafkaErrorCode::UnknownPartition)),
        ];
        let mut ask = || {
            let answer = answers.pop().expect("nothing more is asked");
            tokio::spawn(async move { answer })
        };
        let starts = once_settled(&mut ask).await.ok().map(|found| found.starts.len());
        assert_eq!(starts, Some(2), "nothing is left out that is known a moment later");
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_missing_does_not_hold_up_the_others() {
        let ask = || tokio::spawn(async { Ok(found(false)) });
        let found = once_settled(ask).await.ok().map(|found| (found.starts.len(), found.missing));
        assert_eq!(found, Some((1, vec![partition(1)])));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_waited_out_and_what_stays_unknown_is_given_up() {
        async fn asked(code: RDKafkaErrorCode) -> usize {
            let mut times = 0;
            let ask = || {
                times += 1;
                tokio::spawn(async move { Err(said(code)) })
            };
            assert!(once_settled(ask).await.is_err());
            times
        }
        assert_eq!(asked(RDKafkaErrorCode::TopicAuthorizationFailed).await, 1);
        assert!(asked(RDKafkaErrorCode::UnknownTopicOrPartition).await > 5);
    }
}
