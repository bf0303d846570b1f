//! JetStream: which consumers are served, and which are created.
//!
//! Where the consumer named by `durable` exists it is bound: served as it is, or refused with the
//! reason. Otherwise each topic gets a consumer of its own, so that one that nobody is mapped to
//! waits without the others. Created ones are never changed or deleted either: their positions are
//! what makes a function that comes back find what it missed. Several may bring the same message;
//! who of them calls whom is [`crate::owners`]' affair.

mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use connector_core::Intake;
use connector_core::conditions::Subject as Condition;
use connector_core::source::SourceError;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::binding::{Terms, condition};
use crate::config::{JetStreamConfig, NatsConfig};
use crate::confirmed::Teller;
use crate::connect::{Link, PATIENCE, round_trip};
use crate::lane::{Ended, Served};
use crate::meters::Meters;
use crate::owners::{Owners, Share};
use crate::refusals::Refusal;
use crate::seldom::Seldom;
use crate::settle::Settler;
use crate::subject::Filter;
use look::{Floor, Found, Look};

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
    open: BTreeMap<Key, Open>,
    /// Ours on each stream.
    owners: BTreeMap<String, watch::Sender<Owners>>,
    /// What a bound consumer has beside it.
    no_owners: watch::Sender<Owners>,
    /// How far each consumer was at the last look.
    floors: BTreeMap<Key, Floor>,
    /// Consumers that were bound: when they vanish, none is created in their place.
    bound: BTreeSet<Key>,
    /// What conditions there are beside those of the lanes.
    shown: BTreeMap<Condition, (String, bool)>,
    tasks: JoinSet<(Key, Ended)>,
}

/// A stream and a consumer.
type Key = (String, String);

/// A lane, and the consumer as it was when the lane was opened.
struct Open {
    terms: Terms,
    delivers: Vec<Filter>,
    stop: CancellationToken,
}

impl Consumers {
    /// Serves nothing yet.
    ///
    /// # Errors
    /// The connection was closed.
    pub(crate) async fn new(
        config: Arc<NatsConfig>,
        intake: Intake,
        link: Link,
    ) -> Result<Self, SourceError> {
        let jetstream = config.jetstream.clone().expect("JetStream was asked for");
        let mut context = jetstream::new(link.client.clone());
        context.set_timeout(PATIENCE);
        let settler = Settler {
            client: link.client.clone(),
            teller: Teller::new(&link.client).await?,
            watched: link.watched.clone(),
            refusals: link.refusals.clone(),
            conditions: intake.conditions().clone(),
            meters: Meters::of(intake.metrics()),
        };
        Ok(Self {
            config,
            jetstream,
            intake,
            context,
            settler,
            link,
            open: BTreeMap::new(),
            owners: BTreeMap::new(),
            no_owners: watch::Sender::new(Arc::new([])),
            floors: BTreeMap::new(),
            bound: BTreeSet::new(),
            shown: BTreeMap::new(),
            tasks: JoinSet::new(),
        })
    }

    /// Serves what there is to serve, until draining begins.
    pub(crate) async fn run(mut self) -> Result<(), SourceError> {
        let (mut topics, mut listings) = (self.intake.topics(), self.intake.listings());
        let mut watched = self.link.watched.clone();
        let intake = self.intake.clone();
        let (mut due, mut looked, mut seen) = (true, Instant::now(), None);
        let mut complaints = Seldom::default();
        loop {
            if due && self.link.watched.is_up() {
                topics.mark_unchanged();
                let look = tokio::select! {
                    biased;
                    () = intake.draining() => break,
                    look = async {
                        self.listen_again().await;
                        Box::pin(self.look()).await
                    } => look,
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
                connection = watched.other_than(seen) => (due, seen) = (true, Some(connection)),
                Some(what) = self.link.complaints.recv() => {
                    // Whoever asked for what was refused has heard it.
                    if Refusal::read(&what).is_none() && complaints.due(1).is_some() {
                        tracing::warn!("the server says: {what}");
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

    /// Where no answers were permitted: asks whether they are now. The library subscribes to them
    /// once for each connection, so it takes another connection to receive any.
    async fn listen_again(&self) {
        if !self.link.refusals.is_deaf() {
            return;
        }
        self.link.refusals.forget();
        round_trip(&self.link.client).await;
        if !self.link.refusals.is_deaf() {
            // It fails only when the client is closed, which is noticed elsewhere.
            drop(self.link.client.force_reconnect().await);
        }
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
        for Found { terms, delivers, largest, floor, backlog, skipped } in look.serve {
            let key = (terms.stream.clone(), terms.consumer.clone());
            self.floors.insert(key.clone(), floor);
            self.settler.meters.backlog(&terms, backlog);
            if let Some(open) = self.open.get(&key) {
                if (&open.terms, &open.delivers) != (&terms, &delivers) && !open.stop.is_cancelled()
                {
                    info!(stream = key.0, consumer = key.1, "changed: to be served as it is now");
                    open.stop.cancel();
                }
                continue;
            }
            let stop = CancellationToken::new();
            let open =
                Open { terms: terms.clone(), delivers: delivers.clone(), stop: stop.clone() };
            self.open.insert(key.clone(), open);
            if key.1 == self.jetstream.durable {
                self.bound.insert(key.clone());
            }
            let owners = match self.owners.get(&key.0) {
                Some(owners) if skipped.is_none() && key.1 != self.jetstream.durable => {
                    owners.subscribe()
                }
                _ => self.no_owners.subscribe(),
            };
            let share = Share::new(&key.1, !self.config.orders.is_empty(), &self.intake, owners);
            info!(stream = key.0, consumer = key.1, "serving");
            let served = Served {
                intake: self.intake.clone(),
                settler: self.settler.clone(),
                terms,
                delivers,
                share: Arc::new(share),
                largest,
                skipped,
                stop,
            };
            self.tasks.spawn(async move { (key, served.run().await) });
        }
    }

    fn ended(&mut self, key: Key, ended: Ended) {
        if let Some(Open { terms, .. }) = self.open.remove(&key) {
            self.settler.meters.gone(&terms);
            // What the last look found stays: it has nothing to do with the lane.
            let condition = condition(&terms.stream, &terms.consumer);
            if !self.shown.contains_key(&condition) {
                self.intake.conditions().forget(&condition);
            }
        }
        if let Ended::Gone(why) = ended {
            tracing::warn!(stream = key.0, consumer = key.1, why, "the consumer is gone");
        }
    }
}
