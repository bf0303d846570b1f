//! How a verdict travels: from whoever owes it to whoever settles.
//!
//! It is told once, through a [`Teller`], and heard once: by whoever awaits the [`Settlement`], or,
//! where a source tracks many of them, through the [`Verdicts`] of its `Pending`. That is one list
//! for all, with one wake-up for whatever has been told since it was last looked at; a channel and
//! a polled future for each event came to a good part of what an event costs.
//!
//! Here is no order and no bookkeeping: what a verdict means for its lane is for
//! [`Pending`](crate::Pending) to say.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::fail_point::{self, Step};
use crate::lane::Settled;

/// Resolves to the event's verdict. If the one who owes it vanishes, by panic or abort, it reads
/// as release (invariant 3).
///
/// Cancel-safe: polling it and letting go loses nothing as long as it is polled again.
#[derive(Debug)]
pub struct Settlement(Arc<Told>);

/// The owing side of a [`Settlement`]. Dropped without a word, it tells silence.
#[derive(Debug)]
pub(crate) struct Teller(Arc<Told>);

/// What the two sides share.
#[derive(Debug)]
struct Told(Mutex<State>);

#[derive(Debug)]
enum State {
    /// Nothing has been told, and nobody waits yet.
    Open,
    /// Who waits for it.
    Awaited(Waker),
    /// The list that it is to be written to, and the ticket it has there.
    Tracked(Weak<List>, u64),
    /// Told, and not heard yet.
    Told(Settled),
    /// Nothing more will come.
    Heard,
}

/// The verdicts of what one `Pending` tracks. Those that come after its end go nowhere
/// (invariant 7).
#[derive(Debug, Default)]
pub(crate) struct Verdicts(Arc<List>);

#[derive(Debug, Default)]
struct List(Mutex<Written>);

#[derive(Debug, Default)]
struct Written {
    /// Since they were last taken, in the order in which they were told.
    verdicts: Vec<(u64, Settled)>,
    /// Who waits for the next one.
    waker: Option<Waker>,
}

impl Settlement {
    /// A settlement, and its owing side.
    pub(crate) fn owed() -> (Teller, Self) {
        let told = Arc::new(Told(Mutex::new(State::Open)));
        (Teller(Arc::clone(&told)), Self(told))
    }

    /// Has the verdict written to `verdicts` under this ticket.
    pub(crate) fn track(self, verdicts: &Verdicts, ticket: u64) {
        let early = {
            let mut state = self.0.lock();
            match mem::replace(&mut *state, State::Heard) {
                State::Told(settled) => Some(settled),
                _ => {
                    *state = State::Tracked(Arc::downgrade(&verdicts.0), ticket);
                    None
                }
            }
        };
        if let Some(settled) = early {
            verdicts.0.write(ticket, settled);
        }
    }
}

impl Future for Settlement {
    type Output = Settled;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Settled> {
        let mut state = self.0.lock();
        match mem::replace(&mut *state, State::Heard) {
            State::Told(settled) => {
                fail_point::pass(Step::Settled);
                Poll::Ready(settled)
            }
            _ => {
                *state = State::Awaited(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Teller {
    /// Tells the verdict. Where nobody listens any more, it goes nowhere.
    pub(crate) fn tell(self, settled: Settled) {
        self.0.tell(settled);
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if !self.0.is_told() {
            self.0.tell(Settled::silence());
        }
    }
}

impl Told {
    fn tell(&self, settled: Settled) {
        let mut state = self.lock();
        match mem::replace(&mut *state, State::Heard) {
            State::Tracked(list, ticket) => {
                // A verdict may hold what begins the next call: nothing is dropped under a lock.
                drop(state);
                if let Some(list) = list.upgrade() {
                    list.write(ticket, settled);
                }
            }
            State::Awaited(waker) => {
                *state = State::Told(settled);
                drop(state);
                waker.wake();
            }
            State::Open | State::Told(_) | State::Heard => *state = State::Told(settled),
        }
    }

    fn is_told(&self) -> bool {
        matches!(*self.lock(), State::Told(_) | State::Heard)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one step: a panic elsewhere cannot tear it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verdicts {
    /// Moves what has been told to `into`, which is empty, and has `cx` woken by what comes next.
    pub(crate) fn take(&self, into: &mut Vec<(u64, Settled)>, cx: &Context<'_>) {
        let mut written = self.0.lock();
        mem::swap(&mut written.verdicts, into);
        fail_point::pass_all(Step::Settled, || into.len() as u64);
        match &mut written.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

impl List {
    fn write(&self, ticket: u64, settled: Settled) {
        let waker = {
            let mut written = self.lock();
            written.verdicts.push((ticket, settled));
            written.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        // As above.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::lane::Verdict;

    fn done() -> Settled {
        Settled { verdict: Verdict::Done, ..Settled::silence() }
    }

    fn told(verdicts: &Verdicts) -> Vec<(u64, Verdict)> {
        let mut into = Vec::new();
        verdicts.take(&mut into, &Context::from_waker(Waker::noop()));
        into.into_iter().map(|(ticket, settled)| (ticket, settled.verdict)).collect()
    }

    #[tokio::test]
    async fn whoever_awaits_a_verdict_is_woken_by_it() {
        let (tell, settlement) = Settlement::owed();
        let waits = tokio::spawn(settlement);
        tokio::task::yield_now().await;
        tell.tell(done());
        assert_eq!(waits.await.expect("no panic").verdict, Verdict::Done);
    }

    #[test]
    fn silence_is_a_release_whether_it_is_awaited_or_tracked() {
        let silence = Settled::silence().verdict;
        let (tell, settlement) = Settlement::owed();
        drop(tell);
        assert_eq!(settlement.now_or_never().map(|settled| settled.verdict), Some(silence));

        let verdicts = Verdicts::default();
        let (tell, settlement) = Settlement::owed();
        settlement.track(&verdicts, 7);
        assert_eq!(told(&verdicts), []);
        drop(tell);
        assert_eq!(told(&verdicts), [(7, silence)]);
    }

    #[test]
    fn what_was_told_before_it_was_tracked_is_not_lost() {
        let verdicts = Verdicts::default();
        let (tell, settlement) = Settlement::owed();
        tell.tell(done());
        settlement.track(&verdicts, 3);
        assert_eq!(told(&verdicts), [(3, Verdict::Done)]);
        assert_eq!(told(&verdicts), []);
    }

    #[test]
    fn a_verdict_that_nobody_listens_to_any_more_goes_nowhere() {
        let verdicts = Verdicts::default();
        let (tell, settlement) = Settlement::owed();
        settlement.track(&verdicts, 0);
        let list = Arc::downgrade(&verdicts.0);
        drop(verdicts);
        tell.tell(done());
        assert!(list.upgrade().is_none());
    }
}
