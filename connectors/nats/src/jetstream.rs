//! JetStream: which consumers are served, and which are created.
//!
//! Where the consumer named by `durable` exists it is bound: served as it is, or refused with the
//! reason. Otherwise each topic gets a consumer of its own, so that one that nobody is mapped to
//! waits without the others. Created ones are never changed or deleted either: their positions are
//! what makes a function that comes back find what it missed. Several may bring the same message;
//! the oldest handles it ([`crate::lane::Owners`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, Info};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use async_nats::jetstream::{self, Context};
use connector_core::Intake;
use connector_core::conditions::Subject as Condition;
use connector_core::log::Chain;
use connector_core::source::SourceError;
use futures_util::TryStreamExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::info;

use crate::binding::{self, Terms};
use crate::config::{JetStreamConfig, NatsConfig};
use crate::connect::{Link, PATIENCE};
use crate::lane::{Ended, Owner, Served};
use crate::letters::Letters;
use crate::meters::Meters;
use crate::settle::Settler;
use crate::skipped::{self, Skipped};
use crate::subject::{Filter, reduce};

/// The server is asked anew after so long even when nothing seems to have changed.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// All consumers of one connection.
pub(crate) struct Consumers {
    config: Arc<NatsConfig>,
    jetstream: JetStreamConfig,
    intake: Intake,
    link: Link,
    context: Context,
    settler: Settler,
    /// What is served now.
    open: BTreeMap<Key, ()>,
    /// Ours on each stream.
    owners: BTreeMap<String, watch::Sender<Arc<[Owner]>>>,
    /// Where a consumer that was deleted under us would have to begin again.
    resume: BTreeMap<Key, u64>,
    /// Consumers that were bound: when they vanish, none is created in their place.
    bound: BTreeMap<Key, ()>,
    /// What conditions there are beside those of the lanes.
    shown: BTreeMap<Condition, (String, bool)>,
    tasks: JoinSet<(Key, Ended)>,
}

/// A stream and a consumer.
type Key = (String, String);

/// What one look at the server found.
#[derive(Default)]
struct Look {
    /// What is not as it should be, why, and whether it blocks.
    unwell: BTreeMap<Condition, (String, bool)>,
    serve: Vec<Found>,
    owners: BTreeMap<String, Vec<Owner>>,
}

/// A consumer to serve.
struct Found {
    terms: Terms,
    delivers: Vec<Filter>,
    largest: usize,
    skipped: Option<Skipped>,
}

impl Consumers {
    pub(crate) fn new(config: Arc<NatsConfig>, intake: Intake, link: Link) -> Self {
        let jetstream = config.jetstream.clone().expect("JetStream was asked for");
        let mut context = jetstream::new(link.client.clone());
        context.set_timeout(PATIENCE);
        let settler = Settler {
            client: link.client.clone(),
            watched: link.watched.clone(),
            meters: Meters::of(intake.metrics()),
        };
        Self {
            config,
            jetstream,
            intake,
            context,
            settler,
            link,
            open: BTreeMap::new(),
            owners: BTreeMap::new(),
            resume: BTreeMap::new(),
            bound: BTreeMap::new(),
            shown: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Serves what there is to serve, until draining begins.
    pub(crate) async fn run(mut self) -> Result<(), SourceError> {
        let (mut topics, mut listings) = (self.intake.topics(), self.intake.listings());
        let mut watched = self.link.watched.clone();
        let intake = self.intake.clone();
        let (mut due, mut looked) = (true, Instant::now());
        let mut said = String::new();
        loop {
            if due && self.link.watched.is_up() {
                topics.mark_unchanged();
                let look = tokio::select! {
                    biased;
                    () = intake.draining() => break,
                    look = self.look() => look,
                };
                self.follow(look);
                (due, looked) = (false, Instant::now());
            }
            tokio::select! {
                biased;
                () = intake.draining() => break,
                changed = topics.changed() => {
                    if changed.is_err() { break }
                    due = true;
                }
                // What was refused or unknown is asked for again.
                changed = listings.changed() => {
                    if changed.is_err() { break }
                    due |= !self.shown.is_empty() || looked.elapsed() >= LOOK_AGAIN;
                }
                () = watched.renewed() => due = true,
                Some(what) = self.link.complaints.recv() => {
                    // A look that is refused is refused the same way each time.
                    if what != said {
                        tracing::warn!("the server says: {what}");
                        said = what;
                    }
                }
                Some(ended) = self.tasks.join_next() => {
                    let (key, ended) = ended
                        .map_err(|error| SourceError::Broken(format!("a lane failed: {error}")))?;
                    self.ended(key, ended);
                    due = true;
                }
            }
        }
        while self.tasks.join_next().await.is_some() {}
        Ok(())
    }

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
    async fn look(&self) -> Look {
        let (wanted, ordered) = self.wanted();
        let mut look = Look::default();
        let mut streams: BTreeMap<String, Vec<Filter>> = BTreeMap::new();
        match &self.jetstream.stream {
            Some(stream) => drop(streams.insert(stream.clone(), wanted)),
            None => {
                for filter in wanted {
                    let found = self.context.stream_by_subject(filter.as_str()).await;
                    match found {
                        Ok(stream) => streams.entry(stream).or_default().push(filter),
                        Err(error) => {
                            let why = format!("no stream keeps it: {}", Chain(&error));
                            look.unwell.insert(topic(&filter), (why, ordered));
                        }
                    }
                }
            }
        }
        for (name, wanted) in streams {
            match self.context.get_stream(&name).await {
                Ok(stream) => self.look_at(&stream, wanted, ordered, &mut look).await,
                Err(error) => {
                    let why = Chain(&error).to_string();
                    look.unwell.insert(Condition(format!("stream {name}").into()), (why, true));
                }
            }
        }
        look
    }

    async fn look_at(&self, stream: &Stream, wanted: Vec<Filter>, ordered: bool, look: &mut Look) {
        let name = &stream.cached_info().config.name;
        let key = (name.clone(), self.jetstream.durable.clone());
        let condition = Condition(format!("consumer {}/{}", key.0, key.1).into());
        match stream.consumer_info(&key.1).await {
            Ok(info) => match self.terms(&info, stream) {
                Ok((terms, delivers)) => {
                    for filter in wanted.iter().filter(|it| ordered && !terms.overlaps(it)) {
                        let why = format!("the consumer {} does not deliver it", key.1);
                        look.unwell.insert(topic(filter), (why, true));
                    }
                    if terms.max_deliver.is_some() {
                        self.look_for_skipped(stream, &terms, &delivers, look).await;
                    }
                    let largest = largest(stream, &self.link);
                    look.serve.push(Found { terms, delivers, largest, skipped: None });
                }
                Err(why) => {
                    drop(look.unwell.insert(condition, (format!("refused: it {why}"), true)))
                }
            },
            Err(error) if error.kind() != ConsumerInfoErrorKind::NotFound => {
                look.unwell.insert(condition, (Chain(&error).to_string(), true));
            }
            Err(_) if self.jetstream.bind || self.bound.contains_key(&key) => {
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
        let found = skipped::advisories(&self.context, of, replicas).await;
        match found.and_then(|info| Terms::of(&info)) {
            Ok(terms) => look.serve.push(Found {
                terms,
                delivers: delivers.to_vec(),
                largest: largest(stream, &self.link),
                skipped: Some(Skipped { stream: stream.clone() }),
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
                    owners.push(Owner { created: terms.created, name: info.name, filter });
                    let largest = largest(stream, &self.link);
                    look.serve.push(Found { terms, delivers, largest, skipped: None });
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
            stream.consumers().try_collect().await.map_err(|error| Chain(&error).to_string())?;
        let ours = |info: Info| Some((binding::is_created(&self.jetstream.durable, &info)?, info));
        Ok(all.into_iter().filter_map(ours).collect())
    }

    async fn create(&self, stream: &Stream, filter: &Filter) -> Result<Info, String> {
        let name = binding::name(&self.jetstream.durable, filter);
        let key = (stream.cached_info().config.name.clone(), name);
        let from = match (self.resume.get(&key), self.jetstream.from_new) {
            (Some(sequence), _) => DeliverPolicy::ByStartSequence { start_sequence: *sequence },
            (None, true) => DeliverPolicy::New,
            (None, false) => DeliverPolicy::All,
        };
        let config = binding::created(&self.jetstream.durable, filter, from);
        let made = stream.create_consumer_strict(config).await;
        let made = made.map_err(|error| Chain(&error).to_string())?;
        info!(stream = key.0, consumer = key.1, subject = %filter, ?from, "consumer created");
        Ok(made.cached_info().clone())
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

    /// Makes what is served what was found.
    fn follow(&mut self, look: Look) {
        let conditions = self.intake.conditions();
        for gone in self.shown.keys().filter(|it| !look.unwell.contains_key(*it)) {
            conditions.forget(gone);
        }
        for (condition, (why, blocks)) in &look.unwell {
            conditions.unwell(condition, why, *blocks);
        }
        self.shown = look.unwell;
        for (stream, owners) in look.owners {
            let known =
                self.owners.entry(stream).or_insert_with(|| watch::Sender::new(Arc::new([])));
            known.send_replace(owners.into());
        }
        for Found { terms, delivers, largest, skipped } in look.serve {
            let key = (terms.stream.clone(), terms.consumer.clone());
            if self.open.insert(key.clone(), ()).is_some() {
                continue;
            }
            if key.1 == self.jetstream.durable {
                self.bound.insert(key.clone(), ());
            }
            let owners = match self.owners.get(&key.0) {
                Some(owners) if skipped.is_none() && key.1 != self.jetstream.durable => {
                    owners.subscribe()
                }
                _ => watch::Sender::new(Arc::from([])).subscribe(),
            };
            info!(stream = key.0, consumer = key.1, "serving");
            let served = Served {
                intake: self.intake.clone(),
                settler: self.settler.clone(),
                terms,
                delivers,
                owners,
                largest,
                skipped,
            };
            self.tasks.spawn(async move { (key, served.run().await) });
        }
    }

    fn ended(&mut self, key: Key, ended: Ended) {
        self.open.remove(&key);
        if let Ended::Gone { why, resume } = ended {
            tracing::warn!(stream = key.0, consumer = key.1, why, "the consumer is gone");
            if let Some(sequence) = resume {
                self.resume.insert(key, sequence);
            }
        }
    }
}

fn topic(filter: &Filter) -> Condition {
    Condition(format!("topic {filter}").into())
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
