//! Events that are here before they have a slot, for brokers that send more than they are asked for.

use std::sync::Arc;

use super::{Lane, Slot};
use crate::budget::Held;

/// Bytes of the payload budget for an event that waits for its slot. Dropping it gives them back.
#[derive(Debug)]
pub struct Kept(Held);

impl Lane {
    /// Keeps `bytes` of the payload budget for an event that has come unasked, until it has its slot.
    /// `None` if there is no room for it now; a lane that holds nothing has room for one.
    #[must_use]
    pub fn try_keep(&self, bytes: usize) -> Option<Kept> {
        let mut held = self.bytes.try_hold(bytes)?;
        held.fill(bytes);
        Some(Kept(held))
    }

    /// Waits for a place in the window for an event whose bytes are kept, and takes those. `None`
    /// once the lane has ended or draining has begun.
    ///
    /// Cancel-safe: a dropped call has taken nothing, and what is kept stays so.
    pub async fn slot_kept(&self, kept: &mut Option<Kept>) -> Option<Slot> {
        let permit = tokio::select! {
            biased;
            () = self.shared.ended.cancelled() => return None,
            permit = Arc::clone(&self.window).acquire_owned() => permit.ok()?,
        };
        let Kept(held) = kept.take()?;
        Some(Slot { lane: Arc::clone(&self.shared), intake: self.intake.clone(), permit, held })
    }
}
