//! What listings add up to over time.
//!
//! One listing is not the truth. faasd leaves out a function while it restarts, a gateway that has
//! just started may list nothing at all, and after a reboot functions come back one by one. So what
//! a listing *says* is followed at once, and what it *leaves out* is believed only when it stays
//! away: for three successful listings and for `unmap_after`.
//!
//! Pure: nothing here asks, waits or knows the time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::event::FunctionName;
use crate::topics::{Catalog, Function};

/// A function that is missing from fewer successful listings than this is still there.
const LISTINGS_MISSED: u32 = 3;

/// What one successful listing said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The functions that were listed.
    pub functions: Vec<Function>,
    /// The namespaces that could not be listed this time, and why. Nothing follows for their
    /// functions, neither that they exist nor that they do not.
    pub unlisted: BTreeMap<String, String>,
    /// Names that the gateway's routes would not take. Their functions cannot be called.
    pub misnamed: BTreeSet<String>,
}

/// The functions that count as existing.
#[derive(Debug)]
pub struct Roster {
    unmap_after: Duration,
    known: BTreeMap<FunctionName, Known>,
    first: Option<Instant>,
}

#[derive(Debug)]
struct Known {
    annotations: Arc<BTreeMap<String, String>>,
    missed: Option<Missed>,
}

/// The listings in a row that did not have a function.
#[derive(Debug)]
struct Missed {
    since: Instant,
    listings: u32,
}

impl Roster {
    /// Nothing is known yet. A function that is gone keeps its mappings for `unmap_after`, and
    /// for three listings.
    #[must_use]
    pub fn new(unmap_after: Duration) -> Self {
        Self { unmap_after, known: BTreeMap::new(), first: None }
    }

    /// Takes in a listing that was received at `now`. Whether the catalog has changed by it.
    ///
    /// A listing that failed is not brought here, and so changes nothing.
    pub fn absorb(&mut self, listing: Listing, now: Instant) -> bool {
        self.first.get_or_insert(now);
        let mut changed = false;
        let mut listed: HashMap<_, _> = listing
            .functions
            .into_iter()
            // In reverse, so that of two with one name the first is kept, as in a catalog.
            .rev()
            .map(|function| (function.name, function.annotations))
            .collect();
        self.known.retain(|name, known| {
            if let Some(annotations) = listed.remove(name) {
                known.missed = None;
                if known.annotations != annotations {
                    known.annotations = annotations;
                    changed = true;
                }
                return true;
            }
            if listing.unlisted.contains_key(namespace(name)) {
                return true;
            }
            let stays = known.miss(now, self.unmap_after);
            changed |= !stays;
            stays
        });
        for (name, annotations) in listed {
            let known = Known { annotations, missed: None };
            self.known.insert(name, known);
            changed = true;
        }
        changed
    }

    /// The functions that count as existing.
    #[must_use]
    pub fn catalog(&self) -> Catalog {
        let functions = self.known.iter().map(|(name, known)| Function {
            name: name.clone(),
            annotations: Arc::clone(&known.annotations),
        });
        functions.collect()
    }

    /// When the first listing came.
    #[must_use]
    pub fn first(&self) -> Option<Instant> {
        self.first
    }

    /// Whether `unmap_after` has passed since the first listing. Before, a function that is not
    /// known may be one that has not come back yet, so no event counts as unmatched.
    #[must_use]
    pub fn settled(&self, now: Instant) -> bool {
        self.first.is_some_and(|first| now.saturating_duration_since(first) >= self.unmap_after)
    }
}

impl Known {
    /// Notes that a listing did not have the function. Whether it still counts as existing.
    fn miss(&mut self, now: Instant, unmap_after: Duration) -> bool {
        let missed = self.missed.get_or_insert(Missed { since: now, listings: 0 });
        missed.listings = missed.listings.saturating_add(1);
        missed.listings < LISTINGS_MISSED
            || now.saturating_duration_since(missed.since) < unmap_after
    }
}

/// The namespace in a function's full name; empty where there is none. As the gateway splits it.
fn namespace(name: &FunctionName) -> &str {
    name.as_str().rsplit_once('.').map_or("", |(_, it)| it)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNMAP_AFTER: Duration = Duration::from_secs(60);

    fn function(name: &str, topic: u8) -> Function {
        let annotations = BTreeMap::from([("topic".to_owned(), topic.to_string())]);
        Function { name: FunctionName::new(name), annotations: Arc::new(annotations) }
    }

    fn listing(names: &[&str]) -> Listing {
        Listing {
            functions: names.iter().map(|name| function(name, 0)).collect(),
            ..Listing::default()
        }
    }

    fn known(roster: &Roster) -> Vec<String> {
        let catalog = roster.catalog();
        catalog.iter().map(|it| it.name.to_string()).collect()
    }

    /// One step of a history: seconds since the step before, and the listing unless it failed, as
    /// the topic of each function that was listed and whether the second namespace was.
    type Step = (u64, Option<([Option<u8>; 4], bool)>);

    const NAMES: [&str; 4] = ["a.one", "b.one", "a.two", "plain"];

    fn absorbed(step: &Step) -> Option<Listing> {
        let (topics, two_listed) = step.1?;
        let mut listing = Listing::default();
        for (name, topic) in NAMES.iter().zip(topics) {
            if let Some(topic) = topic.filter(|_| two_listed || !name.ends_with(".two")) {
                listing.functions.push(function(name, topic));
            }
        }
        if !two_listed {
            listing.unlisted.insert("two".into(), "not valid".into());
        }
        Some(listing)
    }

    /// What a function's whole history says of it: its topic if it counts as existing.
    fn judge(name: &str, history: &[Step]) -> Option<u8> {
        let mut now = 0;
        let mut topic = None;
        let mut misses: Vec<u64> = Vec::new();
        for step in history {
            now += step.0;
            let Some(listing) = absorbed(step) else {
                continue;
            };
            if let Some(listed) = listing.functions.iter().find(|it| it.name.as_str() == name) {
                topic = listed.annotations["topic"].parse().ok();
                misses.clear();
            } else if !(name.ends_with(".two") && listing.unlisted.contains_key("two")) {
                misses.push(now);
                if misses.len() >= 3 && now - misses[0] >= UNMAP_AFTER.as_secs() {
                    topic = None;
                }
            }
        }
        topic
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let topic = prop_oneof![2 => Just(None), 1 => (0..2_u8).prop_map(Some)];
        let listing = (proptest::array::uniform4(topic), proptest::bool::weighted(0.8));
        (0..40_u64, proptest::option::weighted(0.85, listing))
    }

    proptest! {
        #[test]
        fn the_roster_agrees_with_the_whole_history(
            history in proptest::collection::vec(any_step(), 0..30),
        ) {
            let mut roster = Roster::new(UNMAP_AFTER);
            let start = Instant::now();
            let mut now = start;
            for (n, step) in history.iter().enumerate() {
                now += Duration::from_secs(step.0);
                let before = roster.catalog();
                if let Some(listing) = absorbed(step) {
                    let changed = roster.absorb(listing, now);
                    prop_assert_eq!(changed, roster.catalog() != before);
                }
                let judged = NAMES.iter().filter_map(|name| {
                    Some(function(name, judge(name, &history[..=n])?))
                });
                prop_assert_eq!(roster.catalog(), judged.collect());
            }
        }
    }

    #[test]
    fn a_function_goes_after_three_listings_and_the_time() {
        let mut roster = Roster::new(UNMAP_AFTER);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(roster.absorb(listing(&["a", "b"]), at(0)));
        for seconds in [10, 20, 30, 69] {
            assert!(!roster.absorb(listing(&["b"]), at(seconds)), "{seconds}");
        }
        assert_eq!(known(&roster), ["a", "b"]);
        assert!(roster.absorb(listing(&["b"]), at(70)));
        assert_eq!(known(&roster), ["b"]);
    }

    #[test]
    fn time_alone_is_not_enough() {
        let mut roster = Roster::new(UNMAP_AFTER);
        let start = Instant::now();
        roster.absorb(listing(&["a"]), start);
        let later = start + 100 * UNMAP_AFTER;
        assert!(!roster.absorb(listing(&[]), later));
        assert!(!roster.absorb(listing(&[]), later + UNMAP_AFTER));
        assert!(roster.absorb(listing(&[]), later + UNMAP_AFTER));
    }

    #[test]
    fn it_has_settled_when_the_time_has_passed_since_the_first_listing() {
        let mut roster = Roster::new(UNMAP_AFTER);
        let start = Instant::now();
        assert!(!roster.settled(start + 2 * UNMAP_AFTER));
        assert!(!roster.absorb(listing(&[]), start));
        roster.absorb(listing(&["a"]), start + UNMAP_AFTER / 2);
        assert!(!roster.settled(start + UNMAP_AFTER - Duration::from_millis(1)));
        assert!(roster.settled(start + UNMAP_AFTER));
    }

    #[test]
    fn of_two_functions_with_one_name_the_first_is_taken() {
        let mut roster = Roster::new(UNMAP_AFTER);
        let functions = vec![function("a", 1), function("a", 2)];
        let both = Listing { functions: functions.clone(), ..Listing::default() };
        roster.absorb(both, Instant::now());
        assert_eq!(roster.catalog(), functions.into_iter().collect());
    }
}
