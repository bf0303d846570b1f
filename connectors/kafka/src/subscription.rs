//! What to consume: the topics of the setting, or what annotations wish for, as far as the broker
//! has them.
//!
//! Patterns are matched by us over the broker's list, not by librdkafka: it revokes everything as
//! lost when a topic it was told to consume does not exist, and it would consume our own
//! dead-letter topics. So it is only ever given names that the broker has just listed.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use connector_core::Intake;
use connector_core::conditions::Subject;
use connector_core::dead_letter::Address;
use connector_core::topics::{Pattern, TopicMap};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::client::{Consumer, Trouble};

/// How often the broker's topics are looked at when nothing else asks for it.
const REFRESH: Duration = Duration::from_secs(30);
/// How soon after a failure, while something ordered is missing, or when something that functions
/// ask for has just been found missing.
const AGAIN: Duration = Duration::from_secs(2);
/// How long the broker may take to list its topics.
const ANSWER: Duration = Duration::from_secs(10);
/// Up to this many names are asked for one by one; beyond it all topics are listed.
const ASK_EACH: usize = 8;

/// What the broker says of topics: its own name for each, or why it refuses it.
pub(crate) type Listing = BTreeMap<String, Result<(), String>>;

/// Keeps the list of topics to consume.
pub(crate) struct Subscription {
    consumer: Arc<Consumer>,
    intake: Intake,
    orders: Vec<Pattern>,
    topics: watch::Receiver<Arc<TopicMap>>,
    job: Option<JoinHandle<Result<Listing, KafkaError>>>,
    due: Instant,
    /// What is consumed now.
    current: BTreeSet<String>,
    /// The orders that the broker does not serve, with the reason.
    missing: BTreeMap<String, String>,
    /// The wishes that it does not.
    skipped: BTreeMap<String, String>,
    /// How long the broker was left alone when wishes were last left out.
    patience: Duration,
}

/// What a look at the broker's topics has shown.
pub(crate) enum News {
    /// Nothing new.
    Same,
    /// Other topics are to be consumed.
    Changed(BTreeSet<String>),
    /// The broker does not answer.
    Unreachable(KafkaError),
    /// The broker refuses us.
    Refused(Trouble),
}

/// Reads one item of a `topic` annotation or of the `topics` setting.
pub(crate) fn pattern(item: &str) -> Result<Pattern, String> {
    if item.starts_with('^') {
        let regex = regex_lite::Regex::new(item).map_err(|error| error.to_string())?;
        return Ok(Pattern::Many {
            text: item.into(),
            matches: Arc::new(move |topic| regex.is_match(topic)),
        });
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if item.is_empty() || item.len() > 249 || item == "." || item == ".." {
        return Err("not a Kafka topic: a name has 1 to 249 characters and is not a dot".to_owned());
    }
    if !item.bytes().all(legal) {
        return Err("not a Kafka topic: a name has only letters, digits, dots, dashes and \
                    underscores (a regular expression begins with ^)"
            .to_owned());
    }
    Ok(Pattern::Exact(item.into()))
}

impl Subscription {
    pub(crate) fn new(consumer: Arc<Consumer>, intake: Intake) -> Self {
        // A mistaken order was reported with the settings.
        let orders =
            intake.config().topics.iter().filter_map(|order| pattern(order).ok()).collect();
        Self {
            consumer,
            orders,
            topics: intake.topics(),
            intake,
            job: None,
            due: Instant::now(),
            current: BTreeSet::new(),
            missing: BTreeMap::new(),
            skipped: BTreeMap::new(),
            patience: REFRESH,
        }
    }

    /// What is consumed now.
    pub(crate) fn current(&self) -> &BTreeSet<String> {
        &self.current
    }

    /// Notes what is consumed from now on.
    pub(crate) fn subscribed(&mut self, topics: BTreeSet<String>) {
        self.current = topics;
    }

    /// Waits until it is time to look, because the map has changed, the client complains, or some
    /// time has passed; then looks.
    ///
    /// Cancel-safe: a look that has begun is gone on with.
    pub(crate) async fn next(&mut self) -> News {
        let listener = Arc::clone(self.consumer.context());
        if self.job.is_none() {
            tokio::select! {
                () = tokio::time::sleep_until(self.due) => {}
                () = listener.troubled() => {
                    if let Some(trouble) = listener.trouble().filter(Trouble::is_refusal) {
                        self.due = Instant::now() + AGAIN;
                        return News::Refused(trouble);
                    }
                }
                changed = self.topics.changed() => {
                    if changed.is_err() {
                        // The process ends.
                        return pending().await;
                    }
                }
            }
        }
        let map = Arc::clone(&self.topics.borrow_and_update());
        let wishes: Vec<_> = map.wishes().iter().map(|wish| wish.pattern.clone()).collect();
        let wanted = if self.orders.is_empty() { &wishes } else { &self.orders };
        let job = self.job.get_or_insert_with(|| {
            let names = names(wanted);
            let consumer = Arc::clone(&self.consumer);
            tokio::task::spawn_blocking(move || list(&consumer, names))
        });
        self.due = Instant::now() + AGAIN;
        let listed = tokio::select! {
            biased;
            listed = job => listed,
            // Long before the question itself is given up.
            trouble = listener.refusal() => return News::Refused(trouble),
        };
        self.job = None;
        let listing = match listed {
            Ok(Ok(listing)) => listing,
            Ok(Err(error)) => return News::Unreachable(error),
            Err(panic) => {
                tracing::error!(%panic, "listing the broker's topics failed");
                return News::Same;
            }
        };

        let found = plan(wanted, &listing, &self.letters(&map));
        if self.orders.is_empty() {
            self.due = Instant::now() + self.tell_skipped(found.without);
        } else {
            self.tell_missing(found.without);
            self.due = Instant::now() + if self.missing.is_empty() { REFRESH } else { AGAIN };
        }
        if found.topics == self.current { News::Same } else { News::Changed(found.topics) }
    }

    /// Our own dead-letter topics.
    fn letters(&self, map: &TopicMap) -> BTreeSet<String> {
        let addresses = map.mappings().filter_map(|mapping| mapping.dead_letter.as_ref());
        addresses
            .chain([&self.intake.config().dead_letter])
            .filter_map(|address| match address {
                Address::Broker(topic) => Some(topic.clone()),
                _ => None,
            })
            .collect()
    }

    /// An order that is not served makes the process not ready.
    fn tell_missing(&mut self, missing: BTreeMap<String, String>) {
        for (order, why) in &missing {
            self.intake.conditions().unwell(&subject(order), why, true);
        }
        for order in self.missing.keys().filter(|order| !missing.contains_key(*order)) {
            self.intake.conditions().well(&subject(order));
        }
        self.missing = missing;
    }

    /// A wish may well be meant for another connector. Gives how soon to look again: soon at first,
    /// for access control may be in the middle of being changed, then ever more seldom.
    fn tell_skipped(&mut self, skipped: BTreeMap<String, String>) -> Duration {
        for (wish, why) in skipped.iter().filter(|(wish, _)| !self.skipped.contains_key(*wish)) {
            tracing::info!(topic = wish, why, "not consumed, although a function asks for it");
        }
        for (wish, why) in &skipped {
            self.intake.conditions().aside(&subject(wish), why);
        }
        for wish in self.skipped.keys().filter(|wish| !skipped.contains_key(*wish)) {
            self.intake.conditions().forget(&subject(wish));
        }
        self.patience = if skipped.is_empty() {
            REFRESH
        } else if skipped.keys().eq(self.skipped.keys()) {
            (self.patience * 2).min(REFRESH)
        } else {
            AGAIN
        };
        self.skipped = skipped;
        self.patience
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // The session ends: the next one finds out for itself, and knows nothing of what to take back.
        for topic in self.missing.keys().chain(self.skipped.keys()) {
            self.intake.conditions().forget(&subject(topic));
        }
    }
}

/// The condition that says whether a topic is served.
pub(crate) fn subject(topic: &str) -> Subject {
    Subject(format!("topic {topic}").into())
}

/// The names to ask the broker for; `None`: all topics.
fn names(wanted: &[Pattern]) -> Option<Vec<Arc<str>>> {
    let names: Option<Vec<_>> = wanted
        .iter()
        .map(|pattern| match pattern {
            Pattern::Exact(name) => Some(Arc::clone(name)),
            Pattern::Many { .. } => None,
        })
        .collect();
    // With no name at all, listing the topics still proves that the broker answers.
    names.filter(|names| (1..=ASK_EACH).contains(&names.len()))
}

/// Asks the broker for topics. Blocks for up to ten seconds for each name.
pub(crate) fn list(
    consumer: &Consumer,
    names: Option<Vec<Arc<str>>>,
) -> Result<Listing, KafkaError> {
    let answers = match names {
        None => vec![consumer.fetch_metadata(None, ANSWER)?],
        Some(names) => names
            .iter()
            .map(|name| consumer.fetch_metadata(Some(name), ANSWER))
            .collect::<Result<_, _>>()?,
    };
    let mut listing = Listing::new();
    for topic in answers.iter().flat_map(|answer| answer.topics()) {
        let said = match topic.error().map(RDKafkaErrorCode::from) {
            None => Ok(()),
            Some(code) => Err(code.to_string()),
        };
        listing.insert(topic.name().to_owned(), said);
    }
    Ok(listing)
}

/// What comes of wishes or orders.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    topics: BTreeSet<String>,
    /// What matched nothing that the broker serves, with the reason.
    without: BTreeMap<String, String>,
}

/// Which topics are consumed. A pattern never takes Kafka's internal topics, or `letters`: a
/// connector that consumed its own dead letters would go in circles.
fn plan(wanted: &[Pattern], listing: &Listing, letters: &BTreeSet<String>) -> Plan {
    let mut plan = Plan { topics: BTreeSet::new(), without: BTreeMap::new() };
    for pattern in wanted {
        match pattern {
            Pattern::Exact(name) => match listing.get(&**name) {
                Some(Ok(())) => {
                    plan.topics.insert(name.to_string());
                }
                Some(Err(why)) => {
                    plan.without.insert(name.to_string(), why.clone());
                }
                None => {
                    plan.without.insert(name.to_string(), "the broker does not have it".to_owned());
                }
            },
            Pattern::Many { text, matches } => {
                let mut found = listing
                    .iter()
                    .filter(|(topic, said)| {
                        said.is_ok()
                            && !topic.starts_with("__")
                            && !letters.contains(*topic)
                            && matches(topic)
                    })
                    .map(|(topic, _)| topic.clone())
                    .peekable();
                if found.peek().is_none() {
                    plan.without.insert(text.to_string(), "it matches no topic".to_owned());
                }
                plan.topics.extend(found);
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use connector_core::dead_letter::Letter;
    use connector_core::invoke::{Answer, NoAnswer};
    use connector_core::source::StoreError;
    use connector_core::testing::{Call, Outside, Process, Settings};
    use futures_util::future::BoxFuture;
    use tokio::sync::mpsc;

    use super::*;
    use crate::Kafka;
    use crate::client::Listener;
    use crate::login::Proof;
    use crate::meters::Meters;

    struct Nobody;

    impl Outside for Nobody {
        fn call(&self, _: &str, _: Call) -> BoxFuture<'static, Result<Answer, NoAnswer>> {
            unreachable!("nothing is called")
        }

        fn store(&self, _: &Letter) -> BoxFuture<'static, Result<(), StoreError>> {
            unreachable!("nothing is stored")
        }
    }

    /// A process that is set up so, and a consumer that never reaches a broker.
    fn process(settings: &[(&str, &str)]) -> (Process, Arc<Consumer>) {
        let settings =
            Settings::<Kafka>::of(&[settings, &[("broker_hosts", "127.0.0.1:1")]].concat());
        let outside: Arc<dyn Outside> = Arc::new(Nobody);
        let process = Process::begin::<Kafka>(&settings, &[], &outside);
        let meters = Meters::of(process.intake().metrics());
        let listener =
            Listener::new(mpsc::unbounded_channel().0, mpsc::unbounded_channel().0, meters);
        let consumer = settings.source.consumer(&Proof::Nothing).create_with_context(listener);
        (process, Arc::new(consumer.expect("its settings are good")))
    }

    fn without(topics: &[&str]) -> BTreeMap<String, String> {
        topics.iter().map(|topic| ((*topic).to_owned(), "refused".to_owned())).collect()
    }

    #[tokio::test]
    async fn what_a_session_has_said_of_topics_ends_with_it() {
        let (process, consumer) = process(&[("topics", "orders")]);
        let conditions = process.intake().conditions();
        let session = || Subscription::new(Arc::clone(&consumer), process.intake().clone());

        let mut ends = session();
        ends.tell_missing(without(&["orders"]));
        ends.tell_skipped(without(&["elsewhere"]));
        assert!(conditions.ready().is_err());
        drop(ends);

        session().tell_missing(without(&[]));
        assert_eq!(conditions.ready(), Ok(()), "the next session has found the topic");
        assert_eq!(conditions.state(&subject("elsewhere")), None);
    }

    #[tokio::test]
    async fn what_has_just_been_left_out_is_looked_for_soon_and_then_ever_more_seldom() {
        let (process, consumer) = process(&[]);
        let mut subscription = Subscription::new(consumer, process.intake().clone());
        let mut seconds = |topics| subscription.tell_skipped(without(topics)).as_secs();
        assert_eq!(seconds(&[]), 30);
        assert_eq!([(); 6].map(|()| seconds(&["a"])), [2, 4, 8, 16, 30, 30]);
        assert_eq!(seconds(&["a", "b"]), 2);
        assert_eq!(seconds(&["a"]), 2);
        assert_eq!(seconds(&[]), 30);
    }

    fn listing() -> Listing {
        let refused = Err("Broker: Topic authorization failed".to_owned());
        [
            ("orders", Ok(())),
            ("orders-dead", Ok(())),
            ("__consumer_offsets", Ok(())),
            ("secret", refused),
        ]
        .map(|(name, said)| (name.to_owned(), said))
        .into()
    }

    fn planned(items: &[&str]) -> (Vec<String>, Vec<String>) {
        let wanted: Vec<_> = items.iter().map(|item| pattern(item).unwrap()).collect();
        let plan = plan(&wanted, &listing(), &["orders-dead".to_owned()].into());
        (plan.topics.into_iter().collect(), plan.without.into_keys().collect())
    }

    #[test]
    fn names_are_consumed_as_far_as_the_broker_serves_them() {
        let (topics, without) = planned(&["orders", "secret", "nowhere"]);
        assert_eq!(topics, ["orders"]);
        assert_eq!(without, ["nowhere", "secret"]);
    }

    #[test]
    fn patterns_take_neither_dead_letters_nor_internal_topics() {
        assert_eq!(planned(&["^.*"]).0, ["orders"]);
        assert_eq!(planned(&["^ord"]).0, ["orders"]);
        assert_eq!(planned(&["^none$"]).1, ["^none$"]);
        assert_eq!(planned(&["orders-dead"]).0, ["orders-dead"], "by name it was meant");
    }

    #[test]
    fn what_is_no_topic_is_refused_with_a_reason() {
        for item in ["", ".", "..", "a b", "sensors/+/temp", "orders.>", "^(", &"x".repeat(250)] {
            assert!(pattern(item).is_err(), "{item}");
        }
        for item in ["orders", "user.signup", "a_b-C.9", "^orders[.]"] {
            assert!(pattern(item).is_ok(), "{item}");
        }
    }

    #[test]
    fn a_few_names_are_asked_for_one_by_one() {
        let wanted = |items: &[&str]| items.iter().map(|i| pattern(i).unwrap()).collect::<Vec<_>>();
        assert_eq!(names(&wanted(&["a", "b"])).map(|names| names.len()), Some(2));
        assert_eq!(names(&wanted(&["a", "^b"])), None);
        assert_eq!(names(&wanted(&[])), None);
        assert_eq!(names(&wanted(&["a"; 9])), None);
    }
}
