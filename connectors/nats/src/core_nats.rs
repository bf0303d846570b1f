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

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::HeaderValue;
use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use connector_core::conditions::Subject as Condition;
use connector_core::lane::{Reply, Unmatched};
use connector_core::settings::UnmatchedPolicy;
use connector_core::source::SourceError;
use connector_core::{AnyOrder, Intake, Lane, LaneOptions, Pending, Settled, Verdict};
use futures_util::StreamExt as _;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::NatsConfig;
use crate::connect::{Link, round_trip};
use crate::letters::Letters;
use crate::message::passing;
use crate::meters::{Lost, Meters};
use crate::subject::{Filter, reduce};

/// Lost messages are told about at most this often.
const TELL: Duration = Duration::from_secs(60);

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
    overflowed: u64,
}

/// A subscription that the server has refused.
struct Refused {
    why: String,
    /// It has been asked for again, and no new refusal has come yet.
    tried: bool,
}

impl Subscriptions {
    pub(crate) fn new(config: Arc<NatsConfig>, intake: Intake, link: Link) -> Self {
        Self {
            meters: Meters::of(intake.metrics()),
            config,
            intake,
            link,
            open: BTreeMap::new(),
            refused: BTreeMap::new(),
            tasks: JoinSet::new(),
            overflowed: 0,
        }
    }

    /// Subscribes as the map asks for, until draining begins.
    pub(crate) async fn run(mut self) -> Result<(), SourceError> {
        let (mut topics, mut listings) = (self.intake.topics(), self.intake.listings());
        let mut told = Told::default();
        loop {
            topics.mark_unchanged();
            self.follow().await?;
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
                    self.count_overflows(&mut told);
                }
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
        let window = NonZeroUsize::new(self.intake.config().lane_window);
        let lane = self.intake.lane(LaneOptions {
            redelivers: false,
            unmatched: Unmatched::Wildcard,
            ..LaneOptions::new(filter.as_str(), window.unwrap_or(NonZeroUsize::MIN))
        });
        let stop = CancellationToken::new();
        let subscription = Subscription {
            filter: filter.clone(),
            client: self.link.client.clone(),
            intake: self.intake.clone(),
            meters: Arc::clone(&self.meters),
            lane,
            pending: Pending::new(),
            told: Told::default(),
            letters: Letters::new(&self.intake),
        };
        self.open.insert(filter.clone(), stop.clone());
        self.tasks.spawn(async move {
            subscription.run(subscriber, stop).await;
            filter
        });
        Ok(())
    }

    /// Learns from the server's own words which subscription it refuses.
    fn complaint(&mut self, what: &str) {
        let Some(refused) = refused_subject(what) else {
            warn!("the server says: {what}");
            return;
        };
        let filter = self.open.keys().find(|filter| filter.as_str() == refused).cloned();
        match filter {
            Some(filter) => {
                self.refused.insert(filter, Refused { why: what.to_owned(), tried: false });
            }
            None => warn!("the server says: {what}"),
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

    fn count_overflows(&mut self, told: &mut Told) {
        let overflowed = *self.link.overflows.borrow_and_update();
        let more = overflowed - self.overflowed;
        self.overflowed = overflowed;
        self.meters.lost(Lost::Full, more);
        told.lost("the connection's buffer", more);
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

/// The subject in `Permissions Violation for Subscription to "a.>" using queue "g"`.
fn refused_subject(what: &str) -> Option<&str> {
    let lower = what.to_ascii_lowercase();
    if !lower.contains("permissions violation for subscription") {
        return None;
    }
    what.split('"').nth(1)
}

/// One subscription and what it brought.
struct Subscription {
    filter: Filter,
    client: Client,
    intake: Intake,
    meters: Arc<Meters>,
    lane: Lane,
    /// Where the answer is to go, if anywhere.
    pending: Pending<Option<Subject>, AnyOrder>,
    told: Told,
    letters: Letters,
}

impl Subscription {
    /// Receives until it is stopped or draining begins, then until everything has its verdict.
    async fn run(mut self, mut subscriber: Subscriber, stop: CancellationToken) {
        let mut open = true;
        let mut stopping = false;
        while open || !self.pending.is_empty() {
            tokio::select! {
                biased;
                (reply_to, settled) = self.pending.next() => self.settled(reply_to, settled).await,
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    // What the server has sent already still comes; then the stream ends.
                    open = subscriber.drain().await.is_ok();
                }
                message = subscriber.next(), if open => match message {
                    Some(message) => self.take(message),
                    None => open = false,
                },
            }
        }
    }

    fn take(&mut self, message: Message) {
        // A server's own notes. Subscriptions that overlap are one queue group to the server, which
        // gives a message to one of them only.
        let subject = message.subject.as_str();
        let is_letter = self.filter.is_wild() && self.letters.contains(subject);
        if message.status.is_some() || is_letter || !self.filter.matches(subject) {
            return;
        }
        let Some(slot) = self.lane.try_slot(message.payload.len()) else {
            let why = if self.intake.is_draining() { Lost::Stopped } else { Lost::Full };
            self.meters.lost(why, 1);
            if why == Lost::Full {
                self.told.lost(self.filter.as_str(), 1);
            }
            return;
        };
        let map = self.intake.topics().borrow().clone();
        let reply_to = message
            .reply
            .clone()
            .filter(|to| !to.starts_with("$JS.") && map.functions(subject).len() == 1);
        let event = passing(message, reply_to.is_some());
        self.pending.track(reply_to, slot.submit(event));
    }

    async fn settled(&self, reply_to: Option<Subject>, settled: Settled) {
        if matches!(settled.verdict, Verdict::Release { .. }) {
            self.meters.lost(Lost::Stopped, 1);
        }
        let Some(reply_to) = reply_to else { return };
        let (headers, body) = match settled.reply {
            Some(reply) => answer(reply),
            None => (error(503, "the function did not answer"), bytes::Bytes::new()),
        };
        let sent = self.client.publish_with_headers(reply_to, headers, body).await;
        if let Err(error) = sent {
            warn!(%error, subject = %self.filter, "an answer could not be sent");
        }
    }
}

fn answer(reply: Reply) -> (HeaderMap, bytes::Bytes) {
    let mut headers = match reply.status {
        200..=299 => HeaderMap::new(),
        status => error(status, "the function answered with an error"),
    };
    let content_type = reply.content_type.as_deref().map(String::from_utf8_lossy);
    if let Some(Ok(value)) = content_type.map(|it| it.parse::<HeaderValue>()) {
        headers.insert("Content-Type", value);
    }
    (headers, reply.body)
}

/// As a NATS service tells of an error, so that its clients understand it.
fn error(code: u16, what: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Service-Error-Code", code.to_string().as_str());
    headers.insert("Nats-Service-Error", what);
    headers
}

/// Tells of losses, but not of each.
#[derive(Default)]
struct Told {
    last: Option<Instant>,
    untold: u64,
}

impl Told {
    fn lost(&mut self, at: &str, messages: u64) {
        self.untold += messages;
        if self.last.is_none_or(|last| last.elapsed() >= TELL) {
            warn!(at, messages = self.untold, "dropped: no room for more messages");
            (self.last, self.untold) = (Some(Instant::now()), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_subject_is_read_from_the_servers_words() {
        for what in [
            "Permissions Violation for Subscription to \"a.>\" using queue \"g\"",
            "nats: permissions violation for subscription to \"a.>\"",
        ] {
            assert_eq!(refused_subject(what), Some("a.>"));
        }
        assert_eq!(refused_subject("Permissions Violation for Publish to \"a\""), None);
    }
}
