//! One look at the server: which streams and consumers there are, and what is missing is created.
//!
//! Nothing is served from here; [`super::Consumers`] acts on what was found.

use std::collections::BTreeMap;
use std::fmt;

use async_nats::error::Error;
use async_nats::jetstream::consumer::{DeliverPolicy, Info};
use async_nats::jetstream::context::{ConsumerInfoErrorKind, GetStreamByNameErrorKind};
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use connector_core::conditions::Subject as Condition;
use connector_core::log::Chain;
use futures_util::TryStreamExt as _;
use tracing::info;

use super::Consumers;
use crate::binding::{self, Terms};
use crate::connect::Link;
use crate::letters::Letters;
use crate::meters::Backlog;
use crate::owners::Owner;
use crate::skipped::{self, Skipped};
use crate::subject::{Filter, reduce};

/// What one look at the server found.
#[derive(Default)]
pub(super) struct Look {
    /// What is not as it should be, why, and whether it blocks.
    pub(super) unwell: BTreeMap<Condition, (String, bool)>,
    pub(super) serve: Vec<Found>,
    pub(super) owners: BTreeMap<String, Vec<Owner>>,
}

/// A consumer to serve.
pub(super) struct Found {
    pub(super) terms: Terms,
    pub(super) delivers: Vec<Filter>,
    pub(super) largest: usize,
    pub(super) floor: Floor,
    pub(super) backlog: Backlog,
    pub(super) skipped: Option<Skipped>,
}

/// Up to which message all had been acknowledged, by whomever. A consumer that we have created and
/// that is deleted under us begins again behind that: later messages may be under way at another
/// replica, or wait at the server for their next attempt.
pub(super) struct Floor {
    sequence: u64,
    /// When the stream was created, in nanoseconds since 1970: one that was deleted and created
    /// again counts from one.
    stream: i128,
}

impl Consumers {
    /// What is wanted: what `topics` orders, or else what annotations wish for.
    fn wanted(&self) -> (Vec<Filter>, bool) {
        if !self.config.orders.is_empty() {
            return (reduce(self.config.orders.iter().cloned()), true);
        }
        let map = self.intake.topics().borrow().clone();
        let wishes = map.wishes().iter().filter_map(|wish| Filter::parse(&wish.item).ok());
        (reduce(wishes), false)
    }

    /// Looks at the server: which streams and consumers there are, and creates what is missing.
    pub(super) async fn look(&self) -> Look {
        let (wanted, ordered) = self.wanted();
        let mut look = Look::default();
        let mut streams: BTreeMap<String, Vec<Filter>> = BTreeMap::new();
        match &self.jetstream.stream {
            Some(stream) => drop(streams.insert(stream.clone(), wanted)),
            None => {
                for filter in wanted {
                    match self.ask(self.context.stream_by_subject(filter.as_str())).await {
                        Ok(stream) => streams.entry(stream).or_default().push(filter),
                        Err(error) => {
                            let is_none = error.is(GetStreamByNameErrorKind::NotFound);
                            let why =
                                if is_none { "no stream keeps it".to_owned() } else { error.why() };
                            look.unwell.insert(topic(&filter), (why, ordered));
                        }
                    }
                }
            }
        }
        for (name, wanted) in streams {
            match self.ask(self.context.get_stream(&name)).await {
                Ok(stream) => Box::pin(self.look_at(&stream, wanted, ordered, &mut look)).await,
                Err(error) => {
                    let condition = Condition(format!("stream {name}").into());
                    look.unwell.insert(condition, (error.why(), true));
                }
            }
        }
        look
    }

    async fn look_at(&self, stream: &Stream, wanted: Vec<Filter>, ordered: bool, look: &mut Look) {
        let name = &stream.cached_info().config.name;
        let key = (name.clone(), self.jetstream.durable.clone());
        let condition = binding::condition(&key.0, &key.1);
        match self.ask(stream.consumer_info(&key.1)).await {
            Ok(info) => match self.terms(&info, stream) {
                Ok((terms, delivers)) => {
                    for filter in wanted.iter().filter(|it| ordered && !terms.overlaps(it)) {
                        let why = format!("the consumer {} does not deliver it", key.1);
                        look.unwell.insert(topic(filter), (why, true));
                    }
                    if terms.max_deliver.is_some() {
                        self.look_for_skipped(stream, &terms, &delivers, look).await;
                    }
                    look.serve.push(self.found(&info, terms, delivers, stream));
                }
                Err(why) => {
                    drop(look.unwell.insert(condition, (format!("refused: it {why}"), true)))
                }
            },
            Err(error) if !error.is(ConsumerInfoErrorKind::NotFound) => {
                look.unwell.insert(condition, (error.why(), true));
            }
            Err(_) if self.jetstream.bind || self.bound.contains(&key) => {
                look.unwell.insert(condition, ("there is no such consumer".to_owned(), true));
            }
            Err(_) => self.look_at_ours(stream, wanted, ordered, look).await,
        }
    }

    /// Sees to it that what the consumer's delivery limit skips is found.
    async fn look_for_skipped(
        &self,
        stream: &Stream,
        of: &Terms,
        delivers: &[Filter],
        look: &mut Look,
    ) {
        let replicas = stream.cached_info().config.num_replicas;
        let advisories = skipped::advisories(&self.context, of, replicas);
        let found = self.link.refusals.unless(is_request, advisories).await.flatten();
        match found.and_then(|info| Ok((Terms::of(&info)?, info))) {
            Ok((terms, info)) => look.serve.push(Found {
                skipped: Some(Skipped { stream: stream.clone() }),
                ..self.found(&info, terms, delivers.to_vec(), stream)
            }),
            Err(why) => {
                let condition =
                    Condition(format!("delivery limit of {}/{}", of.stream, of.consumer).into());
                let why = format!("what a crash makes the server skip would not be found: {why}");
                look.unwell.insert(condition, (why, false));
            }
        }
    }

    /// The consumers that we created, and those that we create now.
    async fn look_at_ours(
        &self,
        stream: &Stream,
        wanted: Vec<Filter>,
        ordered: bool,
        look: &mut Look,
    ) {
        let name = &stream.cached_info().config.name;
        let mut ours = match self.ours(stream).await {
            Ok(ours) => ours,
            Err(why) => {
                look.unwell.insert(Condition(format!("stream {name}").into()), (why, true));
                return;
            }
        };
        let subjects = subjects(stream);
        for filter in wanted {
            if ours.iter().any(|(there, _)| there.covers(&filter)) {
                continue;
            }
            if !subjects.iter().any(|subject| subject.overlaps(&filter)) {
                let why = format!("the stream {name} does not keep it");
                look.unwell.insert(topic(&filter), (why, ordered));
                continue;
            }
            match self.create(stream, &filter).await {
                Ok(info) => ours.push((filter, info)),
                Err(why) => drop(look.unwell.insert(topic(&filter), (why, ordered))),
            }
        }
        let mut owners = Vec::new();
        for (filter, info) in ours {
            match self.terms(&info, stream) {
                Ok((terms, delivers)) => {
                    look.serve.push(self.found(&info, terms, delivers, stream));
                    owners.push(Owner {
                        created: info.created.unix_timestamp_nanos(),
                        name: info.name,
                        filter,
                    });
                }
                Err(why) => {
                    drop(look.unwell.insert(topic(&filter), (format!("the consumer {why}"), true)))
                }
            }
        }
        owners.sort();
        look.owners.insert(name.clone(), owners);
    }

    async fn ours(&self, stream: &Stream) -> Result<Vec<(Filter, Info)>, String> {
        let all: Vec<Info> =
            self.ask(stream.consumers().try_collect()).await.map_err(|error| error.why())?;
        let ours = |info: Info| Some((binding::is_created(&self.jetstream.durable, &info)?, info));
        Ok(all.into_iter().filter_map(ours).collect())
    }

    async fn create(&self, stream: &Stream, filter: &Filter) -> Result<Info, String> {
        let name = binding::name(&self.jetstream.durable, filter);
        let key = (stream.cached_info().config.name.clone(), name);
        let floor = self.floors.get(&key).filter(|floor| floor.stream == born(stream));
        let from = match (floor, self.jetstream.from_new) {
            (Some(floor), _) => {
                DeliverPolicy::ByStartSequence { start_sequence: floor.sequence + 1 }
            }
            (None, true) => DeliverPolicy::New,
            (None, false) => DeliverPolicy::All,
        };
        let config = binding::created(&self.jetstream.durable, filter, from);
        let made = self.ask(stream.create_consumer_strict(config)).await;
        let made = made.map_err(|error| error.why())?;
        info!(stream = key.0, consumer = key.1, subject = %filter, ?from, "consumer created");
        Ok(made.cached_info().clone())
    }

    /// Asks the server, with an ear on what it refuses.
    async fn ask<T, K: Reason>(
        &self,
        asked: impl Future<Output = Result<T, Error<K>>>,
    ) -> Result<T, Unanswered<K>> {
        match self.link.refusals.unless(is_request, asked).await {
            Ok(answer) => answer.map_err(Unanswered::Failed),
            Err(words) => Err(Unanswered::Refused(words)),
        }
    }

    fn found(&self, info: &Info, terms: Terms, delivers: Vec<Filter>, stream: &Stream) -> Found {
        Found {
            terms,
            delivers,
            largest: largest(stream, &self.link),
            floor: Floor { sequence: info.ack_floor.stream_sequence, stream: born(stream) },
            backlog: Backlog {
                waiting: info.num_pending,
                lent: info.num_ack_pending,
                // Zero: none is deleted by age.
                retention: Some(stream.cached_info().config.max_age).filter(|age| !age.is_zero()),
            },
            skipped: None,
        }
    }

    /// What the consumer promises and delivers, if it can be served.
    fn terms(&self, info: &Info, stream: &Stream) -> Result<(Terms, Vec<Filter>), String> {
        let terms = Terms::of(info)?;
        let delivers =
            if terms.filters.is_empty() { subjects(stream) } else { terms.filters.clone() };
        if stream.cached_info().config.retention != RetentionPolicy::Limits
            && let Some(letters) = self.letters_within(&delivers)
        {
            return Err(format!(
                "would receive the dead letters to {letters}, and the stream forgets what it is told is done"
            ));
        }
        Ok((terms, delivers))
    }

    /// A dead-letter subject of ours that lies within what is delivered.
    fn letters_within(&self, delivers: &[Filter]) -> Option<String> {
        let letters = Letters::new(&self.intake);
        let mut subjects = letters.subjects();
        subjects
            .find(|to| delivers.iter().any(|it| it.is_wild() && it.matches(to)))
            .map(str::to_owned)
    }
}

/// Why the server has not said what it was asked for.
enum Unanswered<K: Reason> {
    /// It does not permit the question.
    Refused(String),
    Failed(Error<K>),
}

/// What the client library tells its errors apart by.
trait Reason: Clone + fmt::Debug + fmt::Display + PartialEq + 'static {}

impl<K: Clone + fmt::Debug + fmt::Display + PartialEq + 'static> Reason for K {}

impl<K: Reason> Unanswered<K> {
    fn is(&self, kind: K) -> bool {
        matches!(self, Self::Failed(error) if error.kind() == kind)
    }

    fn why(&self) -> String {
        match self {
            Self::Refused(words) => words.clone(),
            Self::Failed(error) => Chain(error).to_string(),
        }
    }
}

/// Whether a look asks on this subject: lanes ask for messages on others of the same kind.
fn is_request(subject: &str) -> bool {
    subject.starts_with("$JS.API.") && !subject.starts_with("$JS.API.CONSUMER.MSG.NEXT.")
}

fn topic(filter: &Filter) -> Condition {
    Condition(format!("topic {filter}").into())
}

/// When a stream was created, in nanoseconds since 1970.
fn born(stream: &Stream) -> i128 {
    stream.cached_info().created.unix_timestamp_nanos()
}

fn subjects(stream: &Stream) -> Vec<Filter> {
    let subjects = &stream.cached_info().config.subjects;
    subjects.iter().filter_map(|text| Filter::parse(text).ok()).collect()
}

/// The largest message, headers included, that the stream can deliver to us.
fn largest(stream: &Stream, link: &Link) -> usize {
    let of_server = link.client.max_payload().max(1024 * 1024);
    let of_stream = usize::try_from(stream.cached_info().config.max_message_size).ok();
    of_stream.filter(|most| *most > 0).unwrap_or(of_server).clamp(64 * 1024, of_server)
}
