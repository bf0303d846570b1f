//! The end of an event that no call will help, for one function: stored, dropped or held.

use std::sync::Arc;
use std::time::SystemTime;

use tracing::error;

use super::{Broken, Calls, Carrier};
use crate::dead_letter::{Address, Letter};
use crate::functions::Function;
use crate::hold::{Mends, Waiting};
use crate::pairs::Outcome;
use crate::topics::Mapping;

/// What became of an event that no call will help.
pub(super) enum Buried<'a> {
    /// It is stored or dropped.
    Ended(Outcome),
    /// Its topic is held instead.
    Held(Waiting<'a>),
}

impl<'a> Carrier<'a> {
    /// Stores or drops the event's letter, or holds its topic.
    pub(super) async fn bury(
        &self,
        mapping: &Mapping,
        function: &Function,
        reason: &'static str,
        calls: &Calls,
    ) -> Result<Buried<'a>, Broken> {
        let (dispatcher, event) = (self.dispatcher, &self.work.event);
        let name = &function.name;
        let redrive = self.work.lane.options.redrive.as_ref().and_then(|it| it.address.as_ref());
        let redrive = redrive.filter(|_| mapping.dead_letter.is_none());
        let address =
            mapping.dead_letter.as_ref().or(redrive).unwrap_or(&dispatcher.config.dead_letter);
        let hold = |why: &str| {
            Buried::Held(dispatcher.holds.begin(&event.topic, name, Mends::GoodAnswer, why))
        };
        let (letters, limit) = (function.letters_in_a_row(), dispatcher.config.dead_letter_limit);
        match address {
            Address::Drop => {
                error!(
                    topic = &*event.topic, function = %name, event.id = %event.id,
                    attempts = calls.made, error = calls.error, "dropped: {reason}"
                );
                dispatcher.metrics.dropped(name.as_str(), reason);
                return Ok(Buried::Ended(Outcome::Dropped));
            }
            Address::Hold => {
                return Ok(hold(&format!("{reason}: {}", calls.error)));
            }
            address if address.may_lead_back_to(name) => {
                return Ok(hold(&format!(
                    "its dead letters would go to itself; {reason}: {}",
                    calls.error
                )));
            }
            _ if limit > 0 && letters >= limit => {
                return Ok(hold(&format!(
                    "{letters} dead letters in a row; {reason}: {}",
                    calls.error
                )));
            }
            Address::Broker(_) | Address::Function(_) => {}
        }
        let now = SystemTime::now();
        let letter = Letter {
            event: Arc::clone(event),
            function: Some(name.clone()),
            reason,
            status: calls.status,
            error: calls.error.clone(),
            attempts: calls.made,
            first: calls.first.unwrap_or(now),
            last: now,
            brief: false,
        };
        if redrive.is_some() && self.stores_waits {
            if !dispatcher.letters.try_store(dispatcher, address, &letter).await {
                let wait = mapping.retry.wait(self.calls_known(calls.made), None, &mut rand::rng());
                return Err(Broken::GivenBack { after: wait });
            }
        } else if !dispatcher.letters.store(dispatcher, self.work, address, &letter).await {
            return Err(Broken::Over);
        }
        function.letter();
        Ok(Buried::Ended(Outcome::DeadLettered))
    }

    /// Whether draining cuts short an event that its broker will not deliver again.
    pub(super) fn is_gone_if_released(&self) -> bool {
        // Draining closes the tracker. A lane that ends for another reason comes back.
        self.work.event.last_delivery && self.dispatcher.tasks.is_closed()
    }

    /// Stores the letter of an event that draining cut short and that its broker will not deliver
    /// again. `None`: it may be released, or there is no place for letters; then the source has to
    /// find it again at its next start.
    pub(super) async fn bury_at_shutdown(&self, mapping: &Mapping) -> Option<Outcome> {
        let (dispatcher, event) = (self.dispatcher, &self.work.event);
        if !self.is_gone_if_released() {
            return None;
        }
        let address = mapping.dead_letter.as_ref().unwrap_or(&dispatcher.config.dead_letter);
        match address {
            Address::Drop | Address::Hold => return None,
            address if address.may_lead_back_to(&mapping.function) => return None,
            Address::Broker(_) | Address::Function(_) => {}
        }
        let now = SystemTime::now();
        let letter = Letter {
            event: Arc::clone(event),
            function: Some(mapping.function.clone()),
            reason: "shutdown",
            status: None,
            error: "the connector was asked to stop during the last delivery".to_owned(),
            attempts: event.delivery_count.unwrap_or(0),
            first: now,
            last: now,
            brief: false,
        };
        let stored = dispatcher.letters.store(dispatcher, self.work, address, &letter).await;
        stored.then_some(Outcome::DeadLettered)
    }
}
