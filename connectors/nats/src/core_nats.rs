//! Core NATS: queue subscriptions, and answers to requests.
//!
//! The broker keeps nothing, so a message is called at most once. One that there is no room for,
//! because the window is full or the buffer is, gives way to those that came before it, and is
//! counted. What is subscribed to follows the topic map: nothing that nobody is mapped to, as it
//! could not be held.
//!
//! A message with a reply subject is a request when exactly one function is mapped to its subject.
//! The function is then called synchronously, whatever the settings say, and its answer sent back;
//! an error in the way that NATS services do it: in the headers `Nats-Service-Error-Code` and
//! `Nats-Service-Error`.

mod overflow;
mod subscription;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use connector_core::Intake;
use connector_core::conditions::Subject as Condition;
use connector_core::settings::UnmatchedPolicy;
use connector_core::source::SourceError;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::NatsConfig;
use crate::connect::{Link, round_trip};
use crate::meters::{Lost, Meters};
use crate::refusals::{Kind, Refusal};
use crate::seldom::Seldom;
use crate::subject::{Filter, reduce};
use overflow::{Overflow, Taken};
use subscription::Subscription;

/// Whether what the functions asked for at first has been subscribed to.
const SUBSCRIPTIONS: Condition = Condition::new("subscriptions");

/// All subscriptions of one connection.
pub(crate) struct Subscriptions {
    config: Arc<NatsConfig>,
    intake: Intake,
    link: Link,
    meters: Arc<Meters>,
    open: BTreeMap<Filter, CancellationToken>,
    /// What the server refuses, and why.
    refused: BTreeMap<Filter, Refused>,
    tasks: JoinSet<Filter>,
    taken: Taken,
    overflow: Overflow,
    losses: Seldom,
    complaints: Seldom,
}

/// A subscription that the server has refused.
struct Refused {
    why: String,
    /// It has been asked for again, and no new refusal has come yet.
    tried: bool,
}

impl Subscriptions {
    pub(crate) fn new(config: Arc<NatsConfig>, intake: Intake, link: Link) -> Self {
        // What is published to nobody is lost, so the process is not ready before it listens.
        intake.conditions().expect(&SUBSCRIPTIONS);
        let taken = Taken::default();
        Self {
            meters: Meters::of(intake.metrics()),
            overflow: Overflow::new(&link.client, taken.clone()),
            taken,
            config,
            intake,
            link,
            open: BTreeMap::new(),
            refused: BTreeMap::new(),
            tasks: JoinSet::new(),
            losses: Seldom::default(),
            complaints: Seldom::default(),
        }
    }

    /// Subscribes as the map asks for, until draining begins.
    pub(crate) async fn run(mut self) -> Result<(), SourceError> {
        let (mut topics, mut listings) = (self.intake.topics(), self.intake.listings());
        loop {
            topics.mark_unchanged();
            self.follow().await?;
            self.intake.conditions().well(&SUBSCRIPTIONS);
            tokio::select! {
                biased;
                () = self.intake.draining() => break,
                changed = topics.changed() => if changed.is_err() { break },
                changed = listings.changed() => {
                    if changed.is_err() { break }
                    self.try_again();
                }
                Some(what) = self.link.complaints.recv() => self.complaint(&what),
                Some(ended) = self.tasks.join_next() => self.ended(ended)?,
                changed = self.link.overflows.changed() => {
                    if changed.is_err() { break }
                    self.overflow.reported();
                }
                dropped = self.overflow.more() => if dropped > 0 {
                    self.meters.lost(Lost::Full, dropped);
                    tell_lost(&mut self.losses, "the connection's buffer", dropped);
                },
            }
        }
        self.leave().await;
        Ok(())
    }

    /// Makes what is subscribed to what is wanted.
    ///
    /// A subject may pass from one filter to another that covers it. So that no message falls
    /// between the two, the old one ends only when the server is known to have the new one.
    async fn follow(&mut self) -> Result<(), SourceError> {
        let mut wanted = self.wanted();
        wanted.retain(|filter| self.refused.get(filter).is_none_or(|refused| refused.tried));
        let new: Vec<Filter> =
            wanted.iter().filter(|it| !self.open.contains_key(*it)).cloned().collect();
        let gone: Vec<Filter> =
            self.open.keys().filter(|it| !wanted.contains(*it)).cloned().collect();
        if !new.is_empty() {
            for filter in &new {
                self.subscribe(filter.clone()).await?;
            }
            tokio::select! {
                () = round_trip(&self.link.client) => {}
                () = self.intake.draining() => return Ok(()),
            }
            for filter in new.iter().filter(|it| !self.refused.contains_key(*it)) {
                info!(subject = %filter, "subscribed");
            }
        }
        for filter in gone {
            if let Some(stop) = self.open.remove(&filter) {
                if !self.refused.contains_key(&filter) {
                    info!(subject = %filter, "no longer subscribed");
                }
                stop.cancel();
            }
        }
        self.show();
        Ok(())
    }

    /// What `topics` orders, or else what annotations wish for, as far as it is mapped.
    fn wanted(&self) -> BTreeSet<Filter> {
        let map = self.intake.topics().borrow().clone();
        let wishes: Vec<Filter> =
            map.wishes().iter().filter_map(|wish| Filter::parse(&wish.item).ok()).collect();
        if self.config.orders.is_empty() {
            return reduce(wishes).into_iter().collect();
        }
        let holds = self.intake.config().unmatched == UnmatchedPolicy::Hold;
        let mapped = |order: &Filter| wishes.iter().any(|wish| wish.overlaps(order));
        let orders = reduce(self.config.orders.iter().cloned());
        orders.into_iter().filter(|order| !holds || mapped(order)).collect()
    }

    async fn subscribe(&mut self, filter: Filter) -> Result<(), SourceError> {
        let (subject, group) = (filter.as_str().to_owned(), self.config.queue_group.clone());
        let subscriber = self.link.client.queue_subscribe(subject, group).await;
        let subscriber = subscriber.map_err(|error| SourceError::Broken(error.to_string()))?;
        let (client, meters) = (self.link.client.clone(), Arc::clone(&self.meters));
        let subscription =
            Subscription::new(filter.clone(), &self.intake, client, meters, self.taken.clone());
        let stop = CancellationToken::new();
        self.open.insert(filter.clone(), stop.clone());
        self.tasks.spawn(async move {
            subscription.run(subscriber, stop).await;
            filter
        });
        Ok(())
    }

    /// Learns from the server's own words which subscription it refuses.
    fn complaint(&mut self, what: &str) {
        if let Some(Refusal { kind: Kind::Subscription, subject, .. }) = Refusal::read(what)
            && let Some(filter) = self.open.keys().find(|filter| filter.as_str() == subject)
        {
            self.refused.insert(filter.clone(), Refused { why: what.to_owned(), tried: false });
        } else if let Some(times) = self.complaints.due(1) {
            warn!(times, "the server says: {what}");
        }
    }

    /// At each listing: asks again for what was refused. What was asked for at the listing before
    /// and not refused since has been granted.
    fn try_again(&mut self) {
        let intake = &self.intake;
        self.refused.retain(|filter, refused| {
            if refused.tried {
                intake.conditions().well(&condition(filter));
            }
            !std::mem::replace(&mut refused.tried, true)
        });
    }

    /// Shows in the conditions what is refused. A wish may belong to another connector, so it does
    /// not keep the process from being ready.
    fn show(&self) {
        let ordered = !self.config.orders.is_empty();
        for (filter, refused) in &self.refused {
            self.intake.conditions().unwell(&condition(filter), &refused.why, ordered);
        }
    }

    fn ended(&mut self, ended: Result<Filter, JoinError>) -> Result<(), SourceError> {
        match ended {
            // One that was stopped is no longer open, or open anew.
            Ok(_) => Ok(()),
            Err(error) => Err(SourceError::Broken(format!("a subscription failed: {error}"))),
        }
    }

    /// Lets running calls end and sends their answers.
    async fn leave(mut self) {
        for stop in self.open.values() {
            stop.cancel();
        }
        while self.tasks.join_next().await.is_some() {}
        // The last answers are with the server once it has answered a question asked after them.
        round_trip(&self.link.client).await;
    }
}

fn condition(filter: &Filter) -> Condition {
    Condition(format!("subscription to {filter}").into())
}

/// Tells of lost messages, but not of each.
fn tell_lost(seldom: &mut Seldom, at: &str, messages: u64) {
    if let Some(messages) = seldom.due(messages) {
        warn!(at, messages, "dropped: no room for more messages");
    }
}
