//! Dead letters to a Kafka topic.
//!
//! A producer is a second client with connections and threads of its own, so it is made for the
//! first letter, and again when the files of TLS have changed, which librdkafka reads but once, or
//! when it has stood still or was refused what it cannot do without: it never tries again by itself.
//! Stored means: acknowledged by all in-sync replicas, as its delivery report says.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use connector_core::conditions::Conditions;
use connector_core::dead_letter::Letter;
use connector_core::log::Chain;
use connector_core::source::{Letterbox, StoreError};
use futures_util::future::BoxFuture;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::{Files, KafkaConfig};
use crate::login::{self, Proof};
use crate::raw;
use crate::record::TOMBSTONE;

/// How long a full send queue is waited for. The delivery has its own bound, in the properties.
const ENQUEUE: Duration = Duration::from_secs(10);

/// How long a letter may take in all, by a clock that is not librdkafka's. Its threads wait until a
/// time of day: one that is set back leaves them waiting for as long.
const SILENCE: Duration = Duration::from_secs(45);

/// A topic that takes dead letters.
pub(crate) struct Topic {
    config: Arc<KafkaConfig>,
    conditions: Conditions,
    name: String,
    producer: Mutex<Option<Open>>,
    /// Notified when a letter could not be stored: the credentials may be why.
    refused: Arc<Notify>,
}

/// Closing one blocks, and whoever lets go of it last must not block the tasks beside it.
struct Producer(Option<FutureProducer<Quiet>>);

impl Deref for Producer {
    type Target = FutureProducer<Quiet>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("it is taken only when it is dropped")
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let producer = self.0.take();
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn_blocking(move || drop(producer)));
        }
    }
}

struct Open {
    producer: Arc<Producer>,
    /// Keeps what proves who we are.
    login: JoinHandle<()>,
    /// What it was made with.
    files: Files,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.login.abort();
    }
}

/// The producer's callbacks: what it complains of comes back as the letter's own failure.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the producer of dead letters reports an error");
    }
}

impl Topic {
    /// The topic `name`, not connected yet.
    pub(crate) fn new(config: Arc<KafkaConfig>, conditions: Conditions, name: &str) -> Self {
        let (producer, refused) = (Mutex::new(None), Arc::default());
        Self { config, conditions, name: name.to_owned(), producer, refused }
    }

    /// The producer, made for the first letter.
    async fn producer(&self) -> Result<Arc<Producer>, String> {
        let mut open = self.producer.lock().await;
        if let Some(open) = &*open {
            return Ok(Arc::clone(&open.producer));
        }
        let files = self.config.read_files().await.map_err(|panic| panic.to_string())?;
        let proof = Proof::obtain(&self.config).await;
        let proof = proof.map_err(|error| Chain(&error).to_string())?;
        let producer: Arc<Producer> = self
            .config
            .producer(&proof)
            .create_with_context(Quiet)
            .map(|producer| Arc::new(Producer(Some(producer))))
            .map_err(|error| error.to_string())?;
        proof.give(producer.client().native_ptr())?;
        let login = tokio::spawn(login::keep(
            Arc::clone(&self.config),
            self.conditions.clone(),
            proof,
            Arc::clone(&self.refused),
            {
                let producer = Arc::clone(&producer);
                move |proof| proof.give(producer.client().native_ptr())
            },
        ));
        *open = Some(Open { producer: Arc::clone(&producer), login, files });
        Ok(producer)
    }

    /// A letter was not stored: whatever proves who we are may be others by now. A producer takes
    /// new credentials while it runs, but not new certificates. `useless`: it stores nothing more.
    async fn renew(&self, useless: Option<&Arc<Producer>>) {
        self.refused.notify_one();
        let Ok(files) = self.config.read_files().await else { return };
        let is_old = |open: &mut Open| {
            open.files != files || useless.is_some_and(|it| Arc::ptr_eq(it, &open.producer))
        };
        let old = self.producer.lock().await.take_if(is_old);
        if old.is_some_and(|old| old.files != files) {
            tracing::info!("the certificates have changed; storing letters with the new ones");
        }
    }

    async fn send(&self, producer: &Producer, letter: &Letter) -> Result<(), Failure> {
        let event = &letter.event;
        let notes = letter.notes();
        let mut record = FutureRecord::<[u8], [u8]>::to(&self.name)
            .headers(raw::owned_headers(headers(letter, &notes)));
        if !event.headers.iter().any(|(name, _)| *name == TOMBSTONE.name) {
            record = record.payload(&event.payload);
        }
        if let Some(key) = &event.key {
            record = record.key(key);
        }
        // No timestamp: with its own, an old record could be past the topic's retention at once.
        let Ok(sent) = timeout(SILENCE, producer.send(record, ENQUEUE)).await else {
            let why = format!("nothing was heard of it for {SILENCE:?}");
            return Err(Failure { error: why.into(), useless: true });
        };
        sent.map(drop).map_err(|(error, _)| {
            let code = error.rdkafka_error_code();
            // The letter's own error only says that there is one, or that the queue was emptied.
            let fatal = producer.client().fatal_error();
            let useless = fatal.is_some() || code == Some(RDKafkaErrorCode::MessageTimedOut);
            let why = fatal.map_or_else(|| error.to_string(), |(_, why)| why);
            let error = match code {
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => StoreError::TooLarge(why),
                _ => StoreError::Failed(why),
            };
            Failure { error, useless }
        })
    }
}

/// Why a letter was not stored.
struct Failure {
    error: StoreError,
    /// The producer may store nothing more: nothing was heard in time, because the broker is away or
    /// the producer stands still; or it has had an error that is fatal to it.
    useless: bool,
}

/// The record's own headers, then what is known of the failure.
pub(crate) fn headers<'a>(
    letter: &'a Letter,
    notes: &'a [(&'static str, String)],
) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
    let own = letter.event.attributes.iter().map(|a| (a.name.as_ref(), a.value.as_deref()));
    own.chain(notes.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))))
}

impl Letterbox for Topic {
    fn store<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let producer = self.producer().await?;
            let sent = self.send(&producer, letter).await;
            if let Err(Failure { error: StoreError::Failed(_), useless }) = &sent {
                self.renew(useless.then_some(&producer)).await;
            }
            sent.map_err(|failure| failure.error)
        })
    }
}
