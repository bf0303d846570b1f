//! One pull request: exactly as many messages as there are slots for.
//!
//! The protocol is spoken here and not through the client library's batches, which do not tell a
//! deleted consumer from a moved leader, lose a wake-up at each heartbeat, and stay silent until
//! they expire when the connection is lost under them.

use std::time::Duration;

use async_nats::{Client, Message, StatusCode, Subscriber};
use connector_core::Slot;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

/// How long a request stays open when there is nothing to deliver.
const EXPIRES: Duration = Duration::from_secs(10);

/// A silence longer than this many heartbeats means that nobody serves the request any more.
const SILENT_BEATS: u32 = 3;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    /// The most bytes that all messages together may come to; `None`: no bound.
    pub(crate) max_bytes: Option<usize>,
    /// The longest that the consumer lets a request wait.
    pub(crate) max_expires: Option<Duration>,
}

/// An open request with the slots for what it brings.
pub(crate) struct Pull {
    subscriber: Subscriber,
    slots: Vec<Slot>,
    /// It has brought a message.
    brought: bool,
    beat: Duration,
    /// Without a word from the server until then, the request is dead.
    silent_at: Instant,
}

/// What a request brought.
pub(crate) enum Pulled {
    /// A message, and the slot for it.
    Message(Box<Message>, Slot),
    /// The request is over, as it should be: ask again.
    Over,
    /// The next message is larger than the bytes that were asked for.
    TooLarge,
    /// Nobody serves the request: ask again, but not at once.
    Unserved(String),
    /// There is no such consumer any more.
    Gone(String),
}

impl Pull {
    /// Asks the consumer behind `subject` for one message for each slot.
    ///
    /// # Errors
    /// The client is closed.
    pub(crate) async fn open(
        client: &Client,
        subject: &str,
        slots: Vec<Slot>,
        ask: Ask,
    ) -> Result<Self, String> {
        let expires = ask.max_expires.map_or(EXPIRES, |most| most.min(EXPIRES));
        let beat = expires / 4;
        let inbox = client.new_inbox();
        let subscriber = client.subscribe(inbox.clone()).await.map_err(|e| e.to_string())?;
        let bytes =
            ask.max_bytes.map(|bytes| format!(",\"max_bytes\":{bytes}")).unwrap_or_default();
        let body = format!(
            "{{\"batch\":{},\"expires\":{},\"idle_heartbeat\":{}{bytes}}}",
            slots.len(),
            expires.as_nanos(),
            beat.as_nanos()
        );
        let sent = client.publish_with_reply(subject.to_owned(), inbox, body.into()).await;
        sent.map_err(|error| error.to_string())?;
        let mut pull = Self { subscriber, slots, brought: false, beat, silent_at: Instant::now() };
        pull.heard();
        Ok(pull)
    }

    /// The next thing that the request brings. After anything but a message it is over.
    ///
    /// Cancel-safe.
    pub(crate) async fn next(&mut self) -> Pulled {
        loop {
            if self.slots.is_empty() {
                return Pulled::Over;
            }
            let message = tokio::select! {
                biased;
                message = self.subscriber.next() => message,
                () = tokio::time::sleep_until(self.silent_at) => {
                    return Pulled::Unserved("the server is silent".to_owned());
                }
            };
            self.heard();
            let Some(message) = message else {
                return Pulled::Unserved("the connection was closed".to_owned());
            };
            if let Some(pulled) = self.judge(message) {
                return pulled;
            }
        }
    }

    /// What has come already, without waiting: for a request that is given up.
    pub(crate) fn now(&mut self) -> Option<(Box<Message>, Slot)> {
        loop {
            let message = self.subscriber.next().now_or_never()??;
            match self.judge(message) {
                Some(Pulled::Message(message, slot)) => return Some((message, slot)),
                Some(_) => return None,
                None => {}
            }
        }
    }

    /// Takes the request back and gives everything that the server had sent by then.
    pub(crate) async fn close(mut self) -> Vec<Message> {
        let mut left = Vec::new();
        if self.subscriber.drain().await.is_ok() {
            let rest = async {
                while let Some(message) = self.subscriber.next().await {
                    if message.status.is_none_or(|status| status == StatusCode::OK) {
                        left.push(message);
                    }
                }
            };
            // With the connection lost nothing comes, and the server knows that we are gone.
            drop(tokio::time::timeout(Duration::from_secs(2), rest).await);
        }
        left
    }

    fn heard(&mut self) {
        self.silent_at = Instant::now() + self.beat * SILENT_BEATS;
    }

    fn judge(&mut self, message: Message) -> Option<Pulled> {
        let what = message.description.as_deref().unwrap_or_default();
        let Some(status) = message.status.filter(|status| *status != StatusCode::OK) else {
            let slot = self.slots.pop()?;
            self.brought = true;
            return Some(Pulled::Message(Box::new(message), slot));
        };
        match judge_status(status.as_u16(), what)? {
            // Together with those that came, not by itself.
            Pulled::TooLarge if self.brought => Some(Pulled::Over),
            pulled => Some(pulled),
        }
    }
}

/// What the server's notes mean. `None`: nothing, go on.
fn judge_status(status: u16, what: &str) -> Option<Pulled> {
    let lower = what.to_ascii_lowercase();
    Some(match status {
        100 => return None,
        404 | 408 => Pulled::Over,
        409 if lower.contains("batch completed") => Pulled::Over,
        409 if lower.contains("maxbytes") && lower.contains("exceed") && lower.contains("size") => {
            Pulled::TooLarge
        }
        409 if lower.contains("consumer deleted") || lower.contains("push based") => {
            Pulled::Gone(what.to_owned())
        }
        503 => Pulled::Unserved("nobody answers for the consumer".to_owned()),
        _ => Pulled::Unserved(format!("{status} {what}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_note_of_the_server_has_its_meaning() {
        assert!(judge_status(100, "Idle Heartbeat").is_none());
        assert!(matches!(judge_status(408, "Request Timeout"), Some(Pulled::Over)));
        let large = "Message Size Exceeds MaxBytes";
        assert!(matches!(judge_status(409, large), Some(Pulled::TooLarge)));
        assert!(matches!(judge_status(409, "Consumer Deleted"), Some(Pulled::Gone(_))));
        assert!(matches!(judge_status(409, "Leadership Change"), Some(Pulled::Unserved(_))));
        // A limit of the consumer, not a message.
        let limit = "Exceeded MaxRequestMaxBytes of 1024";
        assert!(matches!(judge_status(409, limit), Some(Pulled::Unserved(_))));
        assert!(matches!(judge_status(503, ""), Some(Pulled::Unserved(_))));
    }
}
