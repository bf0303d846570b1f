//! What came of a run, from the gateway's ledger and the letters at the broker alone.

use std::collections::{BTreeSet, HashMap};

use dev_gateway::{Call, Calls, Cause};

use crate::source::Kind;
use crate::work::{self, Event, FUNCTIONS, REFUSED};

/// What the judge knows beside the ledger.
pub(crate) struct Evidence {
    pub(crate) kind: Kind,
    /// Events of one key are called one after the other.
    pub(crate) ordered: bool,
    /// How many events may be called again.
    pub(crate) at_most: usize,
    /// The payloads of the letters.
    pub(crate) letters: Vec<String>,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    pub(crate) events: usize,
    /// Events that some function has not answered, and that are no letter for it.
    pub(crate) lost: usize,
    /// Events for which a function was called again that had answered, or was cut off.
    pub(crate) again: usize,
    /// How many there may be.
    pub(crate) at_most: usize,
    /// Letters that are stored more than once.
    pub(crate) letters_again: usize,
    /// What must not be.
    pub(crate) violations: Vec<String>,
}

impl Judgement {
    /// That of a run which did not come to its end.
    pub(crate) fn broken_off() -> Self {
        let violations = vec!["the run broke off, see above".to_owned()];
        Self { violations, ..Self::default() }
    }
}

/// The call of a function for an event.
type Pair = (&'static str, Event);

pub(crate) fn judge(calls: &Calls, evidence: &Evidence) -> Judgement {
    let first = work::first();
    let mut all = first.clone();
    all.extend(work::second());
    let letters: Vec<Event> =
        evidence.letters.iter().filter_map(|letter| letter.parse().ok()).collect();
    let stored: BTreeSet<Event> = letters.iter().copied().collect();

    let mut lost: BTreeSet<Event> = open(calls, &all).into_iter().map(|(_, event)| event).collect();
    let unstored = all.iter().filter(|event| event.is_refused() && !stored.contains(event));
    lost.extend(unstored);
    let again = repeated(calls);
    let at_most = evidence.at_most;
    let mut judgement = Judgement {
        events: all.len(),
        lost: lost.len(),
        again: again.len(),
        at_most,
        letters_again: letters.len() - stored.len(),
        violations: Vec::new(),
    };
    let mut rule = |holds: bool, broken: String| {
        if !holds {
            judgement.violations.push(broken);
        }
    };
    rule(
        lost.is_empty() || !evidence.kind.keeps(),
        format!("lost: {:?}", lost.iter().map(|event| fate(calls, *event)).collect::<Vec<_>>()),
    );
    let later = lost.iter().filter(|event| !first.contains(event)).count();
    rule(later == 0, format!("{later} lost that nothing happened to"));
    rule(again.len() <= at_most, format!("called again, of at most {at_most}: {again:?}"));
    let beside = beside_itself(calls);
    rule(beside.is_empty(), format!("called beside itself: {beside:?}"));
    if evidence.ordered && evidence.kind.keeps() {
        let early = out_of_order(calls, &all);
        rule(early.is_empty(), format!("called before its predecessor had ended: {early:?}"));
    }
    let twice = letters.len() - stored.len();
    rule(twice <= at_most, format!("{twice} letters stored again, of at most {at_most}"));
    judgement
}

/// What became of an event's calls.
fn fate(calls: &Calls, event: Event) -> String {
    let of = calls.iter().filter(|call| event_of(call) == Some(event));
    let told = of.map(|call| format!("{} {:?}", call.function, call.ended));
    format!("{event:?}: {}", told.collect::<Vec<_>>().join("; "))
}

/// How many events have been called.
pub(crate) fn called(calls: &Calls) -> usize {
    calls.iter().filter_map(event_of).collect::<BTreeSet<_>>().len()
}

/// What has not come to an end: no function's answer, neither good nor final.
pub(crate) fn open(calls: &Calls, events: &[Event]) -> BTreeSet<Pair> {
    let ended: BTreeSet<Pair> =
        calls.iter().filter(|call| is_end(call)).filter_map(pair_of).collect();
    let all = events.iter().flat_map(|event| FUNCTIONS.map(|function| (function, *event)));
    all.filter(|pair| !ended.contains(pair)).collect()
}

fn is_end(call: &Call) -> bool {
    call.answered_well() || call.ended.is_some_and(|end| end.status == REFUSED)
}

/// Events that a function was called for again: it had ended them before, or the process died under the call.
fn repeated(calls: &Calls) -> BTreeSet<Event> {
    let was_cut = |call: &Call| call.ended.is_some_and(|end| end.cause == Some(Cause::CallerGone));
    let followed = by_pair(calls)
        .into_iter()
        .filter(|(_, calls)| calls.windows(2).any(|two| is_end(two[0]) || was_cut(two[0])));
    followed.map(|((_, event), _)| event).collect()
}

/// Events that a function was called for twice at the same time.
fn beside_itself(calls: &Calls) -> BTreeSet<Event> {
    let beside = by_pair(calls)
        .into_iter()
        .filter(|(_, calls)| calls.windows(2).any(|two| two[0].overlaps(two[1])));
    beside.map(|((_, event), _)| event).collect()
}

/// Events that were called before every function had ended the one before them.
fn out_of_order(calls: &Calls, events: &[Event]) -> BTreeSet<Event> {
    let pairs = by_pair(calls);
    let calls_of = |function, event| pairs.get(&(function, event)).into_iter().flatten();
    let early = |event: &Event| {
        let Some(n) = event.n.checked_sub(1) else { return false };
        let before = Event { n, ..*event };
        let ends = FUNCTIONS.map(|function| {
            let first = calls_of(function, before).find(|call| is_end(call));
            first.and_then(|call| call.ended).map_or(u64::MAX, |end| end.at.monotonic_ns)
        });
        let begin = FUNCTIONS
            .iter()
            .filter_map(|function| calls_of(*function, *event).next())
            .map(|call| call.started.monotonic_ns)
            .min();
        begin.is_some_and(|begin| ends.iter().any(|end| begin < *end))
    };
    events.iter().copied().filter(early).collect()
}

/// The calls of each function for each event, in the order in which they began.
fn by_pair(calls: &Calls) -> HashMap<Pair, Vec<&Call>> {
    let mut pairs = HashMap::<_, Vec<_>>::new();
    for call in calls.iter() {
        if let Some(pair) = pair_of(call) {
            pairs.entry(pair).or_default().push(call);
        }
    }
    pairs
}

fn pair_of(call: &Call) -> Option<Pair> {
    let function = FUNCTIONS.into_iter().find(|function| call.function.starts_with(function))?;
    Some((function, event_of(call)?))
}

fn event_of(call: &Call) -> Option<Event> {
    call.text().parse().ok()
}
