//! What a source has handed in and not yet settled: the only bookkeeping of acknowledgements.
//!
//! A source tracks each place with its settlement and learns of verdicts here. [`AnyOrder`] yields
//! them as they come. [`InOrder`] yields strictly in order of arrival and **halts at the first
//! release**: nothing behind a released place is ever yielded (invariant 2). Order is order of
//! arrival, never arithmetic on offsets: offsets have holes.
//!
//! It has no locks and no epochs. When a lane ends, its `Pending` is dropped, and a verdict that
//! comes later goes nowhere (invariant 7).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::task::{Context, Poll};

use crate::lane::{Settled, Verdict};
use crate::settlement::{Settlement, Verdicts};

/// Verdicts are yielded in order of arrival, up to the first release.
#[derive(Debug)]
pub enum InOrder {}

/// Verdicts are yielded as they come.
#[derive(Debug)]
pub enum AnyOrder {}

/// Places that wait for their verdicts. `P` is the source's own handle on a delivery.
#[derive(Debug)]
pub struct Pending<P, O> {
    /// In order of arrival. Slot `i` belongs to ticket `first + i`.
    entries: VecDeque<Entry<P>>,
    first: u64,
    /// Where the verdicts are written that have not been noted yet.
    verdicts: Verdicts,
    /// Emptied whenever it has been filled: kept for its memory.
    told: Vec<(u64, Settled)>,
    /// Entries whose verdict has not been noted.
    unjudged: usize,
    /// `AnyOrder` only: tickets judged and not yet yielded.
    judged: VecDeque<u64>,
    halted: bool,
    order: PhantomData<O>,
}

#[derive(Debug)]
struct Entry<P> {
    /// `None` once yielded (`AnyOrder`, out of the middle).
    place: Option<P>,
    settled: Option<Settled>,
}

impl<P, O> Default for Pending<P, O> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            verdicts: Verdicts::default(),
            told: Vec::new(),
            unjudged: 0,
            judged: VecDeque::new(),
            halted: false,
            order: PhantomData,
        }
    }
}

impl<P, O> Pending<P, O> {
    /// Nothing tracked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tracks one more delivery. The order of calls is the order of arrival.
    pub fn track(&mut self, place: P, settlement: Settlement) {
        let ticket = self.first + self.entries.len() as u64;
        self.entries.push_back(Entry { place: Some(place), settled: None });
        self.unjudged += 1;
        settlement.track(&self.verdicts, ticket);
    }

    /// How many tracked places have not been yielded, those behind a release included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.iter().filter(|entry| entry.place.is_some()).count()
    }

    /// Whether every tracked place has been yielded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many tracked places have no verdict yet.
    #[must_use]
    pub fn unjudged(&self) -> usize {
        self.unjudged
    }

    /// Resolves when every tracked place has its verdict; what can be yielded is then yielded by
    /// [`next`](Self::next) without waiting.
    ///
    /// Cancel-safe.
    pub async fn judged(&mut self)
    where
        Self: Note,
    {
        poll_fn(|cx| {
            self.gather(cx);
            if self.unjudged == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The places that have no verdict yet, in order of arrival: for leases and ages.
    pub fn waiting(&self) -> impl Iterator<Item = &P> {
        self.entries.iter().filter(|e| e.settled.is_none()).filter_map(|e| e.place.as_ref())
    }

    /// Notes every verdict that has been told, and has `cx` woken by the next.
    fn gather(&mut self, cx: &Context<'_>)
    where
        Self: Note,
    {
        let mut told = std::mem::take(&mut self.told);
        self.verdicts.take(&mut told, cx);
        self.unjudged -= told.len();
        for (ticket, settled) in told.drain(..) {
            self.note(ticket, settled);
        }
        self.told = told;
    }

    fn entry(&mut self, ticket: u64) -> Option<&mut Entry<P>> {
        let index = usize::try_from(ticket.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(index)
    }
}

/// How a verdict is noted; differs by order.
#[doc(hidden)]
pub trait Note {
    fn note(&mut self, ticket: u64, settled: Settled);
}

impl<P> Note for Pending<P, InOrder> {
    fn note(&mut self, ticket: u64, settled: Settled) {
        if let Some(entry) = self.entry(ticket) {
            entry.settled = Some(settled);
        }
    }
}

impl<P> Note for Pending<P, AnyOrder> {
    fn note(&mut self, ticket: u64, settled: Settled) {
        if let Some(entry) = self.entry(ticket) {
            entry.settled = Some(settled);
            self.judged.push_back(ticket);
        }
    }
}

impl<P> Pending<P, InOrder> {
    /// The next place in order of arrival, with its verdict. Waits for ever when nothing is
    /// tracked or after a release has been yielded, so it can sit in a `select!`.
    ///
    /// Cancel-safe: a place leaves only when it is returned.
    pub async fn next(&mut self) -> (P, Settled) {
        poll_fn(|cx| {
            self.gather(cx);
            match self.take() {
                Some(head) => Poll::Ready(head),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// The next place in order of arrival if its verdict has been noted: does not look for new
    /// verdicts. For settling at a lane's end what [`judged`](Self::judged) has gathered.
    pub fn take(&mut self) -> Option<(P, Settled)> {
        if self.halted {
            return None;
        }
        self.entries.front()?.settled.as_ref()?;
        let Entry { place, settled } = self.entries.pop_front()?;
        let (place, settled) = (place?, settled?);
        self.first += 1;
        self.halted = matches!(settled.verdict, Verdict::Release { .. });
        Some((place, settled))
    }

    /// Whether a release has been yielded: nothing will ever be yielded again.
    #[must_use]
    pub fn halted(&self) -> bool {
        self.halted
    }

    /// The place at the head, which everything behind it waits for.
    #[must_use]
    pub fn head(&self) -> Option<&P> {
        self.entries.front()?.place.as_ref()
    }

    /// The places already done behind the head, in order of arrival, also after the halt. Noting
    /// them is not settling them.
    pub fn finished_behind(&self) -> impl Iterator<Item = &P> {
        self.entries
            .iter()
            .filter(|e| e.settled.as_ref().is_some_and(|s| s.verdict == Verdict::Done))
            .filter_map(|e| e.place.as_ref())
    }
}

impl<P> Pending<P, AnyOrder> {
    /// The next place whose verdict has come. Waits for ever when nothing is tracked.
    ///
    /// Cancel-safe: a place leaves only when it is returned.
    pub async fn next(&mut self) -> (P, Settled) {
        poll_fn(|cx| {
            self.gather(cx);
            match self.take() {
                Some(judged) => Poll::Ready(judged),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// A place whose verdict has been noted: does not look for new verdicts.
    pub fn take(&mut self) -> Option<(P, Settled)> {
        let ticket = self.judged.pop_front()?;
        let entry = self.entry(ticket)?;
        let judged = entry.place.take().zip(entry.settled.take());
        while self.entries.front().is_some_and(|e| e.place.is_none()) {
            self.entries.pop_front();
            self.first += 1;
        }
        judged
    }
}

#[cfg(test)]
mod tests;
