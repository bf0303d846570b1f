//! The evidence, joined: which calls and letters belong to which pair of event and function.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::evidence::Evidence;
use crate::ledger::Call;
use crate::plan::{Fault, FaultKind, Ordering, Sample, Settling};

/// How long the broker may take to take note of a commit that was sent in time, and a busy machine to send it.
const COMMIT_TRAVEL_NS: u64 = 250_000_000;
/// How long after such an answer a letter may be on its way, and the broker's confirmation: a busy one takes a while.
const LETTER_TRAVEL_NS: u64 = 2_000_000_000;
/// How long an answer that the gateway has written down may be on its way.
const ANSWER_TRAVEL_NS: u64 = 250_000_000;

/// The evidence, joined.
pub(super) struct Facts<'a> {
    pub(super) evidence: &'a Evidence,
    /// For each event in `evidence.stored`, and each function: the pair.
    pairs: Vec<Pair>,
    /// For each call its event, if it is of one that is stored and of a function of the run.
    pub(super) event_of: Vec<Option<usize>>,
    /// For each event produced, in that order: where it stands in `evidence.stored`.
    pub(super) stored_as: Vec<Option<usize>>,
    /// Every moment of the ledger by its place, with its time.
    times: Vec<(u64, u64)>,
    /// For each event the time when its last call ended: what was over long before a fault need not be looked at closer.
    over: Vec<u64>,
}

/// One event and one function.
#[derive(Clone, Debug, Default)]
pub(super) struct Pair {
    /// Its calls in the order in which they began, as indices of `evidence.calls`.
    pub(super) calls: Vec<usize>,
    /// Its dead letters, as indices of `evidence.letters`.
    pub(super) letters: Vec<usize>,
}

/// What must not be called at the same time.
pub(super) type OrderKey<'a> = (usize, Option<Option<&'a [u8]>>);

impl<'a> Facts<'a> {
    pub(super) fn of(evidence: &'a Evidence) -> Self {
        let functions: HashMap<&str, usize> =
            evidence.run.functions.iter().enumerate().map(|(n, name)| (&**name, n)).collect();
        let by_body = evidence.by_body();
        let by_id = evidence.by_id();
        let mut pairs = vec![Pair::default(); evidence.stored.len() * functions.len()];
        let mut event_of = Vec::with_capacity(evidence.calls.len());
        let mut times = Vec::with_capacity(evidence.calls.len() * 2);
        let mut over = vec![0; evidence.stored.len()];
        for (number, call) in evidence.calls.iter().enumerate() {
            let event = by_body.get(&call.body).copied();
            let function = functions.get(&*call.function);
            event_of.push(event.filter(|_| function.is_some()));
            if let (Some(event), Some(function)) = (event, function) {
                pairs[event * functions.len() + function].calls.push(number);
            }
            times.push((call.start.place, call.start.ns));
            if let Some(event) = event {
                let end = call.end.map_or(u64::MAX, |end| end.at.ns);
                over[event] = end.max(over[event]);
            }
            times.extend(call.end.map(|end| (end.at.place, end.at.ns)));
        }
        times.sort_unstable();
        for (number, letter) in evidence.letters.iter().enumerate() {
            if let (Some(event), Some(function)) =
                (by_id.get(&*letter.event_id), functions.get(&*letter.function))
            {
                pairs[event * functions.len() + function].letters.push(number);
            }
        }
        let stored_as =
            evidence.produced.iter().map(|(body, _)| by_body.get(body).copied()).collect();
        Self { evidence, pairs, event_of, stored_as, times, over }
    }

    /// The pairs of an event, in the order of the run's functions.
    pub(super) fn pairs(&self, event: usize) -> &[Pair] {
        let functions = self.evidence.run.functions.len();
        &self.pairs[event * functions..(event + 1) * functions]
    }

    /// The calls of a pair that were answered well, in the order in which they began.
    pub(super) fn well<'b>(&'b self, pair: &'b Pair) -> impl Iterator<Item = &'b Call> {
        pair.calls.iter().map(|call| &self.evidence.calls[*call]).filter(|c| c.well().is_some())
    }

    /// The place of the first good answer of a pair.
    pub(super) fn first_well(&self, pair: &Pair) -> Option<u64> {
        self.well(pair).filter_map(Call::well).map(|at| at.place).min()
    }

    /// The place at which a pair of this event had its first outcome: a good answer, or a dead letter, which is stored once
    /// the last call has ended, or the last before a fault had it called again.
    pub(super) fn finished(
        &self,
        event: usize,
        pair: &Pair,
        exposed: &[Exposed<'_>],
    ) -> Option<u64> {
        let calls = || pair.calls.iter().map(|call| &self.evidence.calls[*call]);
        let first = calls().next()?;
        let is_again = |call: &Call| exposed.iter().any(|by| by.explains(event, first, call));
        let buried = calls()
            .enumerate()
            .take_while(|(number, call)| *number == 0 || !is_again(call))
            .filter_map(|(_, call)| call.end)
            .map(|end| end.at.place)
            .max()
            .filter(|_| !pair.letters.is_empty());
        [self.first_well(pair), buried].into_iter().flatten().min()
    }

    /// What an event is ordered by; `None` where it is not.
    pub(super) fn order_key(&self, event: usize) -> Option<OrderKey<'a>> {
        let event = &self.evidence.stored[event];
        match self.evidence.run.ordering {
            Ordering::None => None,
            Ordering::Partition => Some((event.lane, None)),
            Ordering::Key | Ordering::Settled => {
                Some((event.lane, Some(event.content.key.as_deref())))
            }
        }
    }

    /// `orders@12 to f`, as violations name a pair.
    pub(super) fn name(&self, event: usize, function: usize) -> String {
        format!("{} to {}", self.evidence.stored[event].id, self.evidence.run.functions[function])
    }

    /// When an event had an outcome for every function, as far as the processes that a fault met could know. `None`:
    /// never.
    fn finished_ns(&self, event: usize, fault: &Fault) -> Option<u64> {
        let of_pair = |pair: &Pair| {
            let calls = pair.calls.iter().map(|call| &self.evidence.calls[*call]);
            let own = calls.filter(|call| is_of(call, fault));
            let well = own.clone().filter_map(Call::well);
            // One process remembers its first; of several, the last has to have told the broker.
            let well = match &fault.process {
                Some(_) => well.map(|at| at.ns).min(),
                None => well.filter(|at| at.place <= fault.after).map(|at| at.ns).max(),
            };
            let ends = own.filter_map(|call| call.end).map(|end| end.at.ns);
            let buried = ends.max().filter(|_| !pair.letters.is_empty());
            well.or(buried)
        };
        self.pairs(event).iter().map(of_pair).try_fold(0, |latest, ns| ns.map(|ns| latest.max(ns)))
    }

    /// How many outages of the broker may have kept its confirmation of a letter of this pair from whoever stored it: those
    /// that met a letter on its way, which it is once a call has ended. Only where each event is settled on its own: it is
    /// called again when its lease ends meanwhile.
    pub(super) fn outages_while_storing(&self, pair: &Pair) -> usize {
        if !matches!(self.evidence.run.settling, Settling::Single { .. }) || pair.letters.is_empty()
        {
            return 0;
        }
        let calls = pair.calls.iter().map(|call| &self.evidence.calls[*call]);
        let ends: Vec<_> = calls.filter_map(|call| call.end).map(|end| end.at).collect();
        let meets = |outage: &&Fault| {
            let since = self.ns_at(outage.before).saturating_sub(LETTER_TRAVEL_NS);
            ends.iter().any(|end| end.place <= outage.after && end.ns >= since)
        };
        let faults = self.evidence.faults.iter().map(|(fault, _)| fault);
        faults.filter(|fault| fault.kind == FaultKind::BrokerOutage).filter(meets).count()
    }

    /// The time when the ledger was so long.
    fn ns_at(&self, place: u64) -> u64 {
        let until = self.times.partition_point(|(at, _)| *at <= place);
        until.checked_sub(1).map_or(0, |last| self.times[last].1)
    }

    /// The longest time for which nothing was written between two places of the ledger.
    pub(super) fn stood_still(&self, from: u64, until: u64) -> Duration {
        let place = |at: u64| self.times.partition_point(|(place, _)| *place < at);
        let between = self.times.get(place(from)..=place(until)).unwrap_or_default();
        let gaps = between.windows(2).map(|pair| pair[1].1.saturating_sub(pair[0].1));
        Duration::from_nanos(gaps.max().unwrap_or(0))
    }

    /// What a fault may make a connector call again.
    pub(super) fn exposed(&self, fault: &'a Fault) -> Exposed<'a> {
        let recognised = self.evidence.run.broker.ids_outlive_connections();
        let none = || Exposed::none(fault);
        match (self.evidence.run.settling, fault.kind) {
            (_, FaultKind::Strain) => none(),
            // Whoever is still there when the broker is back has lost nothing, if it knows what it is sent again.
            (_, FaultKind::BrokerOutage) if recognised => none(),
            (Settling::Interval { ms }, _) => {
                let lanes = 0..self.evidence.ends.len();
                let since: Vec<_> = lanes.map(|lane| self.told_until(fault, lane, ms)).collect();
                self.unfinished(fault, |lane| since.get(lane).copied().unwrap_or(0))
            }
            // Where nothing is recognised, whatever ends a connection repeats what was not settled on it.
            (Settling::Single { lease_ms, travel_ms }, kind)
                if kind.forgets() || (!recognised && kind != FaultKind::GatewayOutage) =>
            {
                self.in_hand(fault, lease_ms, travel_ms)
            }
            (Settling::Single { lease_ms, .. }, FaultKind::Leave) => {
                let since = self.froze_before(fault, lease_ms).unwrap_or(fault.before);
                let since = self.ns_at(since).saturating_sub(ANSWER_TRAVEL_NS);
                self.unfinished(fault, |_| since)
            }
            (Settling::Single { .. } | Settling::Never, _) => {
                let since = self.ns_at(fault.before).saturating_sub(ANSWER_TRAVEL_NS);
                self.unfinished(fault, |_| since)
            }
        }
    }

    /// Where the ledger was when the process that leaves was frozen, if that is no longer ago than a lease. What it held
    /// then is lent to nobody any more: it may be answered well, but it is not settled until it has come again.
    fn froze_before(&self, leave: &Fault, lease_ms: u64) -> Option<u64> {
        let at = self.ns_at(leave.before);
        let faults = self.evidence.faults.iter().map(|(fault, _)| fault);
        let froze = faults.filter(|fault| {
            fault.kind == FaultKind::Freeze
                && fault.process == leave.process
                && fault.before <= leave.before
                && self.ns_at(fault.after).saturating_add(lease_ms * 1_000_000) >= at
        });
        froze.map(|fault| fault.before).min()
    }

    /// The events begun at a fault that had not been finished, by a time which depends on the lane.
    fn unfinished(&self, fault: &'a Fault, since: impl Fn(usize) -> u64) -> Exposed<'a> {
        let mut exposed = Exposed::none(fault);
        let mut events = HashSet::new();
        for (event, over) in self.over.iter().enumerate() {
            let since = since(self.evidence.stored[event].lane);
            if *over < since || self.finished_ns(event, fault).is_some_and(|ns| ns < since) {
                continue;
            }
            let begun = self.begun(event, &exposed);
            if begun > 0 {
                events.insert(event);
                exposed.pairs += begun;
            }
        }
        exposed.events = Some(events);
        exposed
    }

    /// Any of the events begun at a fault, but no more of them than a lane's window holds, what the broker is known to have
    /// forgotten, and what was finished while settlements were on their way.
    fn in_hand(&self, fault: &'a Fault, lease_ms: u64, travel_ms: u64) -> Exposed<'a> {
        // While the broker was away it was told nothing, and it gives out again after a lease what was settled then.
        let at = self.ns_at(fault.before);
        let away = self.evidence.faults.iter().map(|(outage, _)| outage).filter(|outage| {
            outage.kind == FaultKind::BrokerOutage
                && outage.before <= fault.before
                && self.ns_at(outage.after).saturating_add(lease_ms * 1_000_000) >= at
        });
        let told = away.map(|outage| self.ns_at(outage.before)).fold(at, u64::min);
        let since = told.saturating_sub(travel_ms * 1_000_000);

        // Nor does it hear what is said while it cannot be reached, though a client may still have much to read.
        let until =
            if fault.kind == FaultKind::BrokerOutage { self.ns_at(fault.after) } else { at };

        let mut exposed = Exposed { events: None, ..Exposed::none(fault) };
        let mut on_the_way = 0;
        for (event, over) in self.over.iter().enumerate() {
            if *over >= since
                && self.finished_ns(event, fault).is_some_and(|ns| since <= ns && ns < until)
            {
                on_the_way += self.begun(event, &exposed);
            }
        }
        let window = usize::try_from(self.evidence.run.lane_window).unwrap_or(usize::MAX);
        let events = window.saturating_add(fault.forgotten);
        exposed.pairs = events.saturating_mul(self.evidence.run.functions.len()) + on_the_way;
        exposed
    }

    /// How many pairs of an event had been begun by what a fault met.
    fn begun(&self, event: usize, met: &Exposed<'_>) -> usize {
        let reached = |call: &usize| met.reaches(&self.evidence.calls[*call]);
        self.pairs(event).iter().filter(|pair| pair.calls.iter().any(reached)).count()
    }

    /// Until when the processes that a fault met have told the broker what they had finished of a lane.
    fn told_until(&self, fault: &Fault, lane: usize, interval_ms: u64) -> u64 {
        let commit = interval_ms * 1_000_000 + COMMIT_TRAVEL_NS;
        let window = if fault.kind.forgets() { commit } else { ANSWER_TRAVEL_NS };
        let since = self.ns_at(fault.before).saturating_sub(window);
        // A broker that is away is told nothing, not even by who is asked. When it was told last, the samples say.
        let outages = self.evidence.faults.iter().map(|(outage, _)| outage);
        let met = outages.filter(|outage| outage.kind == FaultKind::BrokerOutage).any(|outage| {
            fault.kind != FaultKind::GatewayOutage
                && outage.before <= fault.after
                && self.ns_at(outage.after) >= since
        });
        if !met {
            return since;
        }
        let committed = |sample: &Sample| sample.committed.get(lane).copied();
        let before = self.evidence.samples.iter().filter(|sample| sample.ledger <= fault.before);
        let mut advances = before.clone().zip(before.skip(1)).collect::<Vec<_>>().into_iter().rev();
        let last = advances.find(|(one, next)| committed(one) < committed(next));
        let told = last.map_or(0, |(one, _)| self.ns_at(one.ledger));
        since.min(told.saturating_sub(commit))
    }

    /// How many calls of its process ran at a fault.
    pub(super) fn running_at(&self, fault: &Fault) -> usize {
        let calls = self.evidence.calls.iter();
        calls
            .filter(|call| is_of(call, fault))
            .filter(|call| call.start.place <= fault.before)
            .filter(|call| call.end.is_none_or(|end| end.at.place > fault.before))
            .count()
    }

    /// How many of the events produced by then no process can have received: what lies beyond the last one called in
    /// each lane, less what may have been received in advance.
    pub(super) fn unread_at(&self, fault: &Fault, produced: usize) -> usize {
        let lanes = self.evidence.ends.len();
        let mut last = vec![-1; lanes];
        for (call, event) in self.evidence.calls.iter().zip(&self.event_of) {
            if call.start.place <= fault.before
                && let Some(event) = event
            {
                let event = &self.evidence.stored[*event];
                last[event.lane] = last[event.lane].max(event.position);
            }
        }
        let mut unread = vec![0_usize; lanes];
        for event in self.stored_as.iter().take(produced).flatten() {
            let event = &self.evidence.stored[*event];
            unread[event.lane] += usize::from(event.position > last[event.lane]);
        }
        let window = usize::try_from(self.evidence.run.lane_window).unwrap_or(usize::MAX);
        unread.into_iter().map(|unread| unread.saturating_sub(window)).sum()
    }
}

/// What a fault may make a connector call again.
pub(super) struct Exposed<'a> {
    fault: &'a Fault,
    /// Which of the events that had been begun; `None`: any.
    events: Option<HashSet<usize>>,
    /// How many pairs of these.
    pub(super) pairs: usize,
}

impl<'a> Exposed<'a> {
    fn none(fault: &'a Fault) -> Self {
        Self { fault, events: Some(HashSet::new()), pairs: 0 }
    }

    /// Whether a call belongs to what the fault met.
    fn reaches(&self, call: &Call) -> bool {
        let fault = self.fault;
        is_of(call, fault)
            // What a killed process had sent may begin after its death; a living one begins new work.
            && (fault.kind == FaultKind::Kill || call.start.place <= fault.after)
    }

    /// Whether the fault explains that an event was called again after it had been answered well.
    pub(super) fn explains(&self, event: usize, first: &Call, again: &Call) -> bool {
        // What a killed process had sent may even begin after its successor's call.
        let sent_before = self.fault.kind == FaultKind::Kill && self.reaches(again);
        self.events.as_ref().is_none_or(|events| events.contains(&event))
            && again.start.place > self.fault.before
            && (self.reaches(first) || sent_before)
    }
}

/// Whether a call is of a process that a fault met.
fn is_of(call: &Call, fault: &Fault) -> bool {
    fault.process.as_ref().is_none_or(|name| *name == call.process)
}
