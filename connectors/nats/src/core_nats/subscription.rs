//! One subscription: what it brings is called, and requests are answered.

use std::num::NonZeroUsize;
use std::sync::Arc;

use async_nats::header::HeaderValue;
use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use connector_core::event::Among;
use connector_core::fail_point::{self, Step};
use connector_core::lane::{Reply, Unmatched};
use connector_core::{AnyOrder, Intake, Lane, LaneOptions, Pending, Settled, Verdict};
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::overflow::Taken;
use super::tell_lost;
use crate::letters::Letters;
use crate::message::passing;
use crate::meters::{Lost, Meters};
use crate::seldom::Seldom;
use crate::subject::Filter;

/// One subscription and what it brought.
pub(super) struct Subscription {
    filter: Filter,
    client: Client,
    intake: Intake,
    meters: Arc<Meters>,
    lane: Lane,
    /// Where the answer is to go, if anywhere.
    pending: Pending<Option<Subject>, AnyOrder>,
    taken: Taken,
    losses: Seldom,
    letters: Letters,
}

impl Subscription {
    pub(super) fn new(
        filter: Filter,
        intake: &Intake,
        client: Client,
        meters: Arc<Meters>,
        taken: Taken,
    ) -> Self {
        let window = NonZeroUsize::new(intake.config().lane_window);
        let lane = intake.lane(LaneOptions {
            redelivers: false,
            unmatched: Unmatched::Wildcard,
            ..LaneOptions::new(filter.as_str(), window.unwrap_or(NonZeroUsize::MIN))
        });
        Self {
            filter,
            client,
            intake: intake.clone(),
            meters,
            lane,
            pending: Pending::new(),
            taken,
            losses: Seldom::default(),
            letters: Letters::new(intake),
        }
    }

    /// Receives until it is stopped or draining begins, then until everything has its verdict.
    pub(super) async fn run(mut self, mut subscriber: Subscriber, stop: CancellationToken) {
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
                    Some(message) => self.take(message).await,
                    None => open = false,
                },
            }
        }
    }

    async fn take(&mut self, message: Message) {
        fail_point::pass(Step::Received);
        self.taken.one();
        // A server's own notes. Subscriptions that overlap are one queue group to the server, which
        // gives a message to one of them only.
        let subject = message.subject.as_str();
        if message.status.is_some() || !self.filter.matches(subject) {
            return;
        }
        let letter = self.letters.asked_for(subject);
        // What is stored as a letter is confirmed by its stream, not answered by a function.
        let is_request = letter.is_none() && self.is_request(&message);
        let asked = letter.filter(|_| self.filter.is_wild());
        if asked.as_ref().is_some_and(Vec::is_empty) {
            return;
        }
        let reply_to = is_request.then(|| message.reply.clone()).flatten();
        let Some(slot) = self.lane.try_slot(message.payload.len()) else {
            let why = if self.intake.is_draining() { Lost::Stopped } else { Lost::Full };
            self.meters.lost(why, 1);
            if why == Lost::Full {
                tell_lost(&mut self.losses, self.filter.as_str(), 1);
            }
            if let Some(to) = reply_to {
                self.reply(to, error(503, "there is no room for the message"), Bytes::new()).await;
            }
            return;
        };
        let mut event = passing(message, reply_to.is_some());
        event.among = asked.map(|asked| Among::new(move |function| asked.contains(function)));
        self.pending.track(reply_to, slot.submit(event));
    }

    /// Whether somebody waits for the answer of exactly one function. What a stream delivers has
    /// the subject of its acknowledgement there.
    fn is_request(&self, message: &Message) -> bool {
        let is_asked = message.reply.as_ref().is_some_and(|to| !to.starts_with("$JS."));
        is_asked && self.intake.topics().borrow().functions(&message.subject).len() == 1
    }

    async fn settled(&self, reply_to: Option<Subject>, settled: Settled) {
        if matches!(settled.verdict, Verdict::Release { .. }) {
            self.meters.lost(Lost::Stopped, 1);
        }
        let Some(reply_to) = reply_to else { return };
        let (headers, body) = match settled.reply {
            Some(reply) => answer(*reply),
            None => (error(503, "the function did not answer"), Bytes::new()),
        };
        // It would be refused before it is sent, and whoever asked would wait for nothing.
        let (headers, body) = if body.len() + on_the_wire(&headers) > self.client.max_payload() {
            (error(500, "the function's answer is larger than a message may be"), Bytes::new())
        } else {
            (headers, body)
        };
        self.reply(reply_to, headers, body).await;
    }

    async fn reply(&self, to: Subject, headers: HeaderMap, body: Bytes) {
        if let Err(error) = self.client.publish_with_headers(to, headers, body).await {
            warn!(%error, subject = %self.filter, "an answer could not be sent");
        }
    }
}

/// How long headers are on the wire.
fn on_the_wire(headers: &HeaderMap) -> usize {
    let around = "NATS/1.0\r\n\r\n".len();
    let line = |name: &str, value: &HeaderValue| name.len() + value.as_str().len() + ": \r\n".len();
    let lines = headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(|value| line(name.as_ref(), value)));
    if headers.is_empty() { 0 } else { around + lines.sum::<usize>() }
}

fn answer(reply: Reply) -> (HeaderMap, Bytes) {
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
