//! One consumer: what it lends is called, extended, and given back or acknowledged.
//!
//! Slots come first, then a request for exactly that many messages, so nothing waits here on a
//! lease without being on its way to a function. A request is closed, and what the server had sent
//! by then handled, when nobody is mapped any more, when the platform goes down, and at the end.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Message, Subject};
use connector_core::conditions::Subject as Condition;
use connector_core::lane::Unmatched;
use connector_core::settings::UnmatchedPolicy;
use connector_core::{AnyOrder, Intake, Lane, LaneOptions, Pending, Settled, Slot, Verdict};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::binding::Terms;
use crate::letters::Letters;
use crate::message::{Position, kept};
use crate::pull::{Ask, Pull, Pulled};
use crate::settle::{IN_PROGRESS, Settler};
use crate::skipped::{Found, Skipped};
use crate::subject::Filter;

/// What a message is taken for before any has been seen.
const TYPICAL: usize = 16 * 1024;

/// What a message's subject and the protocol add to its payload and headers, at most.
const AROUND: usize = 1_024;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Which consumer handles a message that several of ours bring: the oldest that matches. What a
/// younger one brings twice has been handled already, or will be. Sorted by age.
pub(crate) type Owners = watch::Receiver<Arc<[Owner]>>;

/// A consumer of ours on the stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) created: i128,
    pub(crate) name: String,
    pub(crate) filter: Filter,
}

/// Why a lane ended.
pub(crate) enum Ended {
    /// Draining began, and everything has been settled.
    Drained,
    /// The consumer is gone. The next one would have to begin with this message.
    Gone { why: String, resume: Option<u64> },
}

/// One consumer and what is needed to serve it.
pub(crate) struct Served {
    pub(crate) intake: Intake,
    pub(crate) settler: Settler,
    pub(crate) terms: Terms,
    /// What the consumer can deliver.
    pub(crate) delivers: Vec<Filter>,
    /// Who of our consumers handles what. Empty for a bound one: everything is its own.
    pub(crate) owners: Owners,
    /// The largest message that the stream takes.
    pub(crate) largest: usize,
    /// The consumer brings advisories about messages, not the messages.
    pub(crate) skipped: Option<Skipped>,
}

/// Where a settlement goes.
#[derive(Debug)]
struct Place {
    subject: Subject,
    sequence: u64,
    delivered: u32,
    /// The message that the delivery tells of, where it is not the message itself.
    about: Option<u64>,
}

impl Served {
    /// What its condition is called.
    pub(crate) fn condition(&self) -> Condition {
        Condition(format!("consumer {}/{}", self.terms.stream, self.terms.consumer).into())
    }

    /// Serves the consumer until draining begins or it is gone.
    pub(crate) async fn run(self) -> Ended {
        let window = NonZeroUsize::new(self.intake.config().lane_window);
        let exact = matches!(&*self.delivers, [one] if !one.is_wild());
        let lane = self.intake.lane(LaneOptions {
            unmatched: if exact { Unmatched::Topic } else { Unmatched::Wildcard },
            stores_waits: true,
            ..LaneOptions::new(
                format!("{}/{}", self.terms.stream, self.terms.consumer),
                window.unwrap_or(NonZeroUsize::MIN),
            )
        });
        let context = jetstream::new(self.settler.client.clone());
        let letters = Letters::new(&self.intake);
        let shared = Arc::new(Shared { lane, served: self });
        Running {
            letters,
            by_pattern: !exact,
            shared,
            context,
            pending: Pending::new(),
            settling: FuturesUnordered::new(),
            finding: FuturesUnordered::new(),
            typical: TYPICAL,
            alone: false,
            wait: FIRST_WAIT,
            highest: None,
        }
        .run()
        .await
    }

    /// Whether anybody may want what it delivers: otherwise it stays at the server.
    fn is_wanted(&self) -> bool {
        if self.intake.config().unmatched != UnmatchedPolicy::Hold {
            return true;
        }
        let map = self.intake.topics().borrow().clone();
        let mut wishes = map.wishes().iter().filter_map(|wish| Filter::parse(&wish.item).ok());
        wishes.any(|wish| self.delivers.iter().any(|mine| mine.overlaps(&wish)))
    }

    /// Whether a message on `subject` is another consumer's of ours.
    fn is_anothers(&self, subject: &str) -> bool {
        let owners = self.owners.borrow();
        let owner = owners.iter().find(|owner| owner.filter.matches(subject));
        owner.is_some_and(|owner| owner.name != self.terms.consumer)
    }
}

/// What outlives one turn of the loop.
struct Shared {
    served: Served,
    lane: Lane,
}

impl Shared {
    /// Waits until there is a reason to ask for messages and room for them, and asks.
    async fn open(self: Arc<Self>, typical: usize, alone: bool) -> Option<Result<Pull, String>> {
        let Served { intake, settler, terms, .. } = &self.served;
        let mut topics = intake.topics();
        let mut watched = settler.watched.clone();
        let mut platform = intake.platform();
        loop {
            while !self.served.is_wanted() {
                topics.changed().await.ok()?;
            }
            becomes(&mut platform, true).await;
            watched.up().await;
            let window = intake.config().lane_window;
            let most = terms.max_batch.map_or(window, |most| most.min(window));
            let (most, each) = if alone { (1, self.served.largest) } else { (most, typical) };
            let most = NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN);
            let slots = self.lane.slots(most, each).await?;
            if !self.served.is_wanted() || !*platform.borrow() {
                continue;
            }
            let bytes = slots.len() * (each + AROUND);
            let max_bytes = match terms.max_bytes {
                Some(most) => Some(most.min(bytes)),
                None => (!alone).then_some(bytes),
            };
            let ask = Ask { max_bytes, max_expires: terms.max_expires };
            let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", terms.stream, terms.consumer);
            return Some(Pull::open(&settler.client, &subject, slots, ask).await);
        }
    }
}

/// A lane at work.
struct Running {
    shared: Arc<Shared>,
    context: Context,
    letters: Letters,
    /// What it delivers is not one subject that somebody asked for by name.
    by_pattern: bool,
    pending: Pending<Place, AnyOrder>,
    settling: FuturesUnordered<BoxFuture<'static, ()>>,
    /// Messages that are fetched because an advisory told of them.
    finding: FuturesUnordered<BoxFuture<'static, (Place, Slot, Found)>>,
    /// How large messages are of late.
    typical: usize,
    /// The next message is larger than that and is asked for by itself.
    alone: bool,
    wait: Duration,
    /// The highest sequence that was received.
    highest: Option<u64>,
}

/// What a turn of the loop waits for from the server.
enum Asking {
    /// For a reason and room to ask.
    Opening(BoxFuture<'static, Option<Result<Pull, String>>>),
    /// For what was asked for.
    Open(Pull),
    /// Before asking again.
    Pause(Instant),
}

impl Running {
    async fn run(mut self) -> Ended {
        let shared = Arc::clone(&self.shared);
        let Served { intake, settler, terms, .. } = &shared.served;
        let (mut topics, mut watched) = (intake.topics(), settler.watched.clone());
        let mut platform = intake.platform();
        let every = terms.extend_every();
        let mut extend = interval_at(Instant::now() + every, every);
        extend.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asking = self.opening();
        loop {
            let is_open = matches!(asking, Asking::Open(_));
            tokio::select! {
                biased;
                (place, settled) = self.pending.next() => self.settle(place, settled),
                Some(()) = self.settling.next() => {}
                Some((place, slot, found)) = self.finding.next() => self.found(place, slot, found),
                _ = extend.tick(), if !self.pending.is_empty() => self.extend().await,
                () = shared.lane.ended() => break,
                // A request that was open on an earlier connection is dead.
                () = watched.renewed(), if is_open => asking = self.ask_anew(asking).await,
                changed = topics.changed(), if is_open => {
                    if changed.is_ok() && !shared.served.is_wanted() {
                        asking = self.close(asking).await;
                    }
                }
                () = becomes(&mut platform, false), if is_open => asking = self.close(asking).await,
                step = step(&mut asking) => match self.step(step) {
                    Ok(None) => {}
                    Ok(Some(next)) => {
                        let before = std::mem::replace(&mut asking, next);
                        self.retire(before).await;
                    }
                    Err(why) => return Ended::Gone { why, resume: self.resume() },
                },
            }
        }
        drop(self.close(asking).await);
        self.leave(extend).await;
        Ended::Drained
    }

    fn opening(&mut self) -> Asking {
        let alone = std::mem::take(&mut self.alone);
        Asking::Opening(Arc::clone(&self.shared).open(self.typical, alone).boxed())
    }

    /// What to do after one step. `None`: go on as before.
    fn step(&mut self, step: Step) -> Result<Option<Asking>, String> {
        let condition = self.shared.served.condition();
        let conditions = self.shared.served.intake.conditions();
        match step {
            Step::Opened(Some(Ok(pull))) => return Ok(Some(Asking::Open(pull))),
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
            Step::Pulled(Pulled::Gone(why)) => return Err(why),
            Step::Pulled(Pulled::TooLarge) => self.alone = true,
            Step::Pulled(Pulled::Over) => {}
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

    async fn ask_anew(&mut self, asking: Asking) -> Asking {
        self.retire(asking).await;
        self.opening()
    }

    /// Closes a request that is over. What came too late for it counts all the same.
    async fn retire(&mut self, asking: Asking) {
        let Asking::Open(pull) = asking else { return };
        if pull.is_full() {
            return;
        }
        for (message, slot) in pull.close().await {
            self.take(*message, slot);
        }
    }

    /// Closes the open request. What the server had sent by then is given back.
    async fn close(&mut self, asking: Asking) -> Asking {
        if let Asking::Open(pull) = asking {
            for (message, _) in pull.close().await {
                if let Some(place) = message.reply {
                    self.settling.push(self.settler().give_back(place, None).boxed());
                }
            }
        }
        self.opening()
    }

    fn take(&mut self, message: Message, slot: Slot) {
        let message = jetstream::Message { message, context: self.context.clone() };
        let Some((subject, position)) = place(&message) else {
            tracing::warn!(subject = %message.subject, "a message without a place was passed over");
            return;
        };
        // Half the way to what is seen, and room for twice that.
        self.typical =
            (self.typical / 2 + message.payload.len()).clamp(TYPICAL, self.shared.served.largest);
        self.highest = self.highest.max(Some(position.sequence));
        let is_letter = self.by_pattern && self.letters.contains(&message.subject);
        if is_letter || self.shared.served.is_anothers(&message.subject) {
            self.settling.push(self.settler().pass_over(subject).boxed());
            return;
        }
        let Position { sequence, delivered, .. } = position;
        let place = Place { subject, sequence, delivered, about: None };
        if let Some(skipped) = self.shared.served.skipped.clone() {
            let advisory = message.message.payload;
            self.finding.push(
                async move {
                    let found = skipped.find(&advisory).await;
                    (place, slot, found)
                }
                .boxed(),
            );
            return;
        }
        let mut event = kept(message.message, &position);
        event.last_delivery = self.shared.served.terms.is_last(delivered);
        self.pending.track(place, slot.submit(event));
    }

    /// What an advisory led to.
    fn found(&mut self, mut place: Place, slot: Slot, found: Found) {
        let Served { settler, terms, .. } = &self.shared.served;
        match found {
            Found::Message(message, position) => {
                tracing::warn!(
                    stream = &*position.stream,
                    sequence = position.sequence,
                    deliveries = position.delivered,
                    "past its delivery limit: fetched from its stream"
                );
                settler.meters.recovered.inc();
                place.about = Some(position.sequence);
                self.pending.track(place, slot.submit(kept(*message, &position)));
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
    }

    fn settler(&self) -> Settler {
        self.shared.served.settler.clone()
    }

    /// Extends the lease of everything that has no verdict. While the connection is lost there is
    /// nothing to extend at; what lapses meanwhile comes again and joins its running call.
    async fn extend(&mut self) {
        let settler = &self.shared.served.settler;
        if !settler.watched.is_up() {
            return;
        }
        for place in self.pending.waiting() {
            drop(settler.client.publish(place.subject.clone(), IN_PROGRESS).await);
        }
    }

    /// Lets what runs end, and settles it.
    async fn leave(&mut self, mut extend: tokio::time::Interval) {
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

    /// The first message that is not done with.
    fn resume(&self) -> Option<u64> {
        let open = self.pending.waiting().map(|place| place.sequence).min();
        open.or_else(|| self.highest.map(|highest| highest + 1))
    }
}

/// Waits until the platform is believed up, or down. Cancel-safe.
async fn becomes(platform: &mut watch::Receiver<bool>, up: bool) {
    if platform.wait_for(|now| *now == up).await.is_err() {
        // Its sender lives as long as the process.
        std::future::pending::<()>().await;
    }
}

enum Step {
    Opened(Option<Result<Pull, String>>),
    Pulled(Pulled),
    Paused,
}

/// Cancel-safe: what is waited for is kept in `asking`.
async fn step(asking: &mut Asking) -> Step {
    match asking {
        Asking::Opening(opening) => Step::Opened(opening.await),
        Asking::Open(pull) => Step::Pulled(pull.next().await),
        Asking::Pause(until) => {
            tokio::time::sleep_until(*until).await;
            Step::Paused
        }
    }
}

/// Where a delivery is settled, and where its message stands. `None`: it is no delivery.
fn place(message: &jetstream::Message) -> Option<(Subject, Position)> {
    let info = message.info().ok()?;
    let position = Position {
        stream: info.stream.into(),
        sequence: info.stream_sequence,
        published: u64::try_from(info.published.unix_timestamp_nanos()).unwrap_or_default(),
        delivered: u32::try_from(info.delivered).unwrap_or(u32::MAX),
    };
    Some((message.reply.clone()?, position))
}
