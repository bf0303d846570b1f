//! Looks at what the group has committed, twenty times a second, with a client of its own.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ledger_checker::kafka::offsets;
use ledger_checker::plan::{LEDGER, SAMPLES, Sample, Writer};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::TopicPartitionList;

const INTERVAL: Duration = Duration::from_millis(50);
/// How long an answer is waited for. Without one there is no sample: brokers may be away.
const ANSWER: Duration = Duration::from_secs(5);

/// A running sampler. It ends when it is dropped, or by [`end`](Self::end).
pub struct Sampler {
    latest: Arc<Mutex<Vec<i64>>>,
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Sampler {
    /// Looks at what a group has committed of the partitions of a topic, and at how many dead letters there are; writes
    /// down what it sees beside the ledger in this folder.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn start(
        folder: &Path,
        address: &str,
        (topic, partitions): (&str, usize),
        group: &str,
        letters: Option<&str>,
    ) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address).set("group.id", group);
        let consumer: BaseConsumer = config.create().expect("the consumer's settings are right");
        let mut asked = TopicPartitionList::new();
        for lane in 0..partitions {
            asked.add_partition(topic, i32::try_from(lane).expect("there are few partitions"));
        }
        let (ledger, letters) = (folder.join(LEDGER), letters.map(str::to_owned));
        let mut file = Writer::create(&folder.join(SAMPLES)).expect("the folder can be written");
        let latest = Arc::<Mutex<Vec<i64>>>::default();
        let (stop, stopped) = mpsc::channel();
        let tell = Arc::clone(&latest);
        let sample = move || {
            // The order matters: what a commit rests on was written before it was sent.
            let Ok(told) = consumer.committed_offsets(asked.clone(), ANSWER) else { return };
            if told.elements().iter().any(|element| element.error().is_err()) {
                return;
            }
            let committed = offsets(&told);
            let length = std::fs::metadata(&ledger).expect("there is a ledger").len();
            let letters = match &letters {
                None => None,
                Some(topic) => match consumer.fetch_watermarks(topic, 0, ANSWER) {
                    Ok((_, end)) => Some(end),
                    Err(_) => return,
                },
            };
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            let wall_ns = u64::try_from(wall).unwrap_or(u64::MAX);
            *tell.lock().unwrap_or_else(PoisonError::into_inner) = committed.clone();
            file.write(&[Sample { wall_ns, committed, ledger: length, letters }])
                .expect("samples can be written");
        };
        let mut sample = sample;
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout) {
                sample();
            }
        });
        Self { latest, stop, thread }
    }

    /// What was committed at the last look.
    #[must_use]
    pub fn latest(&self) -> Vec<i64> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes no more samples.
    ///
    /// # Panics
    /// When a sample could not be written.
    pub fn end(self) {
        drop(self.stop);
        self.thread.join().expect("the sampler could take every sample");
    }
}
