//! What is known of a scene once it is over: each process' clock and log, each call, and when the gateway was out of reach.
//!
//! Instants are whole seconds since 1970, moments milliseconds.

use std::collections::BTreeMap;

use dev_gateway::Call;
use integration::ticks::{moment, now};

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub(super) lives: Vec<Life>,
    pub(super) calls: Vec<Called>,
    pub(super) outages: Vec<Outage>,
}

/// One process, from its start to its end.
#[derive(Debug)]
pub(super) struct Life {
    /// The content type of its calls.
    pub(super) name: String,
    /// What its clock said, in the order of time; the first stretch is right.
    pub(super) clock: Vec<Stretch>,
    pub(super) log: Vec<String>,
    pub(super) end: End,
}

/// How a process ended.
#[derive(Debug)]
pub(super) enum End {
    /// By SIGTERM.
    Drained,
    /// By SIGKILL.
    Killed {
        at: i64,
        /// The last tick of each function that was answered by then.
        answered: BTreeMap<String, i64>,
    },
}

/// A time in which a process' clock was not set, by the right clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    /// By how many seconds it is ahead.
    pub(super) ahead: i64,
    /// From when on it surely was.
    pub(super) from: i64,
    /// Until when it surely was, or the process ran.
    pub(super) until: i64,
}

/// The gateway could not be reached, from before it was broken until after it was mended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outage {
    pub(super) from: i64,
    pub(super) to: i64,
}

/// A call that the gateway received.
#[derive(Debug, Clone)]
pub(super) struct Called {
    /// Which process made it.
    pub(super) life: String,
    /// `name.namespace`.
    pub(super) function: String,
    /// The tick's.
    pub(super) instant: i64,
    pub(super) id: String,
    pub(super) began: i64,
    pub(super) ended: Option<i64>,
    pub(super) well: bool,
}

impl Life {
    /// That of a process which has just ended.
    pub(super) fn ended(name: String, mut clock: Vec<Stretch>, log: Vec<String>, end: End) -> Self {
        clock.last_mut().expect("it had a time").until = now();
        Self { name, clock, log, end }
    }
}

impl Stretch {
    /// The seconds of its clock that it may have had, with one more on either side.
    pub(super) fn covers(self, instant: i64) -> bool {
        let shown = |moment: i64| moment / 1000 + self.ahead;
        (shown(self.from) - 1..=shown(self.until) + 1).contains(&instant)
    }
}

impl From<&Call> for Called {
    fn from(call: &Call) -> Self {
        let wall = |ns: u64| i64::try_from(ns / 1_000_000).expect("a moment of this age");
        let header = |name| call.header(name).expect("each call has it").to_owned();
        Self {
            life: header("content-type"),
            function: call.function.clone(),
            instant: moment(&header("x-cron-scheduled")) / 1000,
            id: header("x-event-id"),
            began: wall(call.started.wall_ns),
            ended: call.ended.map(|end| wall(end.at.wall_ns)),
            well: call.answered_well(),
        }
    }
}
