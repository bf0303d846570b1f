//! The judge: calls and letters against the rules, when they begin.

use tokio::time::Instant;

use super::{Answers, Bounds, Running, State, Storing};
use crate::rule::Rule;

impl State {
    /// Judges a call that begins.
    pub(super) fn called(&mut self, event: usize, function: usize) -> u64 {
        self.tell(|s| format!("    {} is called", s.pair(event, function)));
        let pair = self.pair(event, function);
        let life = self.life;
        let part = &self.events[event].parts[function];
        if part.outcome.is_some() && part.ended_in == Some(life) {
            self.breaks(Rule::PairAgain, format!("{pair} has its outcome"));
        }
        if let Some((rule, since)) = self.events[event].forbidden
            // What is lost in this very moment the process cannot know yet.
            && (rule != Rule::Over || since < Instant::now())
        {
            self.breaks(rule, format!("{pair} is called"));
        }
        self.judge_limits(function);
        self.judge_order(event, function, &pair);
        let tries = self.judge_hold(function, &pair);
        let part = &mut self.events[event].parts[function];
        part.calls += 1;
        part.last = None;
        let call = self.number();
        self.calls.insert(call, Running { event, function, tries, tell: None });
        call
    }

    fn judge_limits(&mut self, function: usize) {
        let of_function = self.calls.values().filter(|c| c.function == function).count();
        let Bounds { calls, calls_of_function, .. } = self.bounds;
        if self.calls.len() >= calls || of_function >= calls_of_function {
            let why =
                format!("one more than {} calls, {of_function} of f{function}", self.calls.len());
            self.breaks(Rule::Limits, why);
        }
    }

    fn judge_order(&mut self, event: usize, function: usize, pair: &str) {
        if self.calls.values().any(|call| (call.event, call.function) == (event, function)) {
            self.breaks(Rule::PairTwice, format!("{pair} is called while it is called"));
        }
        let Some(key) = self.events[event].key else { return };
        let same = |other: &usize| *other != event && self.events[*other].key == Some(key);
        if let Some(other) = self.calls.values().map(|call| call.event).find(same) {
            let why = format!("{pair} is called while {} of its key is", self.events[other].name);
            self.breaks(Rule::KeyTwice, why);
        } else if let Some(other) = (0..event).filter(same).find(|other| !self.is_finished(*other))
        {
            let why = format!("{pair} is called before {} is finished", self.events[other].name);
            self.breaks(Rule::KeyOrder, why);
        }
    }

    /// Judges a call of a function that is held: whether it is the one try that there may be.
    fn judge_hold(&mut self, function: usize, pair: &str) -> bool {
        let (Some(wait), Some(hold)) = (self.bounds.holds, &mut self.held[function]) else {
            return false;
        };
        let waited = hold.since.elapsed();
        hold.since = Instant::now();
        let tried = self.calls.values().any(|call| call.function == function && call.tries);
        if tried || waited < wait {
            let why = format!("{pair} is tried {waited:?} after the last, other tries: {tried}");
            self.breaks(Rule::Held, why);
        }
        true
    }

    /// Judges an attempt to store a letter.
    pub(super) fn buried(&mut self, event: usize, function: usize, reason: &str) -> u64 {
        self.tell(|s| format!("    the letter of {} is sent: {reason}", s.pair(event, function)));
        let part = &self.events[event].parts[function];
        let is_due = match reason {
            "refused" => part.last == Some(Answers::Refused),
            "exhausted" => part.calls >= self.bounds.attempts,
            _ => false,
        };
        if !is_due {
            let (pair, calls, last) = (self.pair(event, function), part.calls, part.last);
            let why = format!("{pair} is {reason} after {calls} calls, the last was {last:?}");
            self.breaks(Rule::GivenUpEarly, why);
        }
        let letter = self.number();
        self.letters.insert(letter, Storing { event, function, tell: None });
        letter
    }
}
