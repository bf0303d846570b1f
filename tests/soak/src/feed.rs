//! The events: made from a number, written to the plan, then sent to the broker, for as long as asked and never too far
//! ahead of the connector.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ledger_checker::notes::Notes;
use ledger_checker::plan::Message;
use tokio::time::sleep;

use crate::source::{Event, Publisher, Unsure};

/// How many keys there are: topics of MQTT, groups of SQS, subjects of NATS.
pub(crate) const KEYS: usize = 64;
/// How many events are sent together.
const TOGETHER: usize = 50;
/// How many events may wait at the broker.
const AHEAD: usize = 3_000;
/// How long between two looks at how far the connector is.
const LOOK: Duration = Duration::from_millis(5);

/// How fast events are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rate {
    /// As they are called, never too far ahead.
    Called,
    /// So many a second, whatever is called.
    EachSecond(u32),
}

/// How far feeding and calling are.
#[derive(Default)]
pub(crate) struct Pace {
    made: AtomicUsize,
    begun: AtomicUsize,
    closed: AtomicBool,
}

impl Pace {
    /// How many events have been written down.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    /// Tells how many events have been called for.
    pub(crate) fn tell_begun(&self, begun: usize) {
        self.begun.store(begun, Ordering::Relaxed);
    }

    /// Makes no more events.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn is_ahead(&self) -> bool {
        self.made() > self.begun.load(Ordering::Relaxed) + AHEAD
    }
}

/// What a run has written down, for feeding and breaking at the same time.
#[derive(Clone)]
pub(crate) struct SharedNotes(Arc<Mutex<Notes>>);

impl SharedNotes {
    pub(crate) fn new(notes: Notes) -> Self {
        Self(Arc::new(Mutex::new(notes)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is over: so many events are not settled, and these dead letters are there.
    pub(crate) fn end(&self, left: u64, letters: Vec<Message>) {
        let mut notes = self.lock();
        let written = notes.end(left).and_then(|()| notes.letters(letters));
        written.expect("the plan can be written");
    }
}

/// Feeds until the pace is closed.
pub(crate) async fn feed(
    mut publisher: impl Publisher,
    rate: Rate,
    notes: SharedNotes,
    pace: Arc<Pace>,
) {
    let began = Instant::now();
    let is_early = || match rate {
        Rate::Called => pace.is_ahead(),
        Rate::EachSecond(events) => {
            pace.made() as f64 > began.elapsed().as_secs_f64() * f64::from(events)
        }
    };
    while !pace.closed.load(Ordering::Relaxed) {
        if is_early() {
            sleep(LOOK).await;
            continue;
        }
        let first = pace.made();
        let mut events: Vec<_> = (first..first + TOGETHER).map(Event::number).collect();
        write_down(&notes, &events);
        pace.made.fetch_add(events.len(), Ordering::Relaxed);
        // Broken brokers come back, or the run fails for want of progress.
        while let Err(Unsure(rest)) = publisher.publish(events).await {
            events = rest;
            write_down(&notes, &events);
            sleep(LOOK).await;
        }
    }
}

fn write_down(notes: &SharedNotes, events: &[Event]) {
    let produced =
        events.iter().map(|event| Message::of(&event.key, &event.payload, event.headers()));
    notes.lock().produced(produced).expect("the plan can be written");
}
