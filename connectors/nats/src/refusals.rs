//! What the server refuses us: which subject, in its own words.
//!
//! The protocol tells of a refusal beside the request, not in answer to it: whoever asked would
//! wait until its patience ends and know no reason. So every question to the server is asked with
//! an ear on what it refuses meanwhile ([`Refusals::unless`]).

use tokio::sync::{broadcast, watch};

/// More than are told while somebody does not look.
const KEPT: usize = 64;

/// Something that the server does not permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    /// The subject that was asked for.
    pub(crate) subject: String,
    /// The server's own words.
    pub(crate) words: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Publish,
    Subscription,
}

impl Refusal {
    /// Reads the server's words: `Permissions Violation for Subscription to "a.>" using queue "g"`.
    /// `None`: they tell of something else.
    pub(crate) fn read(words: &str) -> Option<Self> {
        let lower = words.to_ascii_lowercase();
        let kind = if lower.contains("permissions violation for publish") {
            Kind::Publish
        } else if lower.contains("permissions violation for subscription") {
            Kind::Subscription
        } else {
            return None;
        };
        let subject = words.split('"').nth(1)?.to_owned();
        Some(Self { kind, subject, words: words.to_owned() })
    }
}

/// What one connection is refused. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Refusals {
    told: broadcast::Sender<Refusal>,
    /// Why no answer can reach us on this connection. It is said once, of the one subscription
    /// that all answers come by.
    deaf: watch::Sender<Option<String>>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { told: broadcast::Sender::new(KEPT), deaf: watch::Sender::new(None) }
    }
}

impl Refusals {
    /// A new connection: permissions may have changed.
    pub(crate) fn forget(&self) {
        self.deaf.send_replace(None);
    }

    /// Whether no answer can reach us on this connection.
    pub(crate) fn is_deaf(&self) -> bool {
        self.deaf.borrow().is_some()
    }

    /// Takes note of what the server says, if it tells of a refusal.
    pub(crate) fn tell(&self, words: &str) {
        let Some(refusal) = Refusal::read(words) else { return };
        if refusal.kind == Kind::Subscription && refusal.subject.starts_with("_INBOX.") {
            self.deaf.send_replace(Some(refusal.words));
        } else {
            // Nobody may be asking just now.
            drop(self.told.send(refusal));
        }
    }

    /// The answer to a question, unless the server refuses to be asked: then its words.
    ///
    /// `concerns` knows the subjects that the question is published to.
    ///
    /// # Errors
    /// The server's words.
    pub(crate) async fn unless<T>(
        &self,
        concerns: impl Fn(&str) -> bool,
        asked: impl Future<Output = T>,
    ) -> Result<T, String> {
        let (mut told, mut deaf) = (self.told.subscribe(), self.deaf.subscribe());
        let refused = async {
            loop {
                match told.recv().await {
                    Ok(refusal) if concerns(&refusal.subject) => return refusal.words,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    // Its sender is held by `self`.
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        let unheard = async {
            match deaf.wait_for(Option::is_some).await.map(|words| words.clone()) {
                Ok(Some(words)) => words,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = asked => Ok(answer),
            words = refused => Err(words),
            words = unheard => Err(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_subject_is_read_from_the_servers_words() {
        for (words, kind, subject) in [
            (
                "nats: Permissions Violation for Subscription to \"a.>\" using queue \"g\"",
                Kind::Subscription,
                "a.>",
            ),
            ("permissions violation for subscription to \"a.>\"", Kind::Subscription, "a.>"),
            (
                "Permissions Violation for Publish to \"$JS.API.INFO\"",
                Kind::Publish,
                "$JS.API.INFO",
            ),
        ] {
            let words = words.to_owned();
            let read = Refusal::read(&words);
            assert_eq!(read, Some(Refusal { kind, subject: subject.to_owned(), words }));
        }
        assert_eq!(Refusal::read("maximum payload violation"), None);
    }

    #[tokio::test]
    async fn a_question_ends_with_the_refusal_that_concerns_it() {
        let refusals = Refusals::default();
        let asked = refusals.unless(|subject| subject == "mine", std::future::pending::<()>());
        let tell = async {
            tokio::task::yield_now().await;
            refusals.tell("Permissions Violation for Publish to \"another's\"");
            refusals.tell("Permissions Violation for Publish to \"mine\"");
        };
        let (answer, ()) = tokio::join!(asked, tell);
        assert_eq!(answer.unwrap_err(), "Permissions Violation for Publish to \"mine\"");
    }

    #[tokio::test]
    async fn without_answers_every_question_is_refused_until_the_next_connection() {
        let refusals = Refusals::default();
        refusals.tell("Permissions Violation for Subscription to \"_INBOX.x.*\"");
        let asked = refusals.unless(|_| false, std::future::pending::<()>());
        assert!(asked.await.unwrap_err().contains("_INBOX"));
        refusals.forget();
        assert_eq!(refusals.unless(|_| false, async { 1 }).await, Ok(1));
    }
}
