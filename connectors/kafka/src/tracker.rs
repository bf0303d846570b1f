//! Where one lane stands: the watermark, and what is finished beyond it.
//!
//! The watermark is the offset below which everything is finished. It is the first record without
//! a verdict, by order of arrival; with none, it is where the log was last seen to go on. Offsets
//! have holes (compaction, aborted transactions, control records), and both rules pass over them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use connector_core::{InOrder, Pending, Settled, Settlement, Verdict};

use crate::commit::Standing;
use crate::progress::{Beyond, LIMIT, MARK, Place, longest};

/// The most records a lane remembers behind its head, finished or not: some 100 bytes each.
const MOST_TRACKED: usize = 65_536;

/// The most records a lane has done that wait for their commit: some 200 bytes each. As many as a
/// commit takes in its turn are far fewer; the rest is for a broker that refuses commits.
const MOST_UNCOMMITTED: usize = 100_000;

/// What a lane has received and what became of it.
pub(crate) struct Tracker {
    pending: Pending<Place, InOrder>,
    /// Places in `pending`: counting them there walks them all.
    tracked: usize,
    /// The first place that was given back: nothing behind it is ever settled.
    released: Option<Place>,
    /// The offset after the last record received or the last hole seen.
    next: i64,
    /// The offset of the last record received.
    previous: i64,
    /// What the metadata of the last commit lists as finished, while it is of use.
    known: Option<Beyond>,
    /// Whether the record at the committed offset has been seen to be the one `known` was written
    /// behind.
    trusted: bool,
    /// Kept until the broker has the commit: while they live, no redelivery is called again.
    settled: VecDeque<(i64, Settled)>,
    /// The offset committed last, told by the committer.
    committed: Arc<AtomicI64>,
    reported: Standing,
    /// Whether the standing may differ from the one reported.
    changed: bool,
}

/// What is to be done with a record.
pub(crate) enum Admission {
    /// Functions are called for it; track it with its settlement.
    New(Place),
    /// The last commit lists it as finished.
    Finished,
}

impl Tracker {
    /// A lane that begins at `start`, as committed.
    pub(crate) fn new(start: Standing, committed: Arc<AtomicI64>) -> Self {
        Self {
            pending: Pending::new(),
            tracked: 0,
            released: None,
            next: start.offset,
            previous: start.offset - 1,
            known: Beyond::decode(start.metadata.as_bytes(), start.offset),
            trusted: false,
            settled: VecDeque::new(),
            committed,
            reported: start,
            changed: false,
        }
    }

    /// Whether one more record may be received: whatever finishes, it must fit into the metadata, and
    /// into memory until it is committed.
    pub(crate) fn has_room(&self) -> bool {
        if self.halted() || self.awaits_commit() {
            return false;
        }
        let span = self.next.abs_diff(self.watermark());
        self.tracked < MOST_TRACKED && longest(self.pending.unjudged(), span) <= LIMIT
    }

    /// Whether so much is done and not committed that nothing more may be received.
    pub(crate) fn awaits_commit(&self) -> bool {
        self.settled.len() >= MOST_UNCOMMITTED
    }

    /// The timestamp of the first record that is not finished; `None`: all are.
    pub(crate) fn head_timestamp(&self) -> Option<i64> {
        self.head().map(|head| head.timestamp)
    }

    /// Whether an event was given back: the lane can only end.
    pub(crate) fn halted(&self) -> bool {
        self.released.is_some()
    }

    /// Takes note of a record; `place` makes its place from the offset received before it.
    pub(crate) fn admit(&mut self, place: impl FnOnce(i64) -> Place) -> Admission {
        let place = place(self.previous);
        if !self.trusted {
            // The first record decides. Compacted away, or another: the list is of no use.
            self.known = self.known.take().filter(|known| known.is_headed_by(&place));
            self.trusted = true;
            self.changed = true;
        }
        if self.known.as_ref().is_some_and(|known| known.lists(&place)) {
            self.saw(&place);
            return Admission::Finished;
        }
        Admission::New(place)
    }

    /// Tracks a record that was submitted.
    pub(crate) fn track(&mut self, place: Place, settlement: Settlement) {
        self.saw(&place);
        self.pending.track(place, settlement);
        self.tracked += 1;
    }

    fn saw(&mut self, place: &Place) {
        self.previous = place.offset;
        self.next = place.offset + 1;
        self.changed = true;
    }

    /// Takes note of where the log ends: up to there, what was not received is a hole.
    pub(crate) fn ends_at(&mut self, end: Option<i64>) {
        if let Some(end) = end
            && end > self.next
        {
            self.next = end;
            self.changed = true;
        }
    }

    /// Waits for the verdict of the first record without one, and settles it with whatever else
    /// has its verdict then. Cancel-safe.
    pub(crate) async fn settle_next(&mut self) {
        let (place, settled) = self.pending.next().await;
        self.settle(place, settled);
        self.settle_judged();
    }

    /// Waits until every record has its verdict. Cancel-safe.
    pub(crate) async fn judged(&mut self) {
        self.pending.judged().await;
    }

    /// Settles what has its verdict.
    pub(crate) fn settle_judged(&mut self) {
        self.changed = true;
        while let Some((place, settled)) = self.pending.take() {
            self.settle(place, settled);
        }
    }

    fn settle(&mut self, place: Place, settled: Settled) {
        self.tracked -= 1;
        self.changed = true;
        match settled.verdict {
            Verdict::Done => self.settled.push_back((place.offset, settled)),
            Verdict::Release { .. } => self.released = Some(place),
        }
    }

    fn watermark(&self) -> i64 {
        self.head().map_or(self.next, |head| head.offset)
    }

    fn head(&self) -> Option<&Place> {
        self.released.as_ref().or_else(|| self.pending.head())
    }

    /// Where the lane stands, if that is not where it was said to stand last.
    pub(crate) fn standing_if_changed(&mut self) -> Option<Standing> {
        let committed = self.committed.load(Ordering::Acquire);
        let taken = self.settled.partition_point(|(offset, _)| *offset < committed);
        self.settled.drain(..taken);

        // A record behind the head may finish without anything being settled.
        if !self.changed && self.tracked == 0 {
            return None;
        }
        self.changed = false;
        let standing = self.standing();
        if standing == self.reported {
            return None;
        }
        self.reported = standing.clone();
        Some(standing)
    }

    fn standing(&self) -> Standing {
        // Until the first record is seen, what was committed is as good as ever.
        if !self.trusted && self.next == self.reported.offset {
            return self.reported.clone();
        }
        let Some(head) = self.head() else {
            // A list is only good behind a head, and the next record has not been seen yet. It is
            // about to come; until then the last commit stands.
            if self.known.as_ref().is_some_and(|known| known.reaches(self.next)) {
                return self.reported.clone();
            }
            return Standing { offset: self.next, metadata: MARK.to_owned() };
        };
        let beyond = Beyond::new(head, self.known.as_ref(), self.pending.finished_behind());
        Standing { offset: head.offset, metadata: beyond.encode() }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use connector_core::LaneOptions;
    use connector_core::testing::{Outside, Process, Settings};
    use model::World;

    use super::*;
    use crate::Kafka;
    use crate::config::Ordering as Order;
    use crate::record::Record;

    #[tokio::test]
    async fn what_is_done_and_not_committed_is_bounded() {
        let settings = Settings::<Kafka>::of(&[("unmatched", "drop")]);
        let outside: Arc<dyn Outside> = Arc::new(World::new(1, 1, 1, 1));
        // Nothing is mapped, so each event is done at once.
        let process = Process::begin::<Kafka>(&settings, &[], &outside);
        let lane = process.intake().lane(LaneOptions::new("orders/0", NonZeroUsize::MIN));
        let committed = Arc::new(AtomicI64::new(0));
        let start = Standing { offset: 0, metadata: MARK.to_owned() };
        let mut tracker = Tracker::new(start, Arc::clone(&committed));

        let mut received = 0;
        while tracker.has_room() && received <= MOST_UNCOMMITTED {
            let offset = i64::try_from(received).unwrap();
            let record = Record::of(offset, offset, b"", b"");
            let Admission::New(place) = tracker.admit(|previous| record.place(previous)) else {
                panic!("no commit says that it is finished");
            };
            let slot = lane.slot(0).await.unwrap();
            let event = record.into_event(&"orders".into(), 0, Order::None);
            tracker.track(place, slot.submit(event));
            tracker.settle_next().await;
            tracker.standing_if_changed();
            received += 1;
        }
        assert_eq!(received, MOST_UNCOMMITTED);
        assert!(tracker.awaits_commit());

        committed.store(1, Ordering::Release);
        tracker.standing_if_changed();
        assert!(tracker.has_room(), "one is committed, so one may come");
    }
}
