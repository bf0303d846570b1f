//! The contract that a connector fulfils.

use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::annotations::Annotation;
use crate::dead_letter::Letter;
use crate::headers::OwnHeader;
use crate::lane::Intake;
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::settings::{Setting, Values};
use crate::topics::{Pattern, Unused};

/// The broker side of one connector.
///
/// The process's supervisor calls [`connect`](Self::connect), then [`run`](Self::run), and when
/// `run` ends with an error it waits and begins again with a fresh `connect`. A source therefore
/// keeps nothing across the two and **never reconnects itself**; a client library that does so
/// and cannot be told not to reports what it sees through [`Intake::conditions`].
///
/// No error of a source ends the process: the small hosts this runs on restart nothing.
pub trait Source: Sized + Send + 'static {
    /// The kind of source: `kafka`. Names metrics, `X-Connector`, the binary and event ids.
    const KIND: &'static str;

    /// What stands before the name of a message's own header: `X-Kafka-`.
    const ATTRIBUTE_PREFIX: &'static str;

    /// When a message has headers of its own, and an example of one's value: `None` where events
    /// are no messages.
    const ATTRIBUTES: Option<(&'static str, &'static str)>;

    /// The headers that this source sets through [`Event::headers`](crate::Event::headers), no
    /// others: no attribute of a message poses as one of them, whether an event has it or not.
    fn own_headers() -> Vec<OwnHeader> {
        Vec::new()
    }

    /// What an item of the annotation `topic` may be, in a sentence or two of Markdown. What
    /// [`pattern`](Self::pattern) reads.
    const ITEMS: &'static str;

    /// The annotations that this source alone reads.
    const ANNOTATIONS: &'static [Annotation] = &[];

    /// An event's own content type comes before the setting `content_type`: for a source whose
    /// events have theirs from the user too, and for one function.
    const OWN_CONTENT_TYPE_FIRST: bool = false;

    /// Crates whose log lines are left out unless debug is asked for: client libraries that log
    /// each attempt of an outage, where the source reports its beginning and end.
    const QUIET: &'static [&'static str] = &[];

    /// The word before the colon of a dead-letter address on this broker: `topic`. `None` where
    /// the broker cannot store letters.
    const LETTER_SCHEME: Option<&'static str>;

    /// Where this source's default of a shared setting differs: `("upstream_timeout", "2m")`.
    const DEFAULTS: &'static [(&'static str, &'static str)];

    /// The validated settings of this source.
    type Config: SourceConfig;

    /// Reads one item of a function's `topic` annotation as this source, so set up, understands
    /// it. Pure.
    ///
    /// # Errors
    /// The item is of no use to this source. It is then skipped and shown with the reason, and
    /// warned of unless it is plainly another connector's.
    fn pattern(config: &Self::Config, item: &str) -> Result<Pattern, Unused>;

    /// Enters the source's own metrics, by [`Metrics::of_source`]. Called before anything is
    /// connected: a counter that is seen at 0 first lets whoever looks at its growth see the first
    /// step. Also called to print the reference.
    fn meters(_metrics: &Metrics) {}

    /// Reaches the broker and proves the credentials. Gives back a source ready to run.
    ///
    /// # Errors
    /// Any trouble. The supervisor logs it, shows it in `/readyz`, and tries again with backoff.
    fn connect(
        config: Arc<Self::Config>,
        intake: Intake,
    ) -> impl Future<Output = Result<Self, SourceError>> + Send;

    /// Receives events and settles them until draining begins ([`Intake::draining`]) or the
    /// connection is lost.
    ///
    /// Returns `Ok` only once draining has begun, everything it tracked has its verdict or the
    /// drain deadline has passed, and what was done has been settled with the broker.
    ///
    /// # Errors
    /// The connection's end, or anything else that only a fresh `connect` can mend.
    fn run(self) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Opens the place at this broker where dead letters are stored. `address` is what follows
    /// the scheme in the setting. Called once for each address; connects lazily.
    ///
    /// # Errors
    /// A sentence saying what is wrong with the address.
    fn letterbox(
        config: &Arc<Self::Config>,
        intake: &Intake,
        address: &str,
    ) -> Result<Arc<dyn Letterbox>, String>;
}

/// The settings of one source: a table, and its validation.
pub trait SourceConfig: Sized + Send + Sync + 'static {
    /// Every setting of this source. The help, the reference and the parser are made from it.
    const SETTINGS: &'static [Setting];

    /// Defaults that depend on other settings, by [`Values::set_default`]. Called before anything
    /// is read.
    fn defaults(_values: &mut Values) {}

    /// Reads and validates the settings. Every mistake is noted in `values`; what is returned is
    /// used only if there was none.
    fn read(values: &mut Values) -> Self;

    /// User name and password for the gateway, where they stand among the source's own settings.
    /// They are used instead of files.
    fn gateway_credentials(&self) -> Option<(String, Secret)> {
        None
    }
}

/// Where dead letters are stored at a broker.
pub trait Letterbox: Send + Sync + 'static {
    /// Stores one letter. Returns only when the broker has confirmed that it is stored.
    ///
    /// Not cancel-safe: a dropped call may or may not have stored the letter.
    ///
    /// # Errors
    /// The letter is not known to be stored; the caller holds the event and tries again.
    fn store<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// A dead letter could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The broker says that it takes nothing as large as this letter, which may be for its notes.
    #[error("{0}")]
    TooLarge(String),
    /// Whatever else. It may be stored after all.
    #[error("{0}")]
    Failed(String),
}

impl From<String> for StoreError {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// Why a source ended or could not begin, by what an operator has to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The broker cannot be reached or broke off: it heals itself when the broker does.
    #[error("{0}")]
    Unreachable(String),
    /// The broker refuses our credentials or denies what we ask: a person must act. Secret files
    /// are read again before the next attempt.
    #[error("{0}")]
    Refused(String),
    /// Something else that a fresh connection may mend.
    #[error("{0}")]
    Broken(String),
}
