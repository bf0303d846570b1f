//! The bound on bytes of events held by the whole process, shared fairly among lanes.
//!
//! Three rules, in this order. A lane that holds nothing may always hold one message, however
//! large, so no lane can starve. The sum never grows past the limit otherwise. And while another
//! lane wants some, none takes more than its equal share. The sum therefore stays within
//! `buffer_bytes` plus one message for each lane (invariant 5).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The process-wide bound. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What messages have, and what is reserved for those to come.
    used: usize,
    /// What messages have.
    payloads: usize,
    /// Lanes that wait for bytes now.
    wanting: usize,
    lanes: HashMap<u64, LaneState>,
    next_lane: u64,
}

#[derive(Debug, Default)]
struct LaneState {
    messages: usize,
    bytes: usize,
    /// How many calls of [`LaneBytes::hold`] wait now.
    waiting: usize,
    closed: bool,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { limit, state: Mutex::default(), freed: Notify::new() }))
    }

    /// Opens a lane's account.
    #[must_use]
    pub fn lane(&self) -> LaneBytes {
        let mut state = self.0.lock();
        let lane = state.next_lane;
        state.next_lane += 1;
        state.lanes.insert(lane, LaneState::default());
        LaneBytes { shared: Arc::clone(&self.0), lane }
    }

    /// The bytes taken now: payloads, and what is reserved for messages to come.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.lock().used
    }

    /// The payload bytes held now. A source that waits for messages of unknown size has reserved
    /// bytes without holding any.
    #[must_use]
    pub fn payloads(&self) -> usize {
        self.0.lock().payloads
    }

    /// The bound.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The sums are plain numbers, changed in one step: a panic elsewhere cannot tear them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the bytes if the rules allow it now.
    fn take(&mut self, limit: usize, id: u64, bytes: usize) -> bool {
        let wanting = self.wanting;
        let Some(lane) = self.lanes.get(&id) else { return false };
        let first = lane.messages == 0;
        let fits = self.used.saturating_add(bytes) <= limit;
        let others_want = wanting > usize::from(lane.waiting > 0);
        let in_share =
            |lane: &LaneState| lane.bytes.saturating_add(bytes) <= limit / self.sharers();
        if !first && !(fits && (!others_want || in_share(lane))) {
            return false;
        }
        let Some(lane) = self.lanes.get_mut(&id) else { return false };
        lane.messages += 1;
        lane.bytes += bytes;
        self.used += bytes;
        true
    }

    /// How many lanes share the limit now.
    fn sharers(&self) -> usize {
        self.lanes.values().filter(|lane| lane.messages > 0 || lane.waiting > 0).count().max(1)
    }

    fn wait(&mut self, id: u64) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.waiting += 1;
        self.wanting += usize::from(lane.waiting == 1);
    }

    fn wait_no_more(&mut self, id: u64) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.waiting -= 1;
        self.wanting -= usize::from(lane.waiting == 0);
    }

    fn drop_if_done(&mut self, id: u64) {
        if self.lanes.get(&id).is_some_and(|lane| lane.closed && lane.messages == 0) {
            self.lanes.remove(&id);
        }
    }
}

/// One lane's account.
#[derive(Debug)]
pub struct LaneBytes {
    shared: Arc<Shared>,
    lane: u64,
}

impl LaneBytes {
    /// Waits until the rules allow `bytes` more.
    ///
    /// Cancel-safe: a dropped call has taken nothing. Several may wait for one lane, in no order.
    pub async fn hold(&self, bytes: usize) -> Held {
        if let Some(held) = self.try_hold(bytes) {
            return held;
        }
        let _want = Want::new(self);
        loop {
            let freed = self.shared.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(held) = self.try_hold(bytes) {
                return held;
            }
            freed.await;
        }
    }

    /// Takes `bytes` if the rules allow it now.
    #[must_use]
    pub fn try_hold(&self, bytes: usize) -> Option<Held> {
        let taken = self.shared.lock().take(self.shared.limit, self.lane, bytes);
        taken.then(|| Held { shared: Arc::clone(&self.shared), lane: self.lane, bytes, payload: 0 })
    }
}

impl Drop for LaneBytes {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(lane) = state.lanes.get_mut(&self.lane) {
            lane.closed = true;
        }
        state.drop_if_done(self.lane);
    }
}

/// One that waits for a lane's bytes, so that a cancelled wait is one no more.
struct Want<'a>(&'a LaneBytes);

impl<'a> Want<'a> {
    fn new(lane: &'a LaneBytes) -> Self {
        lane.shared.lock().wait(lane.lane);
        Self(lane)
    }
}

impl Drop for Want<'_> {
    fn drop(&mut self) {
        self.0.shared.lock().wait_no_more(self.0.lane);
        // Whoever was kept to its share because of this lane may take more now.
        self.0.shared.freed.notify_waiters();
    }
}

/// Bytes held for one message. Gives them back when dropped.
#[derive(Debug)]
pub struct Held {
    shared: Arc<Shared>,
    lane: u64,
    bytes: usize,
    /// Of these, what the message has: none before it is here.
    payload: usize,
}

impl Held {
    /// The message is here: corrects what was reserved to what it really has.
    pub fn fill(&mut self, bytes: usize) {
        self.change(bytes, 0);
    }

    fn change(&mut self, bytes: usize, messages_fewer: usize) {
        let fewer = bytes < self.bytes || messages_fewer > 0;
        let wanted = {
            let mut state = self.shared.lock();
            state.used = state.used - self.bytes + bytes;
            state.payloads = state.payloads - self.payload + bytes;
            if let Some(lane) = state.lanes.get_mut(&self.lane) {
                lane.bytes = lane.bytes - self.bytes + bytes;
                lane.messages -= messages_fewer;
            }
            state.drop_if_done(self.lane);
            fewer && state.wanting > 0
        };
        (self.bytes, self.payload) = (bytes, bytes);
        if wanted {
            self.shared.freed.notify_waiters();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.change(0, 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_lane_may_always_hold_one_message_however_large() {
        let budget = Budget::new(10);
        let (a, b) = (budget.lane(), budget.lane());
        let first = a.try_hold(1_000).expect("the first message of a lane");
        assert!(a.try_hold(1).is_none(), "the sum is past the limit");
        let second = b.try_hold(1_000).expect("the first message of another lane");
        assert_eq!(budget.used(), 2_000);
        drop((first, second));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_lane_keeps_to_its_share_only_while_another_wants() {
        let budget = Budget::new(100);
        let (a, b) = (budget.lane(), budget.lane());
        let mut held: Vec<_> = (0..9).map(|_| a.try_hold(10).expect("alone")).collect();
        let one = b.try_hold(10).expect("the first of b");
        let waiting = tokio::spawn(async move { (b.hold(20).await, b) });
        tokio::task::yield_now().await;
        // b wants: a is past its half and gets nothing, even when there is room for it.
        held.pop();
        assert!(a.try_hold(10).is_none());
        held.truncate(6);
        let (second, b) = waiting.await.expect("b gets what a gave back");
        assert_eq!(budget.used(), 60 + 10 + 20);
        // Nobody wants any more: a may go past its share again.
        held.push(a.try_hold(10).expect("room and no rival"));
        drop((held, one, second, a, b));
        assert_eq!(budget.used(), 0);
        assert!(budget.0.lock().lanes.is_empty(), "closed lanes leave nothing behind");
    }

    #[tokio::test]
    async fn a_cancelled_wait_wants_nothing_any_more() {
        let budget = Budget::new(10);
        let (a, b) = (budget.lane(), budget.lane());
        let _one = a.try_hold(10).expect("the first of a");
        let _two = b.try_hold(1).expect("the first of b");
        {
            let wait = b.hold(5);
            tokio::pin!(wait);
            assert!(futures_util::poll!(wait.as_mut()).is_pending());
            assert_eq!(budget.0.lock().wanting, 1);
        }
        assert_eq!(budget.0.lock().wanting, 0);
    }

    #[tokio::test]
    async fn two_that_wait_for_one_lane_are_both_served() {
        let budget = Budget::new(10);
        let lane = budget.lane();
        let (one, other) = (lane.try_hold(5).expect("room"), lane.try_hold(5).expect("room"));
        let (first, second) = (lane.hold(5), lane.hold(5));
        tokio::pin!(first, second);
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        drop(one);
        let served = first.await;
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        drop(other);
        let _other =
            tokio::time::timeout(Duration::from_secs(10), second).await.expect("there is room");
        drop(served);
    }

    #[test]
    fn a_reservation_is_corrected_to_the_real_size() {
        let budget = Budget::new(100);
        let lane = budget.lane();
        let mut held = lane.try_hold(64).expect("room");
        assert_eq!((budget.used(), budget.payloads()), (64, 0), "nothing is here yet");
        held.fill(3);
        assert_eq!((budget.used(), budget.payloads()), (3, 3));
        drop(held);
        assert_eq!((budget.used(), budget.payloads()), (0, 0));
    }
}
