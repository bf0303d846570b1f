//! Dead letters to a subject.
//!
//! Stored means: a stream has acknowledged the message. A subject that no stream keeps is no place
//! for letters, so storing there fails, and is tried again, until somebody makes a stream for it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{HeaderName, HeaderValue};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap};
use connector_core::dead_letter::Letter;
use connector_core::log::Chain;
use connector_core::source::{Letterbox, StoreError};
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use crate::config::NatsConfig;
use crate::connect::{self, PATIENCE};
use crate::subject::Filter;

/// The subject that the message came on.
const SUBJECT: &str = "X-Dead-Letter-Subject";
/// What stands before a header that the server would take for an order to itself.
const WAS: &str = "X-Dead-Letter-Header-";

/// A subject that takes dead letters.
pub(crate) struct Subject {
    config: Arc<NatsConfig>,
    subject: Filter,
    /// A connection of its own, made for the first letter: the source's may be gone by then.
    client: Mutex<Option<Client>>,
}

impl Subject {
    /// The subject, not connected yet.
    pub(crate) fn new(config: Arc<NatsConfig>, subject: Filter) -> Self {
        Self { config, subject, client: Mutex::new(None) }
    }

    async fn client(&self) -> Result<Client, String> {
        let mut known = self.client.lock().await;
        if let Some(client) = &*known {
            return Ok(client.clone());
        }
        let link = connect::connect(&self.config, None, 16).await;
        let client = link.map_err(|error| error.to_string())?.client;
        Ok(known.insert(client).clone())
    }

    async fn send(&self, letter: &Letter) -> Result<(), String> {
        let mut jetstream: Context = jetstream::new(self.client().await?);
        jetstream.set_timeout(PATIENCE);
        let subject = self.subject.as_str().to_owned();
        let stored = async {
            let sent = jetstream.publish_with_headers(
                subject,
                headers(letter),
                letter.event.payload.clone(),
            );
            sent.await?.await
        };
        match tokio::time::timeout(PATIENCE + Duration::from_secs(1), stored).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Chain(&error).to_string()),
            Err(_) => Err("no stream has acknowledged it in time".to_owned()),
        }
    }
}

impl Letterbox for Subject {
    fn store<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let stored = self.send(letter).await;
            stored.map_err(|why| StoreError(format!("{}: {why}", self.subject)))
        })
    }
}

/// The message's own headers and the letter's notes.
///
/// `Nats-...` headers would make the stream drop the letter as a duplicate of the message itself,
/// or refuse it for an expectation that was about another stream, so they are passed on under
/// another name. The id is the letter's own: stored twice, it is kept once.
fn headers(letter: &Letter) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut append = |name: String, value: &str| {
        // Both came out of such a map, or are ours; a line break would end the header.
        let value = value.replace(['\r', '\n'], " ");
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.append(name, value);
        }
    };
    for attribute in &letter.event.attributes {
        let name = String::from_utf8_lossy(&attribute.name);
        let value = attribute.value.as_deref().unwrap_or_default();
        let ours =
            name.len() >= 5 && name.is_char_boundary(5) && name[..5].eq_ignore_ascii_case("nats-");
        let name = if ours { format!("{WAS}{name}") } else { name.into_owned() };
        append(name, &String::from_utf8_lossy(value));
    }
    for (name, value) in letter.notes() {
        append(name.to_owned(), &value);
    }
    append(SUBJECT.to_owned(), &letter.event.topic);
    let function = letter.function.as_ref().map_or("-", |function| function.as_str());
    let (id, time) = (&letter.event.id, letter.event.stamp.0);
    append("Nats-Msg-Id".to_owned(), &format!("{id}@{time} {function}"));
    headers
}
