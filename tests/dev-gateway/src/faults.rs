//! What can go wrong with the calls of one function, as data.
//!
//! A fault is scripted from a test (`Fault::status(500).times(2)`) or read from JSON. Deciding which fault a call meets
//! happens here; carrying it out (closing sockets, never answering) is the part of `invoke`. Faults of the whole
//! gateway are in `platform`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::functions::{Reply, qualified};
use crate::gate::Gate;

/// What happens to the calls of one function instead of, or before, its own answer.
///
/// Without [`Fault::times`] a fault lasts until it is cleared; with it, the one given by [`Fault::then`] follows, and
/// after the last the function answers for itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fault {
    /// What is done where no `status` is set.
    #[serde(rename = "do")]
    action: Action,
    /// Answers with this status without running the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "String::is_empty")]
    body: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// Waited before anything is done.
    delay_ms: u64,
    /// When larger than `delay_ms`, the wait is drawn uniformly between the two.
    delay_max_ms: u64,
    /// How many calls meet this fault; without it all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u32>,
    /// What follows after `times` calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    then: Option<Box<Fault>>,
    /// A share of the calls meets another fault; what the shares leave meets this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mix: Vec<Share>,
    /// Seeds the random choices, so that a run can be repeated.
    seed: u64,
    #[serde(skip)]
    gate: Option<Gate>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// The function answers for itself.
    #[default]
    Pass,
    Hang,
    Reset,
    Close,
}

/// One part of a mix.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Share {
    /// The part of all calls, 0 to 1.
    share: f64,
    fault: Fault,
}

impl Fault {
    /// Answers with this status and an empty body; see [`Fault::body`] and [`Fault::header`].
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// Answers as the gateway does when it cannot reach its provider: 502, empty body.
    pub fn empty_502() -> Self {
        Self::status(502)
    }

    /// Never answers. The call ends when the caller gives up.
    pub fn hang() -> Self {
        Self { action: Action::Hang, ..Self::default() }
    }

    /// Resets the connection (TCP RST) once the whole request has been read.
    pub fn reset() -> Self {
        Self { action: Action::Reset, ..Self::default() }
    }

    /// Closes the connection in good order, but without an answer.
    pub fn close() -> Self {
        Self { action: Action::Close, ..Self::default() }
    }

    /// Lets the function answer for itself: for a delay, a gate, or a pause within a script.
    pub fn none() -> Self {
        Self::default()
    }

    /// Holds every call at `gate`, then lets the function answer.
    pub fn gate(gate: &Gate) -> Self {
        Self::default().at_gate(gate)
    }

    /// Lets the function answer after this wait.
    pub fn slow(delay: Duration) -> Self {
        Self::default().delay(delay)
    }

    /// Each call meets one of these, drawn by its share (0 to 1); what the shares leave of 1 is answered by the function.
    /// The [`Fault::times`] and [`Fault::then`] of the parts are not looked at.
    pub fn mix(shares: impl IntoIterator<Item = (f64, Fault)>) -> Self {
        let mix = shares.into_iter().map(|(share, fault)| Share { share, fault }).collect();
        Self { mix, ..Self::default() }
    }

    /// Sets the body of an answer made by [`Fault::status`].
    #[must_use]
    pub fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// Sets a header of an answer made by [`Fault::status`], such as `Retry-After` or `X-OpenFaaS-Internal`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Waits first. In whole milliseconds.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay_ms = millis(delay);
        self
    }

    /// Waits first, for a time drawn uniformly between the two. In whole milliseconds.
    #[must_use]
    pub fn delay_between(mut self, least: Duration, most: Duration) -> Self {
        self.delay_ms = millis(least);
        self.delay_max_ms = millis(most);
        self
    }

    /// Holds the call at a gate before anything else but the delay.
    #[must_use]
    pub fn at_gate(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Ends the fault after this many calls.
    #[must_use]
    pub fn times(mut self, calls: u32) -> Self {
        self.times = Some(calls);
        self
    }

    /// What follows once the last fault of the script so far has been met as often as its [`Fault::times`] says.
    #[must_use]
    pub fn then(mut self, next: Fault) -> Self {
        self.then = Some(Box::new(match self.then.take() {
            Some(then) => then.then(next),
            None => next,
        }));
        self
    }

    /// Seeds the random choices of mixes and delays; equal seeds, equal choices.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// What is wrong with a fault that came as JSON, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(status) = self.status
            && StatusCode::from_u16(status).is_err()
        {
            return Err(format!("status {status} is not a status code (100 to 999)"));
        }
        for (name, value) in &self.headers {
            if HeaderName::from_bytes(name.as_bytes()).is_err()
                || HeaderValue::from_str(value).is_err()
            {
                return Err(format!("header {name:?} is not legal in HTTP"));
            }
        }
        let shares: f64 = self.mix.iter().map(|part| part.share).sum();
        if self.mix.iter().any(|part| !(0.0..=1.0).contains(&part.share)) || shares > 1.0 + 1e-9 {
            return Err("the shares of a mix are 0 to 1, and 1 at most together".to_owned());
        }
        for fault in self.mix.iter().map(|part| &part.fault).chain(self.then.as_deref()) {
            fault.check()?;
        }
        Ok(())
    }

    /// Decides for one call that has no script of its own; random choices begin from the seed each time.
    pub(crate) fn meet_once(&self) -> Met {
        self.decide(&mut SmallRng::seed_from_u64(self.seed))
    }

    fn reply(&self, status: u16) -> Reply {
        let reply = Reply::status(status).body(self.body.clone());
        self.headers.iter().fold(reply, |reply, (name, value)| reply.header(name, value))
    }

    fn decide(&self, random: &mut SmallRng) -> Met {
        let mut draw = if self.mix.is_empty() { 1.0 } else { random.random::<f64>() };
        for part in &self.mix {
            if draw < part.share {
                return part.fault.decide(random);
            }
            draw -= part.share;
        }
        let delay = match self.delay_max_ms {
            most if most > self.delay_ms => random.random_range(self.delay_ms..=most),
            _ => self.delay_ms,
        };
        let outcome = match (self.status, self.action) {
            (Some(status), _) => Outcome::Answer(self.reply(status)),
            (None, Action::Pass) => Outcome::Pass,
            (None, Action::Hang) => Outcome::Hang,
            (None, Action::Reset) => Outcome::Reset,
            (None, Action::Close) => Outcome::Close,
        };
        Met { delay: Duration::from_millis(delay), gate: self.gate.clone(), outcome }
    }
}

/// What one call meets.
#[derive(Debug)]
pub(crate) struct Met {
    pub(crate) delay: Duration,
    pub(crate) gate: Option<Gate>,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Pass,
    Answer(Reply),
    Hang,
    Reset,
    Close,
}

impl Met {
    pub(crate) fn nothing() -> Self {
        Self { delay: Duration::ZERO, gate: None, outcome: Outcome::Pass }
    }
}

/// The scripts in force, by a function's qualified name.
#[derive(Default)]
pub(crate) struct Faults {
    scripts: Mutex<HashMap<String, Script>>,
}

struct Script {
    current: Fault,
    random: SmallRng,
}

impl Faults {
    pub(crate) fn set(&self, function: &str, fault: Fault) {
        let random = SmallRng::seed_from_u64(fault.seed);
        self.lock().insert(qualified(function), Script { current: fault, random });
    }

    pub(crate) fn clear(&self, function: &str) {
        self.lock().remove(&qualified(function));
    }

    pub(crate) fn clear_all(&self) {
        self.lock().clear();
    }

    /// Decides for one call, and moves its function's script on.
    pub(crate) fn meet(&self, qualified: &str) -> Met {
        let mut scripts = self.lock();
        let Some(script) = scripts.get_mut(qualified) else {
            return Met::nothing();
        };
        loop {
            match &mut script.current.times {
                Some(0) => {}
                Some(left) => {
                    *left -= 1;
                    break;
                }
                None => break,
            }
            let Some(next) = script.current.then.take() else {
                scripts.remove(qualified);
                return Met::nothing();
            };
            script.current = *next;
        }
        script.current.decide(&mut script.random)
    }

    /// The scripts as they stand, with the calls left to each.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, Fault> {
        self.lock()
            .iter()
            .map(|(function, script)| (function.clone(), script.current.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Script>> {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn statuses(faults: &Faults, calls: usize) -> Vec<u16> {
        (0..calls)
            .map(|_| match faults.meet("f.openfaas-fn").outcome {
                Outcome::Answer(reply) => reply.status.as_u16(),
                _ => 200,
            })
            .collect()
    }

    #[test]
    fn a_script_runs_through_its_steps_and_ends() {
        let faults = Faults::default();
        faults.set(
            "f",
            Fault::status(500)
                .times(2)
                .then(Fault::none().times(1))
                .then(Fault::status(429).times(1)),
        );
        assert_eq!(statuses(&faults, 6), [500, 500, 200, 429, 200, 200]);
        assert!(faults.snapshot().is_empty());
    }

    #[test]
    fn equal_seeds_draw_equal_mixes_near_their_shares() {
        let draw = |seed| {
            let faults = Faults::default();
            faults.set(
                "f",
                Fault::mix([(0.3, Fault::status(500)), (0.2, Fault::status(429))]).seed(seed),
            );
            statuses(&faults, 10_000)
        };
        let drawn = draw(7);
        assert_eq!(drawn, draw(7));
        assert_ne!(drawn, draw(8));
        let count = |status| drawn.iter().filter(|one| **one == status).count();
        assert!((2_800..3_200).contains(&count(500)), "{}", count(500));
        assert!((1_800..2_200).contains(&count(429)), "{}", count(429));
    }

    #[test]
    fn json_names_what_it_does_not_know() {
        let fault: Fault =
            serde_json::from_str(r#"{"status":503,"headers":{"Retry-After":"2"},"times":1}"#)
                .unwrap();
        fault.check().unwrap();
        assert!(serde_json::from_str::<Fault>(r#"{"statsu":503}"#).is_err());
        let fault: Fault = serde_json::from_str(r#"{"status":42}"#).unwrap();
        assert!(fault.check().is_err());
    }
}
