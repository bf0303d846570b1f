//! One consumer: what it lends is called, extended, and given back or acknowledged.
//!
//! Slots come first, then a request for exactly that many messages, so nothing waits here on a
//! lease without being on its way to a function. A request is closed, and what the server had sent
//! by then handled, when nobody is mapped any more, when the platform goes down, and at the end.

mod asking;
mod unreadable;
mod work;

use std::num::NonZeroUsize;
use std::sync::Arc;

use async_nats::jetstream;
use connector_core::lane::Unmatched;
use connector_core::{Intake, Lane, LaneOptions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::binding::{Terms, condition};
use crate::connect::Connection;
use crate::owners::Share;
use crate::pull::{Ask, Pull};
use crate::settle::Settler;
use crate::skipped::Skipped;
use crate::subject::Filter;
use work::Running;
#[cfg(feature = "testing")]
pub(crate) use work::place;

/// What a message's subject and the protocol add to its payload and headers, at most.
const AROUND: usize = 1_024;

/// Why a lane ended.
pub(crate) enum Ended {
    /// Draining began, or it was stopped, and everything has been settled.
    Settled,
    /// The consumer is gone, and why.
    Gone(String),
}

/// One consumer and what is needed to serve it.
pub(crate) struct Served {
    pub(crate) intake: Intake,
    pub(crate) settler: Settler,
    pub(crate) terms: Terms,
    /// What the consumer can deliver.
    pub(crate) delivers: Vec<Filter>,
    /// Which calls are its own.
    pub(crate) share: Arc<Share>,
    /// The largest message that the stream takes.
    pub(crate) largest: usize,
    /// The consumer brings advisories about messages, not the messages.
    pub(crate) skipped: Option<Skipped>,
    /// Ends the lane: its owner has changed the consumer.
    pub(crate) stop: CancellationToken,
}

impl Served {
    /// Serves the consumer until draining begins or it is gone.
    pub(crate) async fn run(self) -> Ended {
        let name = format!("{}/{}", self.terms.stream, self.terms.consumer);
        let lane = self.lane(&name, true);
        let unreadable = self.lane(&format!("{name} (unreadable)"), false);
        let context = jetstream::new(self.settler.client.clone());
        Running::new(Arc::new(Shared { lane, unreadable, context, served: self })).run().await
    }

    fn lane(&self, name: &str, stores_waits: bool) -> Lane {
        let window = NonZeroUsize::new(self.intake.config().lane_window);
        self.intake.lane(LaneOptions {
            unmatched: if self.is_exact() { Unmatched::Topic } else { Unmatched::Wildcard },
            stores_waits,
            ..LaneOptions::new(name, window.unwrap_or(NonZeroUsize::MIN))
        })
    }

    /// Whether it delivers one subject only, which somebody asked for by name.
    fn is_exact(&self) -> bool {
        matches!(&*self.delivers, [one] if !one.is_wild())
    }

    /// Whether anybody may want what it delivers: otherwise it stays at the server.
    fn is_wanted(&self) -> bool {
        self.share.is_wanted(&self.delivers)
    }
}

/// What a lane's parts share.
struct Shared {
    served: Served,
    lane: Lane,
    /// For what cannot be delivered (see [`unreadable`]). Given back with a wait it would break the
    /// connection at each delivery, so its waits pass here.
    unreadable: Lane,
    context: jetstream::Context,
}

impl Shared {
    /// Waits until there is a reason to ask for messages and room for them, and asks; on which
    /// connection, it says.
    async fn open(
        self: Arc<Self>,
        typical: usize,
        alone: bool,
    ) -> Option<Result<(Pull, Connection), String>> {
        let Served { intake, settler, terms, .. } = &self.served;
        let mut changes = self.served.share.changes();
        let mut watched = settler.watched.clone();
        let mut platform = intake.platform();
        loop {
            while !self.served.is_wanted() {
                // Nobody asks the server any more, and so nobody would see that it is well.
                intake.conditions().forget(&condition(&terms.stream, &terms.consumer));
                changes.next().await?;
            }
            becomes(&mut platform, true).await;
            watched.up().await;
            let window = intake.config().lane_window;
            let most = terms.max_batch.map_or(window, |most| most.min(window));
            let (most, each) = if alone { (1, self.served.largest) } else { (most, typical) };
            let most = NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN);
            let slots = self.lane.slots(most, each).await?;
            // One that is lost from here on is another one later, and is asked on anew.
            let connection = watched.up().await;
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
            let refusals = settler.refusals.clone();
            let pull = Pull::open(&settler.client, refusals, subject, slots, ask).await;
            return Some(pull.map(|pull| (pull, connection)));
        }
    }
}

/// Waits until the platform is believed up, or down. Cancel-safe.
async fn becomes(platform: &mut watch::Receiver<bool>, up: bool) {
    if platform.wait_for(|now| *now == up).await.is_err() {
        // Its sender lives as long as the process.
        std::future::pending::<()>().await;
    }
}
