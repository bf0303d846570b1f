//! The connector's memory over a run.

use std::fmt;
use std::time::{Duration, Instant};

use integration::process::{anonymous, resident};

const LOOK_EVERY: Duration = Duration::from_millis(500);
const TENTHS: usize = 10;

/// What was seen so far, in bytes, at regular intervals.
///
/// What is resident counts pages of the binary as well, of which the system keeps as many as it has room for: they come
/// and go with what else the machine does. So what only the process has is told apart.
#[derive(Default)]
pub(crate) struct Memory {
    resident: Vec<u64>,
    own: Vec<u64>,
    now: u64,
    last: Option<Instant>,
}

impl Memory {
    /// Looks at a process, if it is time; what was seen is kept if it `counts`.
    pub(crate) fn look(&mut self, pid: u32, counts: bool) {
        if self.last.is_some_and(|last| last.elapsed() < LOOK_EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        let Some((resident, own)) = resident(pid).zip(anonymous(pid)) else { return };
        self.now = resident;
        if counts {
            self.resident.push(resident);
            self.own.push(own);
        }
    }

    /// Whether it levels off.
    pub(crate) fn tenths(&self) -> String {
        let (resident, own) = (tenths(&self.resident), tenths(&self.own));
        format!("memory, MiB in each tenth: {resident}\n  of it the process's own: {own}")
    }
}

/// The median of each tenth of the run, and the peak.
fn tenths(seen: &[u64]) -> String {
    let bound = |tenth| tenth * seen.len() / TENTHS;
    let tenths = (0..TENTHS).map(|tenth| median(&seen[bound(tenth)..bound(tenth + 1)]));
    let tenths: Vec<_> = tenths.map(mib).collect();
    let peak = seen.iter().max().copied().unwrap_or(0);
    format!("{}; at its peak: {}", tenths.join(", "), mib(peak))
}

/// What was seen last.
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", mib(self.now))
    }
}

fn median(seen: &[u64]) -> u64 {
    let mut sorted = seen.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

fn mib(bytes: u64) -> String {
    format!("{}.{}", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenth_has_its_median() {
        let seen: Vec<_> = (1..=30_u64).map(|mib| mib << 20).collect();
        let medians = (0..10).map(|tenth| format!("{}.0", 3 * tenth + 2)).collect::<Vec<_>>();
        assert_eq!(tenths(&seen), format!("{}; at its peak: 30.0", medians.join(", ")));
        assert_eq!(mib((5 << 20) + (1 << 19)), "5.5");
        assert!(tenths(&[]).ends_with("at its peak: 0.0"));
    }
}
