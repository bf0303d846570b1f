//! What becomes of a session when annotations change and its filter is no longer asked for.
//!
//! The broker may have queued for it, and only that session brings it. So a function that still
//! asks for something that overlaps stays with the session of its old filter until that has nothing
//! more for it. Where nobody else asks for the filter, it is unsubscribed once the broker has the
//! new ones, and the session is ended when it is empty. A session whose filter overlaps nothing
//! that its functions ask for is disconnected, and ended when that has been so for `unmap_after`:
//! an annotation may be taken back.
//!
//! Pure, and about this process only: MQTT does not tell which sessions an earlier one has left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use connector_core::event::FunctionName;
use tokio::time::Instant;

use crate::filter::Filter;
use crate::plan::Wishes;

/// A broker that has sent nothing for so long, although all that it sent is acknowledged, has
/// nothing more.
const QUIET: Duration = Duration::from_secs(5);

/// How often is looked whether a session is empty.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The sessions that annotations have asked for and that have not been ended.
#[derive(Debug, Default)]
pub(crate) struct Past(BTreeMap<Filter, Had>);

/// One session.
#[derive(Debug, Default)]
struct Had {
    /// The functions that ask for the filter.
    asking: BTreeSet<FunctionName>,
    /// Those that did, and may be called with what is queued.
    former: BTreeSet<FunctionName>,
    /// Since when the broker has all filters by which the former ones get what is published now.
    taken: Option<Instant>,
    /// Since when nobody is to be called through the session.
    alone: Option<Instant>,
}

/// How the sessions stand with the broker.
pub(crate) trait Standing {
    /// Whether the broker has the filter's session with its subscription.
    fn is_subscribed(&self, filter: &Filter) -> bool;
    /// Since when everything that came by the filter's session has been acknowledged. `None` where
    /// that is not so, or where it is not connected.
    fn idle_since(&self, filter: &Filter) -> Option<Instant>;
}

/// What there is to be, by the past and the present.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Following {
    /// The sessions to be connected.
    pub(crate) serving: Vec<Kept>,
    /// The sessions that the broker is to forget.
    pub(crate) over: Vec<Filter>,
    /// When to look again though nothing has changed.
    pub(crate) again: Option<Instant>,
}

/// A session to be connected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) filter: Filter,
    /// Whom it is for.
    pub(crate) functions: BTreeSet<FunctionName>,
    /// Nobody asks for the filter: only what is queued for it is wanted.
    pub(crate) leaves: bool,
}

/// What is to become of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Served,
    /// Served, and looked at whether it has nothing more for those that left it.
    Emptied,
    Alone {
        until: Instant,
    },
    Over,
}

impl Past {
    /// Whether the broker is to keep the filter's session.
    pub(crate) fn has(&self, filter: &Filter) -> bool {
        self.0.contains_key(filter)
    }

    /// Goes on from the sessions that there were to those that `wishes` ask for. One that nobody is
    /// to be called through is kept for `unmap_after`.
    pub(crate) fn follow(
        &mut self,
        wishes: &Wishes,
        standing: &impl Standing,
        unmap_after: Duration,
        now: Instant,
    ) -> Following {
        for filter in wishes.keys() {
            self.0.entry(filter.clone()).or_default();
        }
        let mut following = Following::default();
        self.0.retain(|filter, had| {
            let fate = had.follow(filter, wishes, standing, unmap_after, now);
            let look = match fate {
                Fate::Served => None,
                Fate::Emptied => Some(now + LOOK_INTERVAL),
                Fate::Alone { until } => Some(until),
                Fate::Over => {
                    following.over.push(filter.clone());
                    return false;
                }
            };
            if had.alone.is_none() {
                following.serving.push(had.kept(filter));
            }
            following.again = following.again.into_iter().chain(look).min();
            true
        });
        following
    }
}

impl Had {
    fn follow(
        &mut self,
        filter: &Filter,
        wishes: &Wishes,
        standing: &impl Standing,
        unmap_after: Duration,
        now: Instant,
    ) -> Fate {
        let before = &self.asking | &self.former;
        self.asking = wishes.get(filter).cloned().unwrap_or_default();
        let left = &before - &self.asking;
        let former: BTreeSet<_> = left
            .into_iter()
            .filter(|function| instead(filter, function, wishes).next().is_some())
            .collect();
        if self.asking.is_empty() && former.is_empty() {
            // All of them: each may ask for it again, or for something that overlaps.
            self.former = before;
            self.taken = None;
            let until = *self.alone.get_or_insert(now) + unmap_after;
            return if until <= now { Fate::Over } else { Fate::Alone { until } };
        }
        let was_alone = self.alone.take().is_some();
        if was_alone || !former.is_subset(&self.former) {
            self.taken = None;
        }
        self.former = former;
        if self.former.is_empty() {
            return Fate::Served;
        }
        let mut new = self.former.iter().flat_map(|function| instead(filter, function, wishes));
        let are_taken = new.all(|filter| standing.is_subscribed(filter));
        drop(new);
        if are_taken && self.taken.is_none() {
            self.taken = Some(now);
        }
        let is_quiet = |since: Option<Instant>| since.is_some_and(|since| since + QUIET <= now);
        let is_empty = is_quiet(self.taken) && is_quiet(standing.idle_since(filter));
        match (is_empty, self.asking.is_empty()) {
            (false, _) => Fate::Emptied,
            (true, true) => Fate::Over,
            (true, false) => {
                self.former.clear();
                Fate::Served
            }
        }
    }

    fn kept(&self, filter: &Filter) -> Kept {
        Kept {
            filter: filter.clone(),
            functions: &self.asking | &self.former,
            leaves: self.asking.is_empty() && self.taken.is_some(),
        }
    }
}

/// The filters by which `function` gets some of what it got by `filter`.
fn instead<'a>(
    filter: &'a Filter,
    function: &'a FunctionName,
    wishes: &'a Wishes,
) -> impl Iterator<Item = &'a Filter> {
    let of_function = wishes.iter().filter(move |(_, functions)| functions.contains(function));
    of_function.map(|(other, _)| other).filter(move |other| other.overlaps(filter))
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
