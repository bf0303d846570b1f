//! What a driver writes down for the checker, beside the gateway's ledger.
//!
//! Two files of JSON lines, in one folder. `plan.jsonl` tells what was done, in the order in which it was done: the
//! run, the processes started, each event produced, each fault. `samples.jsonl` tells what an independent client saw
//! committed, several times a second.
//!
//! Moments are lengths of the ledger, in bytes, never times. The gateway writes a call's end before it answers, so
//! "in the first `n` bytes of the ledger" means "before the moment when the ledger was `n` bytes long" for every process
//! of the machine, and no clock is compared with another.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The file of [`Entry`]s.
pub const PLAN: &str = "plan.jsonl";
/// The file of [`Sample`]s.
pub const SAMPLES: &str = "samples.jsonl";
/// The gateway's ledger.
pub const LEDGER: &str = "ledger.jsonl";

/// One line of the plan.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "plan", rename_all = "snake_case")]
pub enum Entry {
    /// What is run. The first line.
    Run(Run),
    /// A function that is called beside what is run, as `name.namespace`. Its calls are not judged.
    Beside {
        /// Its name.
        function: String,
    },
    /// A connector is about to be started.
    Process {
        /// Told to the process as its content type's parameter `process`, and so found in the ledger. Never used twice.
        name: String,
    },
    /// An event is about to be stored at the broker. Said again when it is sent again because nobody knows whether it was
    /// stored: then the broker may have it twice.
    Produced(Message),
    /// Something was done to the connectors, or to what they depend on.
    Fault(Fault),
    /// A process has counted events that it dropped.
    Dropped(Dropped),
    /// What the broker has in the end, where the checker does not ask it itself.
    End(End),
    /// A dead letter found there, in the order in which the broker gave them out, where the checker does not ask it itself.
    Letter(Message),
}

/// What is run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Run {
    /// A name for the table.
    pub name: String,
    /// Whatever was random came from this.
    pub seed: u64,
    /// Where the events are.
    pub broker: Broker,
    /// The functions that every event has to reach, as `name.namespace`.
    pub functions: Vec<String>,
    /// What is called one after the other.
    pub ordering: Ordering,
    /// How the connector settles with the broker.
    pub settling: Settling,
    /// How many events of each lane a process may have received without having settled them.
    pub lane_window: u64,
}

/// Where the events are.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Broker {
    /// Apache Kafka.
    Kafka {
        /// `host:port`.
        address: String,
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
        /// The topic of dead letters, of one partition. Without one, every event has to be answered well.
        dead_letters: Option<String>,
    },
    /// A queue of SQS.
    Sqs,
    /// A consumer of a NATS JetStream stream.
    JetStream,
    /// A subject of core NATS.
    CoreNats,
    /// An MQTT session.
    Mqtt,
}

impl Broker {
    /// Whether a connector recognises what it is sent again. MQTT has no id that outlives a connection, so there every end
    /// of one repeats what was not acknowledged on it.
    #[must_use]
    pub fn ids_outlive_connections(&self) -> bool {
        !matches!(self, Self::CoreNats | Self::Mqtt)
    }
}

/// What the broker of a run makes of a dead letter that it is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterSentAgain {
    /// It knows the letter by its id, and has it once.
    Kept,
    /// It knows what it is sent again because it has not answered, and nothing else: an event that is called again may have
    /// another letter.
    KeptInSession,
    /// It has it twice.
    Doubled,
}

impl Run {
    /// What the broker makes of a dead letter that it is sent again.
    #[must_use]
    pub fn letter_sent_again(&self) -> LetterSentAgain {
        match self.broker {
            Broker::JetStream => LetterSentAgain::Kept,
            // A FIFO queue.
            Broker::Sqs if self.ordering == Ordering::Settled => LetterSentAgain::Kept,
            Broker::Kafka { .. } => LetterSentAgain::KeptInSession,
            Broker::Sqs | Broker::CoreNats | Broker::Mqtt => LetterSentAgain::Doubled,
        }
    }
}

/// How long a settlement may be on its way on a busy machine.
pub const TRAVEL_MS: u64 = 250;

/// How a connector settles with its broker, which decides what may be called again.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Settling {
    /// Everything finished together, every so many milliseconds. What was finished since may be called again.
    Interval {
        /// How often.
        ms: u64,
    },
    /// Each event as soon as it is finished. As many may be called again as the lane's window holds.
    Single {
        /// How long the broker waits for that before it gives the event out again.
        lease_ms: u64,
        /// How long a settlement may be on its way: what was finished within it before a fault may be called again too.
        travel_ms: u64,
    },
    /// Not at all: what is lost is lost, and nothing is called again.
    Never,
}

/// Which events must not be called at the same time in one process, and go in order.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ordering {
    /// Those of one lane.
    Partition,
    /// Those of one lane with equal keys.
    Key,
    /// Those of one lane with equal keys; and each is settled before the next is called, so that at most one of a key is
    /// ever called again.
    Settled,
    /// None.
    None,
}

/// One event, told from all others by its payload; or one dead letter.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Message {
    /// The FNV-1a hash of the payload, 64 bits in hexadecimal. No two payloads of a run have the same.
    pub body: String,
    /// The key, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The headers; of a letter with those that tell what it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

impl Message {
    /// That of a key and a payload, with these headers.
    #[must_use]
    pub fn of(
        key: impl AsRef<[u8]>,
        payload: impl AsRef<[u8]>,
        headers: Vec<(String, String)>,
    ) -> Self {
        let body = format!("{:016x}", fnv1a(payload.as_ref()));
        Self { body, key: Some(STANDARD.encode(key)), headers }
    }
}

/// A key and a payload, without headers.
impl<K: AsRef<[u8]>, P: AsRef<[u8]>> From<(K, P)> for Message {
    fn from((key, payload): (K, P)) -> Self {
        Self::of(key, payload, Vec::new())
    }
}

/// Something that was done, and the bounds of the moment when it was.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Fault {
    /// What was done.
    pub kind: FaultKind,
    /// To which process; without a name, to all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// How it was done, for the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how: Option<String>,
    /// The ledger's length just before.
    pub before: u64,
    /// The ledger's length just after.
    pub after: u64,
    /// How many events more than otherwise the fault may repeat, because the broker is known to have forgotten, or never to
    /// have read, that they were settled.
    #[serde(default)]
    pub forgotten: usize,
    /// How many events had been produced when it began, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub produced_before: Option<usize>,
    /// How many calls of the process had to be running, for the fault to prove anything.
    #[serde(default)]
    pub at_least_running: usize,
    /// How many events had to be stored and not received by any process, for the fault to prove anything.
    #[serde(default)]
    pub at_least_unread: usize,
}

/// What was done.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// SIGKILL.
    Kill,
    /// SIGTERM: the process ends what it has begun.
    Leave,
    /// The broker asked for some of the process's lanes back.
    Revoke,
    /// The broker gave some of the process's lanes to others without asking.
    Lose,
    /// The process stood still, longer than a broker or a gateway waits for it.
    Freeze,
    /// The gateway was away, or could not be reached: answers on their way are lost.
    GatewayOutage,
    /// Brokers were hurt or could not be reached, and mended. `after` is when every lane had been settled further since.
    BrokerOutage,
    /// What slows everybody down and breaks nothing: functions that fail, slow links. It explains nothing.
    Strain,
}

impl FaultKind {
    /// Whether what the process has finished, and not told the broker yet, may be forgotten. Who is asked tells it
    /// before answering.
    #[must_use]
    pub fn forgets(self) -> bool {
        match self {
            Self::Kill | Self::Lose => true,
            Self::Leave | Self::Revoke | Self::Freeze => false,
            Self::GatewayOutage | Self::BrokerOutage | Self::Strain => false,
        }
    }
}

impl Fault {
    /// One of this kind, that met no particular process and had to meet nobody at work.
    #[must_use]
    pub fn new(kind: FaultKind, before: u64, after: u64) -> Self {
        Self {
            kind,
            process: None,
            how: None,
            before,
            after,
            forgotten: 0,
            produced_before: None,
            at_least_running: 0,
            at_least_unread: 0,
        }
    }

    /// That it met this process.
    #[must_use]
    pub fn of(self, process: &str) -> Self {
        Self { process: Some(process.to_owned()), ..self }
    }
}

/// Events that a process has counted as dropped, which its promise allows it, between two looks at its metrics.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Dropped {
    /// Whose count it is.
    pub process: String,
    /// Why they were dropped, in the metric's word.
    pub why: String,
    /// How many more they were than at the look before.
    pub events: usize,
    /// How many events had been produced at the look before.
    pub produced_before: usize,
}

/// What the broker has in the end.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct End {
    /// How many events are not settled.
    pub left: u64,
}

/// What the broker said was settled, and what had been written by then.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Sample {
    /// Nanoseconds since 1970, for the reader.
    pub wall_ns: u64,
    /// For each partition, from 0: the committed offset, -1 where there is none.
    pub committed: Vec<i64>,
    /// The ledger's length, taken after the broker's answer.
    pub ledger: u64,
    /// The offset after the last dead letter, asked for after the broker's first answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letters: Option<i64>,
}

/// Appends lines to one of the files.
pub struct Writer(File);

impl Writer {
    /// Begins an empty file.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        File::create(path).map(Self)
    }

    /// Writes lines. They have been handed to the operating system when this returns.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write<T: Serialize>(&mut self, lines: &[T]) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        self.0.write_all(&text)
    }
}

/// Reads a file of lines.
///
/// # Errors
/// The file cannot be read, or a line is not what it should be.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    BufReader::new(File::open(path)?)
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect()
}

/// The hash of a payload, as the gateway's ledger has it.
#[must_use]
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
