//! Telling the server what became of a message.
//!
//! Every settlement is a request that the server confirms: only then is it known to be taken, and
//! the outcome of the event may be forgotten. It is repeated until it is confirmed or there is
//! nobody left to take it; a message that comes again meanwhile finds its outcome remembered.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Subject};
use bytes::Bytes;
use connector_core::conditions::{Conditions, Subject as Condition};
use connector_core::fail_point::{self, Step};
use connector_core::{Settled, Verdict};

use crate::confirmed::{CONFIRMED, Teller, Unconfirmed};
use crate::connect::Watched;
use crate::meters::Meters;
use crate::refusals::Refusals;

/// How often a settlement is sent that nobody is there to take, one each second: servers that have
/// lost a leader take up to ten to notice and to choose another.
const UNHEARD: u32 = 15;

/// What is unwell while the server refuses to be told.
const ACKNOWLEDGEMENTS: Condition = Condition::new("acknowledgements");

/// What a lease is extended with.
pub(crate) const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");
/// The message is done with.
pub(crate) const ACK: Bytes = Bytes::from_static(b"+ACK");

/// What a settlement is sent with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Settler {
    pub(crate) client: Client,
    pub(crate) teller: Teller,
    pub(crate) watched: Watched,
    pub(crate) refusals: Refusals,
    pub(crate) conditions: Conditions,
    pub(crate) meters: Arc<Meters>,
}

impl Settler {
    /// Settles one message. `settled` is kept until the server has taken it.
    pub(crate) async fn settle(mut self, place: Subject, settled: Settled, wait: Option<Duration>) {
        let body = match settled.verdict {
            Verdict::Done => ACK,
            Verdict::Release { .. } => nak(wait),
        };
        self.tell(place, body).await;
        drop(settled);
    }

    /// Gives a message back that was never submitted.
    pub(crate) async fn give_back(mut self, place: Subject, wait: Option<Duration>) {
        self.tell(place, nak(wait)).await;
    }

    /// Acknowledges a message that is not ours to call for.
    pub(crate) async fn pass_over(mut self, place: Subject) {
        self.tell(place, ACK).await;
    }

    async fn tell(&mut self, place: Subject, body: Bytes) {
        let mut unheard = 0;
        loop {
            self.watched.up().await;
            let told = self.teller.tell(place.clone(), body.clone());
            let told = fail_point::sent(Step::Acknowledged, 1, told);
            match self.refusals.unless(|subject| subject == place.as_str(), told).await {
                Ok(Ok(())) => return self.taken(),
                Ok(Err(Unconfirmed::NoResponders)) => {
                    unheard += 1;
                    if unheard == UNHEARD {
                        tracing::debug!(%place, "the consumer is gone, nothing is left to settle");
                        return;
                    }
                    tokio::time::sleep(CONFIRMED / 3).await;
                }
                Ok(Err(
                    Unconfirmed::Unheard | Unconfirmed::TooLarge(_) | Unconfirmed::Unsent(_),
                )) => {}
                Err(refused) => {
                    self.conditions.unwell(&ACKNOWLEDGEMENTS, &refused, true);
                    tokio::time::sleep(CONFIRMED).await;
                }
            }
            self.meters.settle_retries.inc();
        }
    }

    /// Permission may have come back.
    fn taken(&self) {
        fail_point::pass(Step::Confirmed);
        if self.conditions.state(&ACKNOWLEDGEMENTS).is_some() {
            self.conditions.forget(&ACKNOWLEDGEMENTS);
        }
    }
}

fn nak(wait: Option<Duration>) -> Bytes {
    match wait {
        Some(wait) if !wait.is_zero() => format!("-NAK {{\"delay\": {}}}", wait.as_nanos()).into(),
        _ => Bytes::from_static(b"-NAK"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_nanoseconds() {
        assert_eq!(nak(Some(Duration::from_millis(1500))), "-NAK {\"delay\": 1500000000}");
        assert_eq!(nak(Some(Duration::ZERO)), "-NAK");
        assert_eq!(nak(None), "-NAK");
    }
}
