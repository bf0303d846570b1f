//! What a lane waits for from the server: one thing at a time.

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::unreadable::Search;
use crate::connect::Connection;
use crate::pull::{Pull, Pulled};

/// What a turn of the loop waits for from the server.
pub(super) enum Asking {
    /// For a reason and room to ask.
    Opening(BoxFuture<'static, Option<Result<(Pull, Connection), String>>>),
    /// For what was asked for, on this connection.
    Open(Box<Pull>, Connection),
    /// Before asking again.
    Pause(Instant),
    /// For what has broken the connection.
    Searching(BoxFuture<'static, Result<Search, String>>),
}

/// What came of waiting for it.
pub(super) enum Step {
    Opened(Option<Result<(Pull, Connection), String>>),
    Pulled(Pulled),
    Paused,
    Searched(Result<Search, String>),
}

impl Asking {
    /// Waits for the next thing to happen.
    ///
    /// Cancel-safe: what is waited for is kept.
    pub(super) async fn step(&mut self) -> Step {
        match self {
            Self::Opening(opening) => Step::Opened(opening.await),
            Self::Open(pull, _) => Step::Pulled(pull.next().await),
            Self::Pause(until) => {
                tokio::time::sleep_until(*until).await;
                Step::Paused
            }
            Self::Searching(search) => Step::Searched(search.await),
        }
    }
}
