//! Dead letters to an SQS queue.
//!
//! Body and attributes are kept as they were. What is known of the failure is added as further
//! attributes, as far as there is room: SQS allows ten, and the message's own come first.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::MessageAttributeValue;
use connector_core::dead_letter::Letter;
use connector_core::source::{Letterbox, StoreError};
use connector_core::{FunctionName, fingerprint};
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use crate::account::Account;
use crate::api::{Api, Outgoing};
use crate::config::SqsConfig;
use crate::message::DataTypes;
use crate::queue::QueueRef;
use crate::trouble::{Kind, Trouble};

/// The most attributes of a message.
const MOST_ATTRIBUTES: usize = 10;
/// The attribute that holds all notes where there is room for one only.
const ALL_NOTES: &str = "X-Dead-Letter";

/// A queue that takes dead letters.
pub(crate) struct LetterQueue {
    config: Arc<SqsConfig>,
    queue: QueueRef,
    api: Mutex<Option<Arc<Api>>>,
}

impl LetterQueue {
    /// The queue `queue`, not looked for yet.
    pub(crate) fn new(config: Arc<SqsConfig>, queue: QueueRef) -> Self {
        Self { config, queue, api: Mutex::new(None) }
    }

    async fn send(&self, letter: &Letter) -> Result<(), Trouble> {
        let account = self.config.account().await?;
        let api = self.api(account).await?;
        let types = {
            let all = account.types.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(&letter.event.id).cloned().unwrap_or_default()
        };
        let own = own_attributes(letter, &types)?;
        let noted = with_notes(own.clone(), letter)?;
        let sent = api.send(self.outgoing(letter, noted)).await;
        match sent {
            // The notes may be what makes it too long for the queue.
            Err(trouble) if trouble.kind == Kind::Service => {
                api.send(self.outgoing(letter, own)).await.map_err(|_| trouble)
            }
            sent => sent,
        }
    }

    async fn api(&self, account: &Arc<Account>) -> Result<Arc<Api>, Trouble> {
        let mut api = self.api.lock().await;
        if let Some(api) = &*api {
            return Ok(Arc::clone(api));
        }
        let found = Arc::new(Api::find(Arc::clone(account), self.queue.clone()).await?);
        *api = Some(Arc::clone(&found));
        Ok(found)
    }

    fn outgoing(&self, letter: &Letter, attributes: Attributes) -> Outgoing {
        let body = String::from_utf8_lossy(&letter.event.payload).into_owned();
        if !self.queue.is_fifo() {
            return Outgoing { body, attributes, group: None, deduplication: None };
        }
        let group = letter.event.key.as_ref();
        let group = group.map(|group| String::from_utf8_lossy(group).into_owned());
        Outgoing {
            body,
            attributes,
            // Letters of a queue that promises no order need not wait for each other.
            group: Some(group.unwrap_or_else(|| message_id(letter).to_owned())),
            deduplication: Some(deduplication(letter)),
        }
    }
}

impl Letterbox for LetterQueue {
    fn store<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { Ok(self.send(letter).await.map_err(|trouble| trouble.why)?) })
    }
}

/// What names a letter: storing it is repeated until it is known to have worked. Each function has a letter of its own, and
/// its name may be too long for SQS beside the message's id.
fn deduplication(letter: &Letter) -> String {
    let function = letter.function.as_ref().map_or("-", FunctionName::as_str);
    format!("{}-{:016x}", message_id(letter), fingerprint(function))
}

/// What SQS calls the letter's message.
fn message_id(letter: &Letter) -> &str {
    letter.event.id.as_str().trim_start_matches("sqs:")
}

pub(crate) type Attributes = HashMap<String, MessageAttributeValue>;

/// The message's own attributes, with their types.
pub(crate) fn own_attributes(letter: &Letter, types: &DataTypes) -> Result<Attributes, Trouble> {
    let mut own = Attributes::new();
    for attribute in &letter.event.attributes {
        let name = String::from_utf8_lossy(&attribute.name).into_owned();
        let bytes = attribute.value.as_deref().unwrap_or_default();
        let data_type = types.get(&name).map_or("String", String::as_str);
        let value = MessageAttributeValue::builder().data_type(data_type);
        let value = if data_type.starts_with("Binary") {
            value.binary_value(Blob::new(bytes))
        } else {
            value.string_value(String::from_utf8_lossy(bytes))
        };
        own.insert(name, built(value)?);
    }
    Ok(own)
}

/// Adds what is known of the failure: an attribute for each note where they fit, else one for all
/// of them, else none. The log has them in any case.
pub(crate) fn with_notes(
    mut attributes: Attributes,
    letter: &Letter,
) -> Result<Attributes, Trouble> {
    let notes = letter.notes();
    // SQS takes no control character but tab, newline and return, and no empty value: notes have none.
    let note =
        |text: &str| built(MessageAttributeValue::builder().data_type("String").string_value(text));
    let room = MOST_ATTRIBUTES.saturating_sub(attributes.len());
    if notes.len() <= room {
        for (name, text) in notes {
            attributes.entry(name.to_owned()).or_insert(note(&text)?);
        }
    } else if room > 0 {
        let lines: Vec<String> =
            notes.iter().map(|(name, text)| format!("{name}: {text}")).collect();
        attributes.entry(ALL_NOTES.to_owned()).or_insert(note(&lines.join("\n"))?);
    }
    Ok(attributes)
}

fn built(
    value: aws_sdk_sqs::types::builders::MessageAttributeValueBuilder,
) -> Result<MessageAttributeValue, Trouble> {
    value.build().map_err(|error| Trouble::new(Kind::Setup, error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;
    use connector_core::{Attribute, Event, EventId};

    use super::*;

    fn letter(attributes: usize) -> Letter {
        let mut event = Event::new(EventId::new("sqs:1"), "orders".into(), Bytes::from("body"));
        for n in 0..attributes {
            let (name, value) = (format!("a{n}").into(), Some(Bytes::from("1")));
            event.attributes.push(Attribute { name, value });
        }
        Letter {
            event: Arc::new(event),
            function: Some(FunctionName::new("f")),
            reason: "exhausted",
            status: Some(500),
            error: "bro\u{1}ken".into(),
            attempts: 3,
            first: SystemTime::UNIX_EPOCH,
            last: SystemTime::UNIX_EPOCH,
            brief: false,
        }
    }

    #[test]
    fn notes_take_the_room_that_is_left() {
        let names = |attributes| {
            let letter = letter(attributes);
            let own = own_attributes(&letter, &DataTypes::new()).expect("legal");
            let mut all: Vec<_> = with_notes(own, &letter)
                .expect("legal")
                .into_keys()
                .filter(|n| n.starts_with('X'))
                .collect();
            all.sort();
            all
        };
        assert_eq!(names(2).len(), 8);
        assert_eq!(names(3), [ALL_NOTES]);
        assert_eq!(names(9), [ALL_NOTES]);
        assert!(names(10).is_empty());
    }

    #[test]
    fn each_function_has_a_letter_of_its_own() {
        let named = |name| {
            let function = Some(FunctionName::new(name));
            deduplication(&Letter { function, ..letter(0) })
        };
        assert_eq!(named("f.ns"), named("f.ns"));
        assert_ne!(named("f.ns"), named("g.ns"));
        assert_eq!(named(&"f".repeat(127)).len(), "1".len() + 17);
    }

    #[test]
    fn attributes_keep_their_types() {
        let letter = letter(2);
        let types = DataTypes::from([
            ("a0".to_owned(), "Number.int".to_owned()),
            ("a1".to_owned(), "Binary.x".to_owned()),
        ]);
        let own = own_attributes(&letter, &types).expect("legal");
        assert_eq!((own["a0"].data_type(), own["a0"].string_value()), ("Number.int", Some("1")));
        assert_eq!(own["a1"].data_type(), "Binary.x");
        assert_eq!(own["a1"].binary_value().map(|b| b.as_ref()), Some(&b"1"[..]));
        let noted = with_notes(own, &letter).expect("legal");
        assert_eq!(noted["X-Dead-Letter-Error"].string_value(), Some("broken"));
    }
}
