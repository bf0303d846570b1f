//! The sessions that this process has subscribed, by client id.
//!
//! They stand in the settings because a source is made anew at each reconnect, and only the settings
//! outlive it: the first connection of a process subscribes, later ones do so only where the broker
//! has lost the session, since a broker of 3.1.1 sends its retained messages again at every
//! SUBSCRIBE.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Client ids whose filters the broker has.
#[derive(Debug, Default)]
pub(crate) struct Subscribed {
    ids: Mutex<HashSet<String>>,
    grown: Notify,
}

impl Subscribed {
    pub(crate) fn contains(&self, client_id: &str) -> bool {
        self.lock().contains(client_id)
    }

    pub(crate) fn insert(&self, client_id: &str) {
        self.lock().insert(client_id.to_owned());
        self.grown.notify_one();
    }

    pub(crate) fn remove(&self, client_id: &str) {
        self.lock().remove(client_id);
    }

    /// Resolves when there has been one more since the last time. For one who waits.
    ///
    /// Cancel-safe.
    pub(crate) async fn grown(&self) {
        self.grown.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        // A set, changed in one step: a panic elsewhere cannot tear it.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
