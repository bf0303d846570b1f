//! What is finished beyond the committed offset, as text for the commit's metadata.
//!
//! A commit says one offset: everything below it is finished. While one record is stuck in retries,
//! thousands behind it may be finished too, and a restart would call them all again. So each commit
//! carries, as its metadata, which of the records beyond its offset are finished.
//!
//! The metadata is a hint and is treated as one. It is written by us, but found later, perhaps by
//! an older version, after another tool has committed in the same group, or after the topic was
//! deleted and created again. Whatever does not fit exactly is ignored: that repeats calls, where
//! believing it could lose events. It fits when
//!
//! - it has our mark and parses to its last character,
//! - it was written for exactly the offset it was found with,
//! - the record at that offset, the *head*, has the timestamp and the leader epoch it had, and
//! - a record that it lists is not of a later leader epoch than any it was written from: epochs
//!   only grow along a log, so a later one means that the log was cut and written anew there.
//!
//! Pure: no clock, no broker.

use std::ops::RangeInclusive;

/// The beginning of every metadata of ours, of this version. A commit without it was made by
/// somebody else.
pub(crate) const MARK: &str = "tributary.1";

/// The most a broker takes by default (`offset.metadata.max.bytes`).
pub(crate) const LIMIT: usize = 4096;

/// Mark, head and epochs with their dots, at their longest: 11 + 20 + 20 + 11 + 11 + 5, rounded up.
const FRAME: usize = 80;

/// Where a record stands in its partition, and what tells it from another with the same offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its offset.
    pub(crate) offset: i64,
    /// The offset of the record received before it. Between the two there are only holes: what
    /// compaction took, aborted transactions, control records.
    pub(crate) previous: i64,
    /// Its timestamp in milliseconds; -1 when it has none.
    pub(crate) timestamp: i64,
    /// The epoch of the leader that wrote it; -1 when unknown.
    pub(crate) epoch: i32,
}

/// What is finished beyond a head that is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beyond {
    /// The first record that is not finished: offset, timestamp, leader epoch.
    head: (i64, i64, i32),
    /// The latest leader epoch among the records listed.
    epoch: i32,
    /// Runs of offsets, ascending, apart, all beyond the head. Every record within one is finished.
    runs: Vec<RangeInclusive<i64>>,
}

impl Beyond {
    /// Lists what is finished behind `head`: what `known` says, and the places in `finished`, which
    /// come in order of arrival.
    pub(crate) fn new<'a>(
        head: &Place,
        known: Option<&Self>,
        finished: impl Iterator<Item = &'a Place>,
    ) -> Self {
        let mut beyond =
            Self { head: (head.offset, head.timestamp, head.epoch), epoch: -1, runs: Vec::new() };
        let mut known = known.map_or([].as_slice(), |known| {
            beyond.epoch = known.epoch;
            known.runs.as_slice()
        });
        for place in finished {
            while let Some((run, rest)) = known.split_first()
                && *run.start() < place.offset
            {
                beyond.push(run.start() - 1, run);
                known = rest;
            }
            beyond.epoch = beyond.epoch.max(place.epoch);
            beyond.push(place.previous, &(place.offset..=place.offset));
        }
        for run in known {
            beyond.push(run.start() - 1, run);
        }
        beyond
    }

    /// Adds a run that begins right after the record at `previous`.
    fn push(&mut self, previous: i64, run: &RangeInclusive<i64>) {
        let (first, last) = (*run.start(), *run.end());
        if last <= self.head.0 {
            return;
        }
        if let Some(open) = self.runs.last_mut()
            && *open.end() >= previous
        {
            *open = *open.start()..=last.max(*open.end());
            return;
        }
        self.runs.push(first.max(self.head.0 + 1)..=last);
    }

    /// Whether nothing is listed.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether anything at or beyond `offset` is listed.
    pub(crate) fn reaches(&self, offset: i64) -> bool {
        self.runs.last().is_some_and(|run| *run.end() >= offset)
    }

    /// Whether the record at `place` is the one that was the head.
    pub(crate) fn is_headed_by(&self, place: &Place) -> bool {
        self.head == (place.offset, place.timestamp, place.epoch)
    }

    /// Whether the record at `place` is listed as finished.
    pub(crate) fn lists(&self, place: &Place) -> bool {
        if place.epoch > self.epoch {
            return false;
        }
        let after = self.runs.partition_point(|run| *run.end() < place.offset);
        self.runs.get(after).is_some_and(|run| run.contains(&place.offset))
    }

    /// As metadata: [`MARK`], head, epochs and runs, separated by dots, in ASCII.
    ///
    /// Never longer than [`LIMIT`]: the last runs are left out when all would not fit. A lane that
    /// looks at [`longest`] before it receives never gets there.
    pub(crate) fn encode(&self) -> String {
        if self.is_empty() {
            return MARK.to_owned();
        }
        let (offset, timestamp, epoch) = self.head;
        let mut text = format!("{MARK}.{offset}.{timestamp}.{epoch}.{}.", self.epoch);
        let mut end = offset;
        for run in &self.runs {
            let before = text.len();
            // Both are at least zero: runs ascend, are apart and lie beyond the head.
            push_number(&mut text, run.start().abs_diff(end) - 1);
            push_number(&mut text, run.end().abs_diff(*run.start()));
            if text.len() > LIMIT {
                text.truncate(before);
                break;
            }
            end = *run.end();
        }
        text
    }

    /// Reads the metadata found with a commit of `committed`. `None`: it lists nothing, or it is
    /// not ours, not of this version, or not of this commit.
    pub(crate) fn decode(metadata: &[u8], committed: i64) -> Option<Self> {
        if metadata.len() > LIMIT {
            return None;
        }
        let text = std::str::from_utf8(metadata).ok()?.strip_prefix(MARK)?.strip_prefix('.')?;
        let mut fields = text.split('.');
        let offset: i64 = fields.next()?.parse().ok()?;
        let head = (offset, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let epoch = fields.next()?.parse().ok()?;
        let mut digits = fields.next()?.bytes();
        if fields.next().is_some() || offset != committed {
            return None;
        }

        let mut runs = Vec::new();
        let mut end = offset;
        while digits.len() > 0 {
            let first = end.checked_add(pull_number(&mut digits)?)?.checked_add(1)?;
            end = first.checked_add(pull_number(&mut digits)?)?;
            runs.push(first..=end);
        }
        (!runs.is_empty()).then_some(Self { head, epoch, runs })
    }
}

/// Whether a commit was made by this connector, of whatever version.
pub(crate) fn is_ours(metadata: &[u8]) -> bool {
    metadata.starts_with(b"tributary.")
}

/// The longest metadata that can come of `unfinished` records (the head not counted) among those in
/// the `span` of offsets behind the head, whichever of them finish.
///
/// What is finished lies between what is not: there are at most `unfinished + 1` runs, of two
/// numbers each, which add up to at most `span`. A number's length grows with its logarithm, so
/// the sum is longest when all are equal.
pub(crate) fn longest(unfinished: usize, span: u64) -> usize {
    #[expect(clippy::cast_precision_loss, reason = "an estimate from above, rounded up")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, positive")]
    {
        let numbers = 2.0 * (unfinished as f64 + 1.0);
        let digits = numbers * (1.0 + ((span as f64 + numbers) / numbers).log(32.0));
        FRAME + digits.ceil() as usize
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Writes a number, five bits to a character, the lowest first; the sixth says that more follow.
fn push_number(text: &mut String, mut number: u64) {
    loop {
        let low = (number & 0b1_1111) as usize;
        number >>= 5;
        let more = usize::from(number > 0) << 5;
        text.push(char::from(DIGITS[low | more]));
        if number == 0 {
            return;
        }
    }
}

fn pull_number(digits: &mut std::str::Bytes<'_>) -> Option<i64> {
    let mut number = 0_i64;
    for shift in (0..).step_by(5) {
        let digit = i64::from(value_of(digits.next()?)?);
        let part = digit & 0b1_1111;
        // Sixty bits are more than any distance between offsets; what is left of a shift is none.
        if shift >= 60 {
            return None;
        }
        number |= part << shift;
        if digit & 0b10_0000 == 0 {
            break;
        }
    }
    Some(number)
}

fn value_of(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
