//! The records: made from a seed, written to the plan, then to the topic.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration::{Broker, Record};
use ledger_checker::plan::{self, Entry, Message, fnv1a};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// How many keys there are.
const KEYS: usize = 1_000;
/// How much hotter the hot keys are: key `n` has the weight `n^-SKEW`. The hottest of 1,000 gets one record in 40.
const SKEW: f64 = 0.6;
/// How many partitions there are.
pub(crate) const LANES: usize = 6;

/// The topic, and what is still to be written to it.
pub(crate) struct Feed {
    broker: Broker,
    topic: String,
    random: StdRng,
    /// For each key, the weight of all keys up to it.
    weights: Vec<f64>,
    limit: usize,
    /// For each record made, its partition and offset.
    pub(crate) made: Vec<(usize, i64)>,
    /// By the payload's hash, which record it is.
    pub(crate) by_body: HashMap<u64, usize>,
    /// Where each partition ends.
    pub(crate) ends: [i64; LANES],
}

impl Feed {
    pub(crate) fn new(broker: Broker, topic: String, limit: usize, seed: u64) -> Self {
        let mut sum = 0.0;
        let mut rank = 0.0_f64;
        let weights = std::iter::repeat_with(|| {
            rank += 1.0;
            sum += rank.powf(-SKEW);
            sum
        });
        Self {
            broker,
            topic,
            random: StdRng::seed_from_u64(seed),
            weights: weights.take(KEYS).collect(),
            limit,
            made: Vec::new(),
            by_body: HashMap::new(),
            ends: [0; LANES],
        }
    }

    /// Whether all records have been written.
    pub(crate) fn is_empty(&self) -> bool {
        self.made.len() == self.limit
    }

    /// Makes no more records.
    pub(crate) fn close(&mut self) {
        self.limit = self.made.len();
    }

    /// Writes `count` more records, as far as there are any: to the plan at once, and to the topic
    /// when what it gives has been waited for.
    pub(crate) fn produce(
        &mut self,
        count: usize,
        plan: &mut plan::Writer,
    ) -> impl Future<Output = ()> + use<> {
        let count = count.min(self.limit - self.made.len());
        let records: Vec<_> = (0..count).map(|_| self.make()).collect();
        let entries: Vec<_> = records
            .iter()
            .map(|record| {
                let body = format!("{:016x}", fnv1a(record.payload.as_deref().unwrap_or_default()));
                let key = record.key.as_ref().map(|key| STANDARD.encode(key));
                Entry::Produced(Message { body, key, headers: Vec::new() })
            })
            .collect();
        plan.write(&entries).expect("the plan can be written");
        let (broker, topic) = (self.broker.clone(), self.topic.clone());
        async move { broker.produce_all(&topic, records).await }
    }

    fn make(&mut self) -> Record {
        let number = self.made.len();
        let drawn = self.random.random_range(0.0..self.weights[KEYS - 1]);
        let rank = self.weights.partition_point(|upto| *upto <= drawn);
        // Some keys are no text.
        let key = if rank % 50 == 7 {
            [b"\xff\0key-".as_slice(), &rank.to_be_bytes()].concat()
        } else {
            format!("key-{rank}").into_bytes()
        };
        let mut payload = format!("event {number} of {}: ", self.topic).into_bytes();
        let length = self.random.random_range(16..256);
        payload.extend((0..length).map(|_| self.random.random::<u8>()));
        let mut record = Record::of(payload)
            .key(key)
            .partition(i32::try_from(rank % LANES).expect("there are few partitions"));
        if number.is_multiple_of(3) {
            record =
                record.header("content-type", "text/plain").header("tag", "a").header("tag", "b");
        }
        if number.is_multiple_of(7) {
            record = record.header("binary", b"\xff\0\r\n".as_slice());
            record.headers.push(("nothing".to_owned(), None));
        }

        let lane = rank % LANES;
        self.by_body.insert(fnv1a(record.payload.as_deref().unwrap_or_default()), number);
        self.made.push((lane, self.ends[lane]));
        self.ends[lane] += 1;
        record
    }
}
