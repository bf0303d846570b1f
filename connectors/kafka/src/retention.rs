//! How long the topics that are consumed keep their records.
//!
//! A record that waits for longer than that is deleted unread, and nobody is told. So the age of
//! each partition's head is a metric, and this makes the bound it must not reach another. A broker
//! that does not let us ask leaves it out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::client::Consumer;
use crate::meters::Meters;
use crate::raw;

/// How often the topics are asked for, whether or not they are others.
const REFRESH: Duration = Duration::from_secs(600);
/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_secs(2);
/// How long the broker may take for one topic.
const ANSWER: Duration = Duration::from_secs(10);

const RETENTION: &str = "retention.ms";
const POLICY: &str = "cleanup.policy";

/// Starts the task that keeps the metric. It ends by abort.
pub(crate) fn watch(consumer: Arc<Consumer>, meters: Arc<Meters>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = BTreeMap::new();
        let mut asked = looks.tick().await;
        loop {
            let now = looks.tick().await;
            let topics = meters.topics();
            if now.duration_since(asked) >= REFRESH {
                known.clear();
            }
            known.retain(|topic, _| topics.contains(topic));
            for topic in topics {
                if !known.contains_key(&topic) {
                    asked = now;
                    known.insert(Arc::clone(&topic), ask(&consumer, &topic).await);
                }
                // Each time: a topic that left and came back since the last look is forgotten there.
                meters.retention(&topic, known[&topic]);
            }
        }
    })
}

/// How many seconds a topic keeps its records. `None`: for ever, or the broker does not say.
async fn ask(consumer: &Arc<Consumer>, topic: &Arc<str>) -> Option<i64> {
    let (asking, name) = (Arc::clone(consumer), Arc::clone(topic));
    let asked = tokio::task::spawn_blocking(move || {
        let client = asking.client().native_ptr();
        raw::topic_settings(client, &name, &[RETENTION, POLICY], ANSWER)
    });
    match asked.await {
        Ok(Ok(settings)) => seconds(&settings),
        Ok(Err(why)) => {
            tracing::debug!(%topic, why, "the broker does not say how long it keeps the topic");
            None
        }
        Err(panic) => {
            tracing::error!(%panic, "asking for a topic's retention failed");
            None
        }
    }
}

/// Reads the settings of a topic.
fn seconds(settings: &[(String, String)]) -> Option<i64> {
    let value = |wanted| settings.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    // Only compacted: records go when their key has a later one, whatever their age.
    if !value(POLICY)?.split(',').any(|policy| policy.trim() == "delete") {
        return None;
    }
    let ms: i64 = value(RETENTION)?.parse().ok()?;
    (ms >= 0).then_some(ms / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_counts_where_records_are_deleted_by_age() {
        let said = |policy: &str, ms: &str| {
            seconds(&[
                (POLICY.to_owned(), policy.to_owned()),
                (RETENTION.to_owned(), ms.to_owned()),
            ])
        };
        assert_eq!(said("delete", "604800000"), Some(604_800));
        assert_eq!(said("compact,delete", "1500"), Some(1));
        assert_eq!(said("compact", "604800000"), None);
        assert_eq!(said("delete", "-1"), None);
        assert_eq!(said("delete", "soon"), None);
        assert_eq!(seconds(&[]), None);
    }
}
