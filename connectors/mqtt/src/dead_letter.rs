//! Dead letters to an MQTT topic.
//!
//! They go through a connection of their own: on a session's, a letter that waits for its PUBACK
//! could keep the acknowledgements of others waiting. Stored means that the broker has answered a
//! publish of QoS 1 and, with MQTT 5, that it had somebody to keep it for. With 3.1.1 a broker
//! does not tell, and has no place for what a letter says beside the payload.

use std::sync::Arc;
use std::time::Duration;

use connector_core::dead_letter::Letter;
use connector_core::log::Chain;
use connector_core::source::{Letterbox, StoreError};
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::client::{Begin, Packet, PublishProperties};
use crate::config::{MqttConfig, QualityOfService};
use crate::link::Link;

/// How long the PUBACK of a letter is waited for.
const STORE_TIMEOUT: Duration = Duration::from_secs(30);

/// A topic that takes dead letters.
pub(crate) struct Topic {
    config: Arc<MqttConfig>,
    name: String,
    client_id: String,
    /// Absent while a letter is under way, so that a call that is dropped in the middle leaves no
    /// connection on which an answer to it could be taken for another's.
    link: Mutex<Option<Link>>,
}

impl Topic {
    /// The topic `name`, not connected yet.
    pub(crate) fn new(config: Arc<MqttConfig>, name: &str) -> Self {
        let client_id = config.client_id_of_letters(name);
        Self { config, name: name.to_owned(), client_id, link: Mutex::new(None) }
    }

    async fn send(&self, letter: &Letter) -> Result<(), StoreError> {
        let mut kept = self.link.lock().await;
        let mut link = match kept.take().filter(|link| !link.is_closed()) {
            Some(link) => link,
            None => {
                let begin = Begin { client_id: &self.client_id, clean: true };
                let opened = Link::open(&self.config, begin).await;
                opened.map_err(|error| Chain(&error).to_string())?
            }
        };
        let (payload, properties) = (letter.event.payload.clone(), properties(letter));
        let (largest, size) =
            (link.accepted.largest, link.client.size(&self.name, &payload, &properties));
        if size > largest {
            *kept = Some(link);
            let why = format!("{size} bytes, and the broker takes no more than {largest}");
            return Err(StoreError::TooLarge(why));
        }
        let qos = QualityOfService::AtLeastOnce;
        if link.client.publish(&self.name, qos, payload, properties).await.is_err() {
            return Err("the connection has ended".to_owned().into());
        }
        let stored = timeout(STORE_TIMEOUT, acknowledged(&mut link)).await;
        let stored = stored.map_err(|_| "the broker does not answer".to_owned())??;
        *kept = Some(link);
        Ok(stored?)
    }
}

/// What the broker says to the only letter under way. The outer error: the connection has ended.
async fn acknowledged(link: &mut Link) -> Result<Result<(), String>, String> {
    let mut sent = None;
    loop {
        match link.next().await {
            Ok(Packet::Sent(id)) => sent = Some(id),
            Ok(Packet::PubAck { id, result }) if Some(id) == sent => return Ok(result),
            Ok(_) => {}
            Err(error) => return Err(Chain(&error).to_string()),
        }
    }
}

/// The message's own properties, then what is known of the failure.
pub(crate) fn properties(letter: &Letter) -> PublishProperties {
    let event = &letter.event;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let own = event.attributes.iter().map(|attribute| {
        let value = attribute.value.as_deref().unwrap_or_default();
        (text(&attribute.name), text(value))
    });
    let notes = letter.notes().into_iter().map(|(name, value)| (name.to_owned(), value));
    // The id says nothing of where a message came from.
    let topic = ("X-Topic".to_owned(), event.topic.to_string());
    PublishProperties {
        content_type: event.content_type.as_deref().map(text),
        user_properties: own.chain([topic]).chain(notes).collect(),
        ..PublishProperties::default()
    }
}

impl Letterbox for Topic {
    fn store<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.send(letter))
    }
}
