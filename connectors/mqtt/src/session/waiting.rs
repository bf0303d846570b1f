//! The messages of a session that wait for a slot.

use std::collections::VecDeque;
use std::sync::Arc;

use connector_core::lane::{Kept, Lane, Slot};

use super::Shared;
use crate::client::Received;

/// What a waiting message takes beside the bytes of its packet: 60,000 small ones with a user property
/// or two took 810 bytes each.
const OVERHEAD: usize = 768;

/// Received, and waiting for a slot: QoS 1 and above.
#[derive(Default)]
pub(super) struct Waiting {
    messages: VecDeque<Message>,
    bytes: usize,
}

struct Message {
    topic: Arc<str>,
    received: Received,
    /// Something until it has its slot.
    kept: Option<Kept>,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Room for a message that must wait, if there is any.
    ///
    /// Beside other sessions, half of the room is for whoever comes first, and of the other half each
    /// has its share: so a broker that sends one of them too much leaves room for all.
    pub(super) fn keep(&self, message: &Received, lane: &Lane, shared: &Shared) -> Option<Kept> {
        let bytes = message.bytes + OVERHEAD;
        let room = shared.intake.config().buffer_bytes;
        let sharers = usize::try_from(shared.meters.sessions.get()).unwrap_or_default();
        let (common, share) = match sharers {
            0 | 1 => (room, room),
            _ => (room / 2, room / 2 / sharers),
        };
        let may = self.is_empty()
            || self.bytes + bytes <= share
            || shared.intake.held_bytes() + bytes <= common;
        may.then(|| lane.try_keep(bytes)).flatten()
    }

    pub(super) fn push(&mut self, topic: Arc<str>, received: Received, kept: Option<Kept>) {
        self.bytes += received.bytes + OVERHEAD;
        self.messages.push_back(Message { topic, received, kept });
    }

    /// A slot for the first. `None`: none waits, or the lane has ended.
    ///
    /// Cancel-safe.
    pub(super) async fn slot(&mut self, lane: &Lane) -> Option<Slot> {
        lane.slot_kept(&mut self.messages.front_mut()?.kept).await
    }

    pub(super) fn pop(&mut self) -> Option<(Arc<str>, Received)> {
        let Message { topic, received, .. } = self.messages.pop_front()?;
        self.bytes -= received.bytes + OVERHEAD;
        Some((topic, received))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
