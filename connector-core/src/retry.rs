//! How a failed call is repeated: how often, on which answers, and after what wait.
//!
//! A policy is a checked value without state. It says how long to wait before the n-th retry; who
//! counts, who waits, and which failures come here at all is [`crate::dispatch`]'s affair. The
//! names and the meaning of the knobs are those that OpenFaaS users know from its queue-worker.
//!
//! The waits are computed here and not taken from an iterator, because a retry is looked up by its
//! number (the count may come from the broker) and because the sums must be exact: `f32` factors
//! miss the doubling by microseconds, and ready-made jitter adds to the maximum.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rand::Rng;

use crate::annotations::Annotation;
use crate::settings::parse_go_duration;

/// The annotation that overrides how often a function's failed calls are repeated.
pub const ATTEMPTS: Annotation = Annotation {
    name: "com.openfaas.retry.attempts",
    takes: "a whole number from -1",
    default: "`max_retry_attempts`",
    help: "How often a failed call is repeated after the first one. 0: never; -1: for ever.",
};
/// The annotation that overrides which statuses are retried.
pub const CODES: Annotation = Annotation {
    name: "com.openfaas.retry.codes",
    takes: "HTTP statuses, separated by commas",
    default: "`retry_http_codes`",
    help: "The statuses after which a call is repeated.",
};
/// The annotation that overrides the first wait.
pub const MIN_WAIT: Annotation = Annotation {
    name: "com.openfaas.retry.min_wait",
    takes: "a duration such as `300ms`, `30s` or `2h45m`",
    default: "`initial_retry_wait`",
    help: "The wait before the first retry. It doubles with each further one.",
};
/// The annotation that overrides the longest wait.
pub const MAX_WAIT: Annotation = Annotation {
    name: "com.openfaas.retry.max_wait",
    takes: "a duration such as `300ms`, `30s` or `2h45m`",
    default: "`max_retry_wait`",
    help: "The longest wait between two calls.",
};

/// How failed calls are repeated.
///
/// Checked when made: the first wait is longer than zero and not longer than the longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    attempts: Option<u32>,
    min_wait: Duration,
    max_wait: Duration,
    codes: Arc<BTreeSet<u16>>,
    backoff: Backoff,
}

/// How much of the computed wait is left to chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// Nothing: the wait is exactly the computed one.
    Exponential,
    /// All of it: anything from zero to the computed wait.
    Full,
    /// Half of it: anything from half of the computed wait to all of it.
    Equal,
}

impl RetryPolicy {
    /// Checks the parts and makes a policy of them.
    ///
    /// `attempts` counts the retries after the first call: zero for none, `None` for ever.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence about the setting of the waits.
    pub fn try_new(
        attempts: Option<u32>,
        min_wait: Duration,
        max_wait: Duration,
        codes: impl Into<Arc<BTreeSet<u16>>>,
        backoff: Backoff,
    ) -> Result<Self, String> {
        // A zero doubles to zero: with retries for ever that would be a busy loop.
        if min_wait.is_zero() {
            return Err("allows a first wait of zero".into());
        }
        if min_wait > max_wait {
            return Err(format!(
                "is at odds with the other wait: the first ({min_wait:?}) is longer than the longest ({max_wait:?})"
            ));
        }
        let codes = codes.into();
        if let Some(code) = codes.iter().find(|code| !(100..=599).contains(*code)) {
            return Err(format!("comes with {code}, which is no HTTP status"));
        }
        Ok(Self { attempts, min_wait, max_wait, codes, backoff })
    }

    /// No retries at all.
    #[must_use]
    pub fn never() -> Self {
        Self {
            attempts: Some(0),
            min_wait: Duration::from_secs(1),
            max_wait: Duration::from_secs(1),
            codes: Arc::default(),
            backoff: Backoff::Exponential,
        }
    }

    /// How many retries follow a failed first call; `None`: as many as it takes.
    #[must_use]
    pub fn attempts(&self) -> Option<u32> {
        self.attempts
    }

    /// The wait before the first retry, and the least that a `Retry-After` can ask for.
    #[must_use]
    pub fn min_wait(&self) -> Duration {
        self.min_wait
    }

    /// The longest wait.
    #[must_use]
    pub fn max_wait(&self) -> Duration {
        self.max_wait
    }

    /// The statuses that are worth another call.
    #[must_use]
    pub fn codes(&self) -> &BTreeSet<u16> {
        &self.codes
    }

    /// How much of the wait is left to chance.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        self.backoff
    }

    /// Whether one more retry is due after `retries_made` of them.
    #[must_use]
    pub fn allows(&self, retries_made: u32) -> bool {
        self.attempts.is_none_or(|most| retries_made < most)
    }

    /// Whether an answer with this status is worth another call.
    #[must_use]
    pub fn retries_status(&self, status: u16) -> bool {
        self.codes.contains(&status)
    }

    /// How long to wait before retry number `retry`, counted from 1.
    ///
    /// What the function asked for by `Retry-After` replaces the computed wait, but is kept between
    /// the first and the longest wait, so no answer can stop the retries or make them rush.
    pub fn wait(
        &self,
        retry: u32,
        retry_after: Option<Duration>,
        rng: &mut (impl Rng + ?Sized),
    ) -> Duration {
        if let Some(asked) = retry_after {
            return asked.clamp(self.min_wait, self.max_wait);
        }
        let wait = self.bare_wait(retry);
        match self.backoff {
            Backoff::Exponential => wait,
            Backoff::Full => rng.random_range(Duration::ZERO..=wait),
            Backoff::Equal => rng.random_range(wait / 2..=wait),
        }
    }

    /// The first wait, doubled with each retry up to the longest.
    fn bare_wait(&self, retry: u32) -> Duration {
        let mut wait = self.min_wait;
        // Ends by the second condition after 94 doublings at most: a `Duration` has 94 bits.
        for _ in 1..retry {
            if wait >= self.max_wait {
                break;
            }
            wait = wait.saturating_mul(2);
        }
        wait.min(self.max_wait)
    }

    /// The policy for a function with these annotations, and which of them were ignored and why:
    /// pairs of the annotation and a sentence.
    ///
    /// An annotation that cannot be read leaves the setting as it was, as OpenFaaS does; the two
    /// waits are ignored together when they contradict each other.
    #[must_use]
    pub fn with_annotations(
        &self,
        annotations: &BTreeMap<String, String>,
    ) -> (Self, Vec<(Annotation, String)>) {
        let mut ignored = Vec::new();
        let mut policy = self.clone();
        if let Some(attempts) = read(annotations, ATTEMPTS, parse_attempts, &mut ignored) {
            policy.attempts = attempts;
        }
        if let Some(codes) = read(annotations, CODES, parse_codes, &mut ignored) {
            policy.codes = Arc::new(codes);
        }
        let min_wait = read(annotations, MIN_WAIT, parse_wait, &mut ignored);
        let max_wait = read(annotations, MAX_WAIT, parse_wait, &mut ignored);
        if min_wait.is_some() || max_wait.is_some() {
            let waits = (min_wait.unwrap_or(self.min_wait), max_wait.unwrap_or(self.max_wait));
            match Self::try_new(None, waits.0, waits.1, Arc::clone(&self.codes), self.backoff) {
                Ok(_) => (policy.min_wait, policy.max_wait) = waits,
                Err(why) => {
                    let culprit = if min_wait.is_some() { MIN_WAIT } else { MAX_WAIT };
                    ignored.push((culprit, format!("it {why}")));
                }
            }
        }
        (policy, ignored)
    }
}

/// Reads one annotation, if it is there; a reason why it cannot be read goes to `ignored`.
fn read<T>(
    annotations: &BTreeMap<String, String>,
    annotation: Annotation,
    parse: fn(&str) -> Result<T, String>,
    ignored: &mut Vec<(Annotation, String)>,
) -> Option<T> {
    parse(annotation.of(annotations)?.trim()).map_err(|why| ignored.push((annotation, why))).ok()
}

fn parse_attempts(text: &str) -> Result<Option<u32>, String> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(attempts) if attempts >= 0 => Ok(Some(u32::try_from(attempts).unwrap_or(u32::MAX))),
        _ => Err(format!("`{text}` is not a whole number from -1 (for ever)")),
    }
}

/// Reads a comma list of HTTP statuses, as `retry_http_codes` and its annotation have it.
///
/// # Errors
/// A sentence naming the first item that is not a status.
pub fn parse_codes(text: &str) -> Result<BTreeSet<u16>, String> {
    text.split(',')
        .map(|code| match code.trim().parse() {
            Ok(code @ 100..=599) => Ok(code),
            _ => Err(format!("`{}` is not an HTTP status", code.trim())),
        })
        .collect()
}

fn parse_wait(text: &str) -> Result<Duration, String> {
    parse_go_duration(text).map_err(|why| format!("`{text}` {why}"))
}

/// Reads a `Retry-After` header: a number of seconds, or an HTTP date, which is taken as the time
/// from `now` until then (zero when it has passed). Anything else is `None`: as if it were absent.
#[must_use]
pub fn parse_retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // Too many digits for the type mean a very long time, not an unreadable header.
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    Some(until.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn policy(min_wait: Duration, max_wait: Duration, backoff: Backoff) -> RetryPolicy {
        let codes = BTreeSet::from([429, 503]);
        RetryPolicy::try_new(Some(3), min_wait, max_wait, codes, backoff).unwrap()
    }

    fn seconds(min: u64, max: u64, backoff: Backoff) -> RetryPolicy {
        policy(Duration::from_secs(min), Duration::from_secs(max), backoff)
    }

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    prop_compose! {
        fn any_waits()(a in 1..=u64::MAX, b in 1..=u64::MAX, scale in 0..3_u32)
            -> (Duration, Duration) {
            let make = |n| match scale {
                0 => Duration::from_nanos(n),
                1 => Duration::from_millis(n),
                _ => Duration::from_secs(n),
            };
            (make(a.min(b)), make(a.max(b)))
        }
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_longest(
            (min, max) in any_waits(),
            retry in prop_oneof![0..200_u32, any::<u32>()],
            asked in proptest::option::of(any::<Duration>()),
            seed in any::<u64>(),
        ) {
            for backoff in [Backoff::Exponential, Backoff::Full, Backoff::Equal] {
                let rng = &mut SmallRng::seed_from_u64(seed);
                prop_assert!(policy(min, max, backoff).wait(retry, asked, rng) <= max);
            }
        }

        #[test]
        fn exponential_starts_at_the_first_wait_and_doubles((min, max) in any_waits()) {
            let policy = policy(min, max, Backoff::Exponential);
            let rng = &mut SmallRng::seed_from_u64(0);
            let mut before = policy.wait(1, None, rng);
            prop_assert_eq!(before, min);
            for retry in 2..200 {
                let wait = policy.wait(retry, None, rng);
                prop_assert_eq!(wait, before.saturating_mul(2).min(max));
                before = wait;
            }
        }

        #[test]
        fn jitter_stays_in_its_part_of_the_bare_wait(
            (min, max) in any_waits(), retry in 1..200_u32, seed in any::<u64>(),
        ) {
            let rng = &mut SmallRng::seed_from_u64(seed);
            let bare = policy(min, max, Backoff::Exponential).wait(retry, None, rng);
            prop_assert!(policy(min, max, Backoff::Full).wait(retry, None, rng) <= bare);
            let equal = policy(min, max, Backoff::Equal).wait(retry, None, rng);
            prop_assert!((bare / 2..=bare).contains(&equal));
        }

        #[test]
        fn retry_after_replaces_the_wait_within_bounds(
            (min, max) in any_waits(), retry in 1..200_u32, asked in any::<Duration>(),
        ) {
            for backoff in [Backoff::Exponential, Backoff::Full, Backoff::Equal] {
                let rng = &mut SmallRng::seed_from_u64(1);
                let wait = policy(min, max, backoff).wait(retry, Some(asked), rng);
                prop_assert_eq!(wait, asked.clamp(min, max));
            }
        }

        #[test]
        fn any_header_and_any_annotation_can_be_read(text in "\\PC*", bytes: Vec<u8>) {
            let asked = parse_retry_after(&bytes, SystemTime::UNIX_EPOCH);
            prop_assert!(asked.is_none() || !bytes.is_empty());
            let all = annotations(&[ATTEMPTS, CODES, MIN_WAIT, MAX_WAIT].map(|n| (n.name, &*text)));
            let (policy, _) = seconds(1, 8, Backoff::Full).with_annotations(&all);
            prop_assert!(policy.min_wait() <= policy.max_wait());
        }
    }

    #[test]
    fn jitter_spreads_over_its_whole_part() {
        let rng = &mut SmallRng::seed_from_u64(7);
        for (backoff, least) in [(Backoff::Full, 0.0), (Backoff::Equal, 0.5)] {
            let policy = seconds(1, 1, backoff);
            let mut tenths = [0; 10];
            for _ in 0..1_000 {
                let part = policy.wait(1, None, rng).as_secs_f64();
                let tenth = (part - least) / (1.0 - least) * 10.0;
                tenths[(tenth as usize).min(9)] += 1;
            }
            assert!(tenths.iter().all(|n| (60..150).contains(n)), "{backoff:?}: {tenths:?}");
        }
    }

    #[test]
    fn attempts_count_the_retries_after_the_first_call() {
        let with = |attempts| RetryPolicy { attempts, ..seconds(1, 8, Backoff::Full) };
        assert!(!with(Some(0)).allows(0));
        assert!(with(Some(2)).allows(1));
        assert!(!with(Some(2)).allows(2));
        assert!(with(None).allows(u32::MAX));
    }

    #[test]
    fn parts_that_make_no_sense_are_refused() {
        let new = |min, max, code| {
            let codes = BTreeSet::from([code]);
            let (min, max) = (Duration::from_secs(min), Duration::from_secs(max));
            RetryPolicy::try_new(None, min, max, codes, Backoff::Full)
        };
        assert!(new(1, 1, 503).is_ok());
        assert!(new(0, 1, 503).is_err());
        assert!(new(2, 1, 503).is_err());
        assert!(new(1, 1, 600).is_err());
    }

    #[test]
    fn annotations_override_each_part() {
        let all = annotations(&[
            (ATTEMPTS.name, "-1"),
            (CODES.name, "500, 502"),
            (MIN_WAIT.name, "1.5s"),
            (MAX_WAIT.name, "1m30s"),
        ]);
        let (policy, ignored) = seconds(1, 8, Backoff::Equal).with_annotations(&all);
        assert_eq!(ignored, []);
        assert_eq!(policy.attempts(), None);
        assert_eq!(policy.codes(), &BTreeSet::from([500, 502]));
        assert_eq!(policy.min_wait(), Duration::from_millis(1_500));
        assert_eq!(policy.max_wait(), Duration::from_secs(90));
        assert_eq!(policy.backoff(), Backoff::Equal);
    }

    #[test]
    fn an_invalid_annotation_leaves_the_setting_and_is_told() {
        let global = seconds(1, 8, Backoff::Full);
        for (name, text) in [
            (ATTEMPTS.name, "-2"),
            (ATTEMPTS.name, "many"),
            (CODES.name, ""),
            (CODES.name, "500,oops"),
            (CODES.name, "5000"),
            (MIN_WAIT.name, "30"),
            (MIN_WAIT.name, "-1s"),
            (MIN_WAIT.name, "0"),
            (MIN_WAIT.name, "9s"),
            (MAX_WAIT.name, "10ms"),
            (MAX_WAIT.name, "1e9s"),
            (MAX_WAIT.name, "99999999999999999999999h"),
        ] {
            let (policy, ignored) = global.with_annotations(&annotations(&[(name, text)]));
            assert_eq!(policy, global, "{name}={text}");
            assert!(
                matches!(&*ignored, [(told, _)] if told.name == name),
                "{name}={text}: {ignored:?}"
            );
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |text: &str| parse_retry_after(text.as_bytes(), now);
        assert_eq!(read(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(read("0"), Some(Duration::ZERO));
        assert_eq!(read("99999999999999999999999"), Some(Duration::MAX));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:07 GMT"), Some(Duration::ZERO));
        for unreadable in ["", "-1", "1.5", "soon", "1 s"] {
            assert_eq!(read(unreadable), None, "{unreadable}");
        }
    }
}
