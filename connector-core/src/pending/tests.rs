//! `Pending` against a naive model, over random interleavings of track, judge and yield.

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::*;
use crate::lane::Settled;
use crate::settlement::Teller;

fn verdict(done: bool) -> Settled {
    let mut settled = Settled::silence();
    if done {
        settled.verdict = Verdict::Done;
    }
    settled
}

/// What may happen to a lane.
#[derive(Debug, Clone)]
enum Step {
    Track,
    /// Judge the nth of those without a verdict: done, released, or silence.
    Judge(usize, Judge),
    /// Ask for the next one, once.
    Next,
    /// A `next` that is dropped while it waits, as a `select!` does.
    CancelledNext,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Judge {
    Done,
    Release,
    Silence,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let judge =
        prop_oneof![6 => Just(Judge::Done), 1 => Just(Judge::Release), 1 => Just(Judge::Silence)];
    let step = prop_oneof![
        3 => Just(Step::Track),
        3 => (0..8_usize, judge).prop_map(|(n, judge)| Step::Judge(n, judge)),
        2 => Just(Step::Next),
        1 => Just(Step::CancelledNext),
    ];
    proptest::collection::vec(step, 0..200)
}

/// The naive model: everything ever tracked, in order of arrival.
#[derive(Default)]
struct Model {
    /// The verdict, once judged: done or not.
    judged: Vec<Option<bool>>,
    yielded: Vec<bool>,
    /// Tickets in the order in which they were judged.
    order: Vec<usize>,
    halted: bool,
}

impl Model {
    fn track(&mut self) -> usize {
        self.judged.push(None);
        self.yielded.push(false);
        self.judged.len() - 1
    }

    fn next_in_order(&mut self) -> Option<(usize, bool)> {
        if self.halted {
            return None;
        }
        let head = self.yielded.iter().position(|yielded| !yielded)?;
        let done = self.judged[head]?;
        self.yielded[head] = true;
        self.halted = !done;
        Some((head, done))
    }

    fn next_as_judged(&mut self) -> Option<(usize, bool)> {
        let ticket = *self.order.iter().find(|ticket| !self.yielded[**ticket])?;
        self.yielded[ticket] = true;
        Some((ticket, self.judged[ticket]?))
    }

    fn finished_behind(&self) -> Vec<usize> {
        (0..self.judged.len())
            .filter(|t| !self.yielded[*t] && self.judged[*t] == Some(true))
            .collect()
    }
}

struct Lane<O> {
    pending: Pending<usize, O>,
    model: Model,
    tellers: Vec<(usize, Teller)>,
}

impl<O> Lane<O> {
    fn new() -> Self {
        Self { pending: Pending::new(), model: Model::default(), tellers: Vec::new() }
    }

    fn track_or_judge(&mut self, step: &Step) {
        match step {
            Step::Track => {
                let ticket = self.model.track();
                let (tell, settlement) = Settlement::owed();
                self.tellers.push((ticket, tell));
                self.pending.track(ticket, settlement);
            }
            Step::Judge(n, judge) if !self.tellers.is_empty() => {
                let (ticket, tell) = self.tellers.remove(n % self.tellers.len());
                self.model.judged[ticket] = Some(*judge == Judge::Done);
                self.model.order.push(ticket);
                match judge {
                    Judge::Silence => drop(tell),
                    judge => tell.tell(verdict(*judge == Judge::Done)),
                }
            }
            _ => {}
        }
    }
}

proptest! {
    /// Invariants 2 and 3: strictly in order of arrival, a halt at the first release, silence
    /// reads as release, and what is finished behind the head is told, also after the halt.
    #[test]
    fn in_order_is_as_the_model(steps in steps()) {
        let mut lane = Lane::<InOrder>::new();
        for step in &steps {
            lane.track_or_judge(step);
            match step {
                Step::Next => {
                    let got = lane.pending.next().now_or_never();
                    let expected = lane.model.next_in_order();
                    let got = got.map(|(place, s)| (place, s.verdict == Verdict::Done));
                    prop_assert_eq!(got, expected);
                }
                Step::CancelledNext => {
                    // Poll once without taking: only when it cannot be ready.
                    let head = lane.model.yielded.iter().position(|y| !y);
                    let ready = !lane.model.halted && head.is_some_and(|h| lane.model.judged[h].is_some());
                    if !ready {
                        prop_assert!(lane.pending.next().now_or_never().is_none());
                    }
                }
                _ => {}
            }
            prop_assert_eq!(lane.pending.halted(), lane.model.halted);
            prop_assert_eq!(lane.pending.len(), lane.model.yielded.iter().filter(|y| !**y).count());
        }
        // Everything that will be judged has been: what is noted as finished is the model's.
        lane.pending.judged().now_or_never();
        let finished: Vec<usize> = lane.pending.finished_behind().copied().collect();
        prop_assert_eq!(finished, lane.model.finished_behind());
        prop_assert_eq!(lane.pending.unjudged(), lane.tellers.len());
    }

    /// As verdicts come, each exactly once.
    #[test]
    fn any_order_is_as_the_model(steps in steps()) {
        let mut lane = Lane::<AnyOrder>::new();
        let mut seen = std::collections::HashSet::new();
        for step in &steps {
            lane.track_or_judge(step);
            if matches!(step, Step::Next) {
                let got = lane.pending.next().now_or_never();
                let ready: Vec<usize> = lane.model.order.iter().copied()
                    .filter(|t| !lane.model.yielded[*t]).collect();
                match got {
                    None => prop_assert!(lane.model.next_as_judged().is_none()),
                    Some((place, settled)) => {
                        prop_assert!(ready.contains(&place), "{place} has no verdict");
                        prop_assert!(seen.insert(place), "{place} came twice");
                        prop_assert_eq!(Some(settled.verdict == Verdict::Done), lane.model.judged[place]);
                        lane.model.yielded[place] = true;
                    }
                }
            }
            prop_assert_eq!(lane.pending.len(), lane.model.yielded.iter().filter(|y| !**y).count());
        }
        let waiting: Vec<usize> = lane.pending.waiting().copied().collect();
        lane.pending.judged().now_or_never();
        let mut unjudged: Vec<usize> = lane.tellers.iter().map(|(ticket, _)| *ticket).collect();
        unjudged.sort_unstable();
        // `waiting` may lag behind verdicts that nobody has looked for, never behind tracking.
        prop_assert!(unjudged.iter().all(|ticket| waiting.contains(ticket)));
        let now: Vec<usize> = lane.pending.waiting().copied().collect();
        prop_assert_eq!(now, unjudged);
    }
}

#[tokio::test]
async fn next_waits_for_ever_when_nothing_is_tracked() {
    let mut ordered = Pending::<(), InOrder>::new();
    let mut any = Pending::<(), AnyOrder>::new();
    assert!(ordered.next().now_or_never().is_none());
    assert!(any.next().now_or_never().is_none());
    assert!(ordered.is_empty() && any.is_empty());
}

#[tokio::test]
async fn a_verdict_wakes_the_one_who_waits() {
    let mut pending = Pending::<u8, InOrder>::new();
    let (tell, settlement) = Settlement::owed();
    pending.track(7, settlement);
    let waits = tokio::spawn(async move { pending.next().await.0 });
    tokio::task::yield_now().await;
    tell.tell(verdict(true));
    assert_eq!(waits.await.expect("no panic"), 7);
}
