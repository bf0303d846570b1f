//! One pull request: exactly as many messages as there are slots for.
//!
//! The protocol is spoken here and not through the client library's batches, which do not tell a
//! deleted consumer from a moved leader, lose a wake-up at each heartbeat, and stay silent until
//! they expire when the connection is lost under them. Nor do they wait for what the server's last
//! word about a request overtakes: a replicated consumer sends its messages only when its
//! followers have noted them, and says at once that the batch is complete.

use std::time::Duration;

use async_nats::{Client, Message, StatusCode, Subscriber};
use connector_core::Slot;
use futures_util::StreamExt as _;
use tokio::time::Instant;

use crate::refusals::Refusals;

/// How long a request stays open when there is nothing to deliver.
const EXPIRES: Duration = Duration::from_secs(10);

/// A silence longer than this many heartbeats means that nobody serves the request any more.
const SILENT_BEATS: u32 = 3;

/// For how long nothing else is asked for when a request is over and not all has come that the
/// server has sent. A leader that goes takes with it what its followers had not noted.
const LATE: Duration = Duration::from_secs(1);

/// How long the end of a request is waited for that was taken back.
const CLOSED: Duration = Duration::from_secs(2);

/// With how many messages left of those asked for the server ended a request.
const LEFT: &str = "Nats-Pending-Messages";

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
    refusals: Refusals,
    /// What was asked on.
    subject: String,
    slots: Vec<Slot>,
    /// How many messages were asked for.
    asked: usize,
    last_word: Option<LastWord>,
    beat: Duration,
    /// Without a word from the server until then, the request is dead.
    silent_at: Instant,
}

/// How the server has ended a request.
struct LastWord {
    pulled: Pulled,
    /// How many messages it has sent in all.
    sent: usize,
    /// From when on those that are missing are late; `None`: that has been told.
    late_at: Option<Instant>,
}

/// What a request brought.
pub(crate) enum Pulled {
    /// A message, and the slot for it.
    Message(Box<Message>, Slot),
    /// The request is over, as it should be: ask again.
    Over,
    /// The request is over, and some of its messages are late: ask again, and wait for them beside.
    Late,
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
        refusals: Refusals,
        subject: String,
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
        let sent = client.publish_with_reply(subject.clone(), inbox, body.into()).await;
        sent.map_err(|error| error.to_string())?;
        let (asked, silent_at) = (slots.len(), Instant::now());
        let silent_at = silent_at + beat * SILENT_BEATS;
        let last_word = None;
        Ok(Self { subscriber, refusals, subject, slots, asked, last_word, beat, silent_at })
    }

    /// The next thing that the request brings. After anything but a message it is over, but for what
    /// is [late](Pulled::Late).
    ///
    /// Cancel-safe.
    pub(crate) async fn next(&mut self) -> Pulled {
        loop {
            if let Some(over) = self.over() {
                return over;
            }
            let late_at = self.last_word.as_ref().and_then(|last_word| last_word.late_at);
            let until = late_at.unwrap_or(self.silent_at);
            let next = tokio::time::timeout_at(until, self.subscriber.next());
            let message = match self.refusals.unless(|subject| subject == self.subject, next).await
            {
                Ok(Ok(message)) => message,
                Ok(Err(_)) if late_at.is_some() => {
                    self.keep_owed();
                    return Pulled::Late;
                }
                Ok(Err(_)) => {
                    // What was sent and has not come by now is lost; its lease will lapse.
                    let last_word = self.last_word.take().map(|last_word| last_word.pulled);
                    return last_word
                        .unwrap_or_else(|| Pulled::Unserved("the server is silent".to_owned()));
                }
                Err(refused) => return Pulled::Unserved(refused),
            };
            self.silent_at = Instant::now() + self.beat * SILENT_BEATS;
            let Some(message) = message else {
                return Pulled::Unserved("the connection was closed".to_owned());
            };
            if let Some((message, slot)) = self.judge(message) {
                return Pulled::Message(message, slot);
            }
        }
    }

    /// The request's end, once everything that was sent for it has come.
    fn over(&mut self) -> Option<Pulled> {
        if self.slots.is_empty() {
            return Some(Pulled::Over);
        }
        let brought = self.brought();
        let last_word = self.last_word.take_if(|last_word| last_word.sent <= brought)?;
        Some(match last_word.pulled {
            // Together with those that came, not by itself.
            Pulled::TooLarge if brought > 0 => Pulled::Over,
            pulled => pulled,
        })
    }

    /// Whether it has brought everything that was asked for: nothing more can come.
    pub(crate) fn is_full(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether nothing but what is late is waited for.
    pub(crate) fn is_late(&self) -> bool {
        self.last_word.as_ref().is_some_and(|last_word| last_word.late_at.is_none())
    }

    /// Keeps slots for what is late, and no others: they are what is asked for next.
    fn keep_owed(&mut self) {
        let Some(last_word) = &mut self.last_word else { return };
        last_word.late_at = None;
        let spare = self.asked - last_word.sent;
        self.slots.truncate(self.slots.len().saturating_sub(spare));
        self.asked -= spare;
    }

    fn brought(&self) -> usize {
        self.asked - self.slots.len()
    }

    /// Takes the request back and gives everything that the server had sent by then: what is not
    /// read now would be nobody's until its lease lapses.
    pub(crate) async fn close(mut self) -> Vec<(Box<Message>, Slot)> {
        let mut left = Vec::new();
        if self.subscriber.drain().await.is_ok() {
            let rest = async {
                while let Some(message) = self.subscriber.next().await {
                    left.extend(self.judge(message));
                }
            };
            // With the connection lost nothing comes, and the server knows that we are gone.
            drop(tokio::time::timeout(CLOSED, rest).await);
        }
        left
    }

    /// A message with its slot; a note of the server is noted.
    fn judge(&mut self, message: Message) -> Option<(Box<Message>, Slot)> {
        // A publisher may give a message a status too; a delivery has a place to settle it.
        let is_delivery = message.reply.as_ref().is_some_and(|reply| reply.starts_with("$JS.ACK."));
        let status = message.status.filter(|status| *status != StatusCode::OK && !is_delivery);
        let Some(status) = status else {
            if let Some(late_at) = self.last_word.as_mut().and_then(|it| it.late_at.as_mut()) {
                *late_at = Instant::now() + LATE;
            }
            return Some((Box::new(message), self.slots.pop()?));
        };
        let what = message.description.as_deref().unwrap_or_default();
        let pulled = judge_status(status.as_u16(), what)?;
        tracing::debug!(status = status.as_u16(), what, "the request is over");
        let left = message.headers.as_ref().and_then(|headers| headers.get(LEFT));
        let left = left.and_then(|left| left.as_str().parse().ok());
        // A word without the number says nothing of messages under way.
        let sent = left.map_or(0, |left: usize| self.asked.saturating_sub(left));
        let late_at = Some(Instant::now() + LATE);
        self.last_word = Some(LastWord { pulled, sent, late_at });
        None
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
