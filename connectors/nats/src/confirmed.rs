//! Telling the server something, and hearing that it has taken it.
//!
//! The client library has requests as well, but keeps a place for each answer that never comes for
//! as long as its client lives: with every connection that is lost, some memory for ever. Here the
//! place goes with whoever waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::client::{PublishError, PublishErrorKind};
use async_nats::{Client, HeaderMap, Message, StatusCode, Subject};
use bytes::Bytes;
use connector_core::log::Chain;
use connector_core::source::SourceError;
use futures_util::StreamExt as _;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

/// How long one confirmation is waited for.
pub(crate) const CONFIRMED: Duration = Duration::from_secs(3);

/// Tells, and hears. Cheap to clone; the last clone ends the subscription.
#[derive(Clone)]
pub(crate) struct Teller {
    client: Client,
    /// What confirmations are sent to, without the number that ends it.
    inbox: Arc<str>,
    waiting: Arc<Waiting>,
    _hearing: Arc<AbortOnDropHandle<()>>,
}

/// Why something that was told is not known to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unconfirmed {
    /// There is nobody to take it.
    NoResponders,
    /// Nothing was heard in time. It may have been taken.
    Unheard,
    /// It is larger than what the server takes, and in which way.
    TooLarge(String),
    /// It could not be sent, and why.
    Unsent(String),
}

/// What a confirmation says.
type Answer = Result<Bytes, Unconfirmed>;

/// Who waits for which confirmation.
#[derive(Default)]
struct Waiting(Mutex<Places>);

#[derive(Default)]
struct Places {
    last: u64,
    open: HashMap<u64, oneshot::Sender<Answer>>,
}

/// A place among those who wait. Dropped, it is nobody's.
struct Place<'a> {
    waiting: &'a Waiting,
    number: u64,
}

impl Teller {
    /// Subscribes to what confirmations will be sent to, once for all of them.
    ///
    /// # Errors
    /// The client was closed.
    pub(crate) async fn new(client: &Client) -> Result<Self, SourceError> {
        let inbox = client.new_inbox();
        let subscribed = client.subscribe(format!("{inbox}.*")).await;
        let mut answers = subscribed.map_err(|error| SourceError::Broken(error.to_string()))?;
        let waiting = Arc::<Waiting>::default();
        let heard = Arc::clone(&waiting);
        let hearing = tokio::spawn(async move {
            while let Some(message) = answers.next().await {
                heard.tell(message);
            }
        });
        Ok(Self {
            client: client.clone(),
            inbox: inbox.into(),
            waiting,
            _hearing: Arc::new(AbortOnDropHandle::new(hearing)),
        })
    }

    /// Publishes `body` to `subject`, and waits a few seconds until it is confirmed.
    ///
    /// Dropped meanwhile, it may have been sent.
    ///
    /// # Errors
    /// It is not known to be taken.
    pub(crate) async fn tell(&self, subject: Subject, body: Bytes) -> Result<(), Unconfirmed> {
        let send = |reply| self.client.publish_with_reply(subject, reply, body);
        self.confirmed(send, CONFIRMED).await.map(drop)
    }

    /// The same with headers and for so long; gives what the confirmation says.
    ///
    /// Dropped meanwhile, it may have been sent.
    ///
    /// # Errors
    /// It is not known to be taken.
    pub(crate) async fn ask(
        &self,
        subject: Subject,
        headers: HeaderMap,
        body: Bytes,
        patience: Duration,
    ) -> Result<Bytes, Unconfirmed> {
        let send =
            |reply| self.client.publish_with_reply_and_headers(subject, reply, headers, body);
        self.confirmed(send, patience).await
    }

    async fn confirmed<F: Future<Output = Result<(), PublishError>>>(
        &self,
        send: impl FnOnce(String) -> F,
        patience: Duration,
    ) -> Answer {
        let (place, answer) = self.waiting.place();
        let sent = send(format!("{}.{}", self.inbox, place.number)).await;
        sent.map_err(|error| {
            let why = Chain(&error).to_string();
            match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => Unconfirmed::TooLarge(why),
                PublishErrorKind::InvalidSubject | PublishErrorKind::Send => {
                    Unconfirmed::Unsent(why)
                }
            }
        })?;
        let answer = tokio::time::timeout(patience, answer).await;
        answer.unwrap_or(Ok(Err(Unconfirmed::Unheard))).unwrap_or(Err(Unconfirmed::Unheard))
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Places> {
        // Every change under the lock is complete before anything that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> (Place<'_>, oneshot::Receiver<Answer>) {
        let (tell, hear) = oneshot::channel();
        let mut places = self.lock();
        places.last += 1;
        let number = places.last;
        places.open.insert(number, tell);
        (Place { waiting: self, number }, hear)
    }

    /// What comes for nobody came too late.
    fn tell(&self, message: Message) {
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        let Some(place) = number.and_then(|number: u64| self.lock().open.remove(&number)) else {
            return;
        };
        let answer = match message.status {
            Some(StatusCode::NO_RESPONDERS) => Err(Unconfirmed::NoResponders),
            _ => Ok(message.payload),
        };
        // Whoever waited may have left just now.
        place.send(answer).ok();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.lock().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(subject: &str, status: Option<StatusCode>) -> Message {
        Message {
            subject: subject.into(),
            reply: None,
            payload: Bytes::from("taken"),
            headers: None,
            status,
            description: None,
            length: 0,
        }
    }

    #[tokio::test]
    async fn whoever_waits_hears_and_whoever_leaves_leaves_nothing() {
        let waiting = Waiting::default();
        let (first, heard) = waiting.place();
        let (second, unheard) = waiting.place();
        let (third, refused) = waiting.place();
        waiting.tell(answer("_INBOX.x.1", None));
        waiting.tell(answer("_INBOX.x.3", Some(StatusCode::NO_RESPONDERS)));
        assert_eq!(heard.await, Ok(Ok(Bytes::from("taken"))));
        assert_eq!(refused.await, Ok(Err(Unconfirmed::NoResponders)));
        drop(second);
        assert!(unheard.await.is_err());
        // Too late, and nothing that we asked for.
        waiting.tell(answer("_INBOX.x.2", None));
        waiting.tell(answer("_INBOX.x.y", None));
        drop((first, third));
        assert!(waiting.lock().open.is_empty());
    }
}
