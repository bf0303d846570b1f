//! What is published in a run, and what the functions do with it.
//!
//! Some events fail once before they are answered well, and some are refused for good by one of the two functions, so
//! that every step is passed, retries and dead letters included, and one function's part of an event may be over while
//! the other's is not.

use std::collections::HashSet;
use std::ops::Range;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use connector_core::fail_point::Step;
use dev_gateway::{Config, DevGateway, Fault, Function, Reply};

/// How many keys (topics, groups) there are, and how many events each has before the process dies.
pub(crate) const KEYS: usize = 8;
pub(crate) const EACH: usize = 20;
/// How many events each key gets once the process has come back.
const LATER: usize = 3;

/// Answers everything well.
pub(crate) const STEADY: &str = "steady";
/// Fails once for some events, and refuses others.
pub(crate) const FLAKY: &str = "flaky";
pub(crate) const FUNCTIONS: [&str; 2] = [STEADY, FLAKY];

/// What refuses an event for good.
pub(crate) const REFUSED: u16 = 422;

/// One event: the `n`th of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Event {
    pub(crate) key: usize,
    pub(crate) n: usize,
}

impl Event {
    /// Its payload.
    pub(crate) fn text(self) -> String {
        format!("{}-{}", self.key, self.n)
    }

    /// Whether it ends as a dead letter.
    pub(crate) fn is_refused(self) -> bool {
        self.n % 10 == 7
    }

    /// Whether its first call fails.
    fn fails_once(self) -> bool {
        self.n % 5 == 3
    }
}

impl FromStr for Event {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (key, n) = text.split_once('-').ok_or(())?;
        Ok(Self { key: key.parse().map_err(drop)?, n: n.parse().map_err(drop)? })
    }
}

/// What is there when the process dies.
pub(crate) fn first() -> Vec<Event> {
    events(0..EACH)
}

/// What is published when it has come back.
pub(crate) fn second() -> Vec<Event> {
    events(EACH..EACH + LATER)
}

fn events(range: Range<usize>) -> Vec<Event> {
    range.flat_map(|n| (0..KEYS).map(move |key| Event { key, n })).collect()
}

/// How often the first events pass a step if nothing comes in between.
pub(crate) fn passings(step: Step) -> usize {
    let count = |is: fn(Event) -> bool| first().into_iter().filter(|event| is(*event)).count();
    match step {
        Step::Called | Step::Answered => FUNCTIONS.len() * first().len() + count(Event::fails_once),
        Step::DeadLettered => count(Event::is_refused),
        Step::Received | Step::Submitted | Step::Settled | Step::Acknowledged | Step::Confirmed => {
            first().len()
        }
    }
}

/// A gateway with the functions, mapped to this topic.
pub(crate) async fn gateway(topic: &str) -> DevGateway {
    let gateway = DevGateway::start(Config::default()).await.expect("a port is free");
    gateway.deploy(Function::named(STEADY).topic(topic));
    let failed = Arc::new(Mutex::new(HashSet::new()));
    gateway.deploy(Function::named(FLAKY).topic(topic).handler(move |request| {
        let failed = Arc::clone(&failed);
        async move {
            let event = String::from_utf8_lossy(&request.body).parse::<Event>();
            let event = event.expect("what is published is an event");
            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            if event.is_refused() {
                Reply::status(REFUSED)
            } else if event.fails_once() && failed.insert(event) {
                Reply::status(503)
            } else {
                Reply::text("done")
            }
        }
    }));
    for (function, seed) in FUNCTIONS.into_iter().zip(1..) {
        let (least, most) = (Duration::from_millis(5), Duration::from_millis(15));
        gateway.fault(function, Fault::none().delay_between(least, most).seed(seed));
    }
    gateway
}
