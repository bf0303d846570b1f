//! A lane at work: asking for messages, tracking what became of them, extending their leases.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_nats::jetstream;
use async_nats::{Message, Subject};
use connector_core::conditions::Subject as Condition;
use connector_core::fail_point;
use connector_core::metrics::{Seconds, set_age};
use connector_core::{AnyOrder, Pending, Settled, Slot, Verdict};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::asking::{Asking, Step};
use super::unreadable::{self, Cursor, Losses, Search};
use super::{Ended, Served, Shared, becomes};
use crate::binding::condition;
use crate::letters::Letters;
use crate::message::{Position, fetched, kept};
use crate::owners::Callees;
use crate::pull::{Pull, Pulled};
use crate::settle::{IN_PROGRESS, Settler};
use crate::skipped::Found;
use crate::stored::Stored;

/// What a message is taken for before any has been seen.
const TYPICAL: usize = 16 * 1024;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Where a settlement goes.
#[derive(Debug)]
struct Place {
    subject: Subject,
    sequence: u64,
    /// When the message was stored, in nanoseconds since 1970.
    published: u64,
    delivered: u32,
    /// The message that the delivery tells of, where it is not the message itself.
    about: Option<u64>,
}

/// A lane at work.
pub(super) struct Running {
    shared: Arc<Shared>,
    letters: Letters,
    pending: Pending<Place, AnyOrder>,
    settling: FuturesUnordered<BoxFuture<'static, ()>>,
    /// A request that is over but for messages that are late: they may come, and may be lost.
    late: Option<Box<Pull>>,
    /// Messages that are fetched because an advisory told of them.
    finding: FuturesUnordered<BoxFuture<'static, (Place, Slot, Found)>>,
    /// How large messages are of late.
    typical: usize,
    /// The next message is larger than that and is asked for by itself.
    alone: bool,
    wait: Duration,
    losses: Losses,
    /// Where the search for what breaks the connection goes on, if it has not ended.
    rest: Option<Cursor>,
    /// The part of it that is under way beside everything else, if any.
    searching: FuturesUnordered<BoxFuture<'static, Result<Search, String>>>,
    head_age: Seconds,
}

impl Running {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let letters = Letters::new(&shared.served.intake);
        let head_age = shared.served.settler.meters.head_age(&shared.served.terms);
        let losses = Losses::new(shared.served.terms.longest_lease());
        Self {
            shared,
            letters,
            pending: Pending::new(),
            settling: FuturesUnordered::new(),
            late: None,
            finding: FuturesUnordered::new(),
            typical: TYPICAL,
            alone: false,
            wait: FIRST_WAIT,
            losses,
            rest: None,
            searching: FuturesUnordered::new(),
            head_age,
        }
    }

    pub(super) async fn run(mut self) -> Ended {
        let shared = Arc::clone(&self.shared);
        let Served { intake, settler, terms, .. } = &shared.served;
        let (mut changes, mut watched) = (shared.served.share.changes(), settler.watched.clone());
        let mut platform = intake.platform();
        let every = terms.extend_every();
        let mut extend = interval_at(Instant::now() + every, every);
        extend.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asking = self.opening();
        loop {
            let asked_on = match &asking {
                Asking::Open(_, connection) => Some(*connection),
                _ => None,
            };
            let is_open = asked_on.is_some();
            tokio::select! {
                biased;
                (place, settled) = self.pending.next() => self.settle(place, settled),
                Some(()) = self.settling.next() => {}
                Some((place, slot, found)) = self.finding.next() => self.found(place, slot, found),
                Some(searched) = self.searching.next() => self.searched(searched),
                _ = extend.tick(), if !self.pending.is_empty() => self.extend().await,
                Some(pulled) = next_of(&mut self.late) => self.came_late(pulled),
                () = shared.lane.ended() => break,
                () = shared.served.stop.cancelled() => {
                    // What waits is given back, and what runs ends.
                    shared.lane.end();
                    shared.unreadable.end();
                }
                // A request that was open on an earlier connection is dead.
                _ = watched.other_than(asked_on), if is_open => {
                    asking = self.ask_anew(asking).await;
                }
                changed = changes.next(), if is_open => {
                    if changed.is_some() && !shared.served.is_wanted() {
                        asking = self.close(asking).await;
                    }
                }
                () = becomes(&mut platform, false), if is_open => asking = self.close(asking).await,
                step = asking.step() => match self.after(step) {
                    Ok(None) => {}
                    Ok(Some(next)) => {
                        let before = std::mem::replace(&mut asking, next);
                        self.retire(before).await;
                    }
                    Err(why) => return Ended::Gone(why),
                },
            }
        }
        drop(self.close(asking).await);
        self.leave(extend).await;
        Ended::Settled
    }

    fn opening(&mut self) -> Asking {
        let alone = std::mem::take(&mut self.alone);
        Asking::Opening(Arc::clone(&self.shared).open(self.typical, alone).boxed())
    }

    /// What to do after one step. `None`: go on as before.
    fn after(&mut self, step: Step) -> Result<Option<Asking>, String> {
        let Served { terms, intake, .. } = &self.shared.served;
        let condition = condition(&terms.stream, &terms.consumer);
        let conditions = intake.conditions();
        match step {
            Step::Opened(Some(Ok((pull, connection)))) => {
                return Ok(Some(Asking::Open(Box::new(pull), connection)));
            }
            // The lane has ended, which the loop sees next.
            Step::Opened(None) => return Ok(Some(self.pause())),
            Step::Opened(Some(Err(why))) | Step::Pulled(Pulled::Unserved(why)) => {
                // Once is no news: leaders move, servers restart.
                if self.wait > FIRST_WAIT * 4 {
                    conditions.unwell(&condition, &why, true);
                }
                tracing::debug!(%condition, why, "asking again");
                return Ok(Some(self.pause()));
            }
            Step::Paused => return Ok(Some(self.opening())),
            Step::Searched(Ok(search)) => {
                self.searched(Ok(search));
                return Ok(Some(self.opening()));
            }
            Step::Searched(Err(why)) => {
                let why =
                    format!("something breaks the connection, and cannot be looked for: {why}");
                conditions.unwell(&condition, &why, true);
                return Ok(Some(self.pause()));
            }
            Step::Pulled(Pulled::Gone(why)) => return Err(why),
            Step::Pulled(Pulled::TooLarge) => self.alone = true,
            Step::Pulled(Pulled::Over | Pulled::Late) => {}
            Step::Pulled(Pulled::Message(message, slot)) => {
                self.heard(&condition);
                self.take(*message, slot);
                return Ok(None);
            }
        }
        self.heard(&condition);
        Ok(Some(self.opening()))
    }

    fn heard(&mut self, condition: &Condition) {
        self.wait = FIRST_WAIT;
        let conditions = self.shared.served.intake.conditions();
        if conditions.state(condition).is_some() {
            conditions.well(condition);
        }
    }

    fn pause(&mut self) -> Asking {
        let until = Instant::now() + self.wait;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        Asking::Pause(until)
    }

    /// The connection was lost while a request was open.
    async fn ask_anew(&mut self, asking: Asking) -> Asking {
        self.retire(asking).await;
        if self.shared.served.skipped.is_none()
            && self.losses.is_suspicious()
            && self.searching.is_empty()
        {
            let search = unreadable::search(Arc::clone(&self.shared), self.known(), self.rest);
            return Asking::Searching(search.boxed());
        }
        self.opening()
    }

    /// What is here is not what breaks the connection.
    fn known(&self) -> HashSet<u64> {
        self.pending.waiting().map(|place| place.about.unwrap_or(place.sequence)).collect()
    }

    /// What a part of a search has come to. Where it failed, the next loss takes it up again.
    fn searched(&mut self, searched: Result<Search, String>) {
        let Ok(Search { found, rest }) = searched else { return };
        self.rescue(found);
        self.rest = rest;
        if let Some(rest) = rest {
            let next = unreadable::search_on(Arc::clone(&self.shared), self.known(), rest);
            self.searching.push(next.boxed());
        }
    }

    /// Closes a request that is over, or the one before it that still waits if this one is to wait
    /// too. What came too late for it counts all the same.
    async fn retire(&mut self, asking: Asking) {
        let Asking::Open(pull, _) = asking else { return };
        let over = if pull.is_late() { self.late.replace(pull) } else { Some(pull) };
        let Some(over) = over.filter(|over| !over.is_full()) else { return };
        for (message, slot) in over.close().await {
            self.take(*message, slot);
        }
    }

    /// What a request brings beside the one that is open, or after that was closed.
    fn came_late(&mut self, pulled: Pulled) {
        match pulled {
            Pulled::Message(message, slot) if self.shared.served.is_wanted() => {
                self.take(*message, slot);
            }
            Pulled::Message(message, _) => self.give_back(&message),
            // Whatever else it is, the open request is told it too.
            _ => self.late = None,
        }
    }

    /// Closes all requests. What the server had sent by then is given back.
    async fn close(&mut self, asking: Asking) -> Asking {
        let open = match asking {
            Asking::Open(pull, _) => Some(pull),
            _ => None,
        };
        for pull in open.into_iter().chain(self.late.take()) {
            for (message, _) in pull.close().await {
                self.give_back(&message);
            }
        }
        self.opening()
    }

    fn give_back(&mut self, message: &Message) {
        if let Some(place) = message.reply.clone() {
            self.settling.push(self.settler().give_back(place, None).boxed());
        }
    }

    fn take(&mut self, message: Message, slot: Slot) {
        fail_point::pass(fail_point::Step::Received);
        let message = jetstream::Message { message, context: self.shared.context.clone() };
        let Some((subject, position)) = place(&message) else {
            tracing::warn!(subject = %message.subject, "a message without a place was passed over");
            return;
        };
        // Half the way to what is seen, and room for twice that.
        self.typical =
            (self.typical / 2 + message.payload.len()).clamp(TYPICAL, self.shared.served.largest);
        let Some(callees) = self.callees(&message.subject) else {
            self.settling.push(self.settler().pass_over(subject).boxed());
            return;
        };
        let Position { sequence, published, delivered, .. } = position;
        let place = Place { subject, sequence, published, delivered, about: None };
        if let Some(skipped) = self.shared.served.skipped.clone() {
            let (context, advisory) = (self.shared.context.clone(), message.message.payload);
            self.finding.push(
                async move {
                    let found = skipped.find(&context, &advisory).await;
                    (place, slot, found)
                }
                .boxed(),
            );
            return;
        }
        let mut event = kept(message.message, &position);
        event.among = callees.among;
        event.last_delivery = self.shared.served.terms.is_last(delivered);
        self.pending.track(place, slot.submit(event));
    }

    /// Who is called with a message on `subject`: not who is called by another consumer of ours, or
    /// whose pattern happens to match where dead letters go. `None`: nobody is.
    fn callees(&mut self, subject: &str) -> Option<Callees> {
        let served = &self.shared.served;
        let asked = if served.is_exact() { None } else { self.letters.asked_for(subject) };
        served.share.callees(subject, asked)
    }

    /// Calls what was found to break the connection.
    fn rescue(&mut self, found: Vec<(Subject, Stored)>) {
        let limited = self.shared.served.terms.max_deliver.is_some();
        for (subject, message) in found {
            let Position { sequence, published, .. } = message.position;
            let Some(callees) = self.callees(&message.subject) else {
                self.settling.push(self.settler().pass_over(subject).boxed());
                continue;
            };
            // What there is no room for breaks the connection once more, and is found once more.
            let Some(slot) = self.shared.unreadable.try_slot(message.payload.len()) else { break };
            tracing::warn!(
                stream = &*message.position.stream,
                sequence,
                "its headers or its subject break the connection: fetched from its stream"
            );
            self.shared.served.settler.meters.unreadable.inc();
            let place = Place { subject, sequence, published, delivered: 1, about: None };
            let mut event = fetched(message);
            event.among = callees.among;
            event.last_delivery = limited;
            self.pending.track(place, slot.submit(event));
        }
    }

    /// What an advisory led to.
    fn found(&mut self, mut place: Place, slot: Slot, found: Found) {
        let Served { settler, terms, .. } = &self.shared.served;
        match found {
            Found::Message(message) => {
                let position = &message.position;
                tracing::warn!(
                    stream = &*position.stream,
                    sequence = position.sequence,
                    deliveries = position.delivered,
                    "past its delivery limit: fetched from its stream"
                );
                settler.meters.recovered.inc();
                place.about = Some(position.sequence);
                let mut event = fetched(*message);
                event.last_delivery = true;
                self.pending.track(place, slot.submit(event));
            }
            Found::Gone => self.settling.push(settler.clone().pass_over(place.subject).boxed()),
            Found::Later(why) => {
                tracing::warn!(
                    consumer = terms.consumer,
                    why,
                    "a skipped message cannot be fetched now"
                );
                self.settling
                    .push(settler.clone().give_back(place.subject, Some(LONGEST_WAIT)).boxed());
            }
        }
    }

    fn settle(&mut self, place: Place, settled: Settled) {
        let wait = match settled.verdict {
            Verdict::Done => None,
            Verdict::Release { after } => {
                after.map(|wanted| self.shared.served.terms.wait(wanted, place.delivered))
            }
        };
        let settler = self.settler();
        let done = match (&self.shared.served.skipped, place.about, settled.verdict) {
            (Some(skipped), Some(sequence), Verdict::Done) => Some((skipped.clone(), sequence)),
            _ => None,
        };
        let settle = async move {
            if let Some((skipped, sequence)) = done {
                skipped.done(sequence).await;
            }
            settler.settle(place.subject, settled, wait).await;
        };
        self.settling.push(settle.boxed());
        if self.pending.is_empty() {
            // Nobody extends while there is nothing.
            self.tell_head();
        }
    }

    fn settler(&self) -> Settler {
        self.shared.served.settler.clone()
    }

    /// Tells of the oldest message that has no verdict.
    fn tell_head(&self) {
        let oldest = self.pending.waiting().map(|place| place.published).min();
        let stored = oldest.map(|nanos| UNIX_EPOCH + Duration::from_nanos(nanos));
        set_age(&self.head_age, stored);
    }

    /// Extends the lease of everything that has no verdict. While the connection is lost there is
    /// nothing to extend at; what lapses meanwhile comes again and joins its running call.
    async fn extend(&mut self) {
        self.tell_head();
        let settler = &self.shared.served.settler;
        if !settler.watched.is_up() {
            return;
        }
        for place in self.pending.waiting() {
            drop(settler.client.publish(place.subject.clone(), IN_PROGRESS).await);
        }
    }

    /// Lets what runs end, and settles it.
    async fn leave(&mut self, mut extend: Interval) {
        let idle = |this: &Self| {
            this.pending.is_empty() && this.settling.is_empty() && this.finding.is_empty()
        };
        while !idle(self) {
            tokio::select! {
                biased;
                (place, settled) = self.pending.next() => self.settle(place, settled),
                Some(()) = self.settling.next() => {}
                Some((place, slot, found)) = self.finding.next() => self.found(place, slot, found),
                _ = extend.tick(), if !self.pending.is_empty() => self.extend().await,
            }
        }
    }
}

/// The next thing that a request brings, if there is one. Cancel-safe.
async fn next_of(pull: &mut Option<Box<Pull>>) -> Option<Pulled> {
    match pull {
        Some(pull) => Some(pull.next().await),
        None => None,
    }
}

/// Where a delivery is settled, and where its message stands. `None`: it is no delivery.
pub(crate) fn place(message: &jetstream::Message) -> Option<(Subject, Position)> {
    let info = message.info().ok()?;
    let position = Position {
        stream: info.stream.into(),
        sequence: info.stream_sequence,
        published: u64::try_from(info.published.unix_timestamp_nanos()).unwrap_or_default(),
        delivered: u32::try_from(info.delivered).unwrap_or(u32::MAX),
    };
    Some((message.reply.clone()?, position))
}
