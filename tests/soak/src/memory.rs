//! The connector's memory over a run.

use std::fmt;
use std::time::{Duration, Instant};

use integration::process::resident;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What was seen so far, in bytes, at regular intervals.
#[derive(Default)]
pub(crate) struct Memory {
    seen: Vec<u64>,
    last: Option<Instant>,
}

impl Memory {
    /// Looks at a process, if it is time.
    pub(crate) fn look(&mut self, pid: u32) {
        if self.last.is_some_and(|last| last.elapsed() < LOOK_EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        self.seen.extend(resident(pid));
    }

    /// The first tenth of the run beside the last: the median of each, and the peak.
    pub(crate) fn tenths(&self) -> String {
        let tenth = (self.seen.len() / 10).max(1).min(self.seen.len());
        let (first, last) = (&self.seen[..tenth], &self.seen[self.seen.len() - tenth..]);
        let peak = self.seen.iter().max().copied().unwrap_or(0);
        format!(
            "memory: {} in the first tenth, {} in the last, {} at its peak",
            mib(median(first)),
            mib(median(last)),
            mib(peak)
        )
    }
}

/// What was seen last.
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mib(self.seen.last().copied().unwrap_or(0)))
    }
}

fn median(seen: &[u64]) -> u64 {
    let mut sorted = seen.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_are_compared_by_their_medians() {
        let seen = (1..=20_u64).map(|mib| mib << 20).collect();
        let memory = Memory { seen, last: None };
        let said = "memory: 2.0 MiB in the first tenth, 20.0 MiB in the last, 20.0 MiB at its peak";
        assert_eq!(memory.tenths(), said);
        assert_eq!(mib((5 << 20) + (1 << 19)), "5.5 MiB");
    }
}
