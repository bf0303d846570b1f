//! Ten times more than can be called, and beside it a function on a topic of its own that is to notice nothing.
//!
//! That function, `calm`, is sent few events at a steady pace, first alone and then beside the flood. Its calls are no part
//! of what is judged; how many it had in each ten seconds, alone and in the flood, is told beside the judgement.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::feed::Rate;
use crate::soak::{FUNCTIONS, Outcome, Soak};
use crate::source::{Event, Publisher, Source};

/// The function beside the flood.
pub(crate) const CALM: &str = "calm";
/// How long its calls take, in milliseconds.
const CALM_MS: u64 = 20;
/// How many of its events are sent each so often.
const EACH: (usize, Duration) = (10, Duration::from_millis(100));
/// How long it is alone, at most; a tenth of the flood if that is less.
const ALONE: Duration = Duration::from_secs(60);
/// Over how long the calls of `calm` are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// How slow functions are in a flood, and how many events are then ten times too many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flood {
    /// How long a call takes, in milliseconds.
    call_ms: (u64, u64),
    /// How many events are sent in a second.
    each_second: u32,
}

impl Flood {
    /// By 32 running calls of each function 16 events are called in a second. So slow that what piles up in ten minutes
    /// is called within a few more.
    pub(crate) const USUAL: Self = Self { call_ms: (1_000, 3_000), each_second: 160 };
    /// The like for a broker that thousands of waiting messages slow down: 1.3 events are called in a second, and some
    /// 7,000 wait after ten minutes.
    pub(crate) const SLOW: Self = Self { call_ms: (12_500, 37_500), each_second: 13 };
}

/// What keeps `calm` busy.
struct Calm {
    feeding: JoinHandle<()>,
    closed: Arc<AtomicBool>,
}

impl Calm {
    /// Begins to send it events.
    fn feed(mut publisher: impl Publisher + 'static) -> Self {
        let closed = Arc::<AtomicBool>::default();
        let told = Arc::clone(&closed);
        let feeding = tokio::spawn(async move {
            let (events, every) = EACH;
            let mut ticks = interval(every);
            // What could not be sent in time is not made up for: that would be a flood of its own.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut next = 0;
            while !told.load(Ordering::Relaxed) {
                ticks.tick().await;
                let batch = (next..next + events).map(Event::number).collect();
                next += events;
                // Nothing is broken in such a run; if sending fails all the same, its pace shows it.
                drop(publisher.publish(batch).await);
            }
        });
        Self { feeding, closed }
    }

    async fn end(self) {
        self.closed.store(true, Ordering::Relaxed);
        self.feeding.await.expect("sending does not panic");
    }
}

impl<S: Source> Soak<S> {
    /// Floods the functions, and lets everything be called in the end.
    pub(crate) async fn flood(mut self, lasts: Duration) -> Outcome {
        let calm = self.source.calm().map(|(_, publisher)| Calm::feed(publisher));
        let alone = if calm.is_some() { self.alone(lasts).await } else { Vec::new() };
        let flood = self.source.flood();
        let feeding = self.feed(Rate::EachSecond(flood.each_second)).await;
        let flooded = self.flooded(flood, lasts).await;
        let mut beside = String::new();
        if let Some(calm) = calm {
            calm.end().await;
            beside = format!("  {}\n", told(&alone, &flooded));
        }
        let outcome = self.finish(feeding).await;
        Outcome { said: outcome.said + &beside, ..outcome }
    }

    /// Lets `calm` be called alone for a while: how often in each window.
    async fn alone(&mut self, flood: Duration) -> Vec<usize> {
        "only calm is called".clone_into(&mut self.doing);
        let fault = json!({ "delay_ms": CALM_MS, "delay_max_ms": CALM_MS });
        self.gateway.fault(CALM, &fault).await;
        // Until it is at its pace.
        self.wait(WINDOW / 10).await;
        self.windows(ALONE.min(flood / 10)).await
    }

    /// Lets events pile up: how often `calm` is called in each window. What piled up is called by functions that are well
    /// again.
    async fn flooded(&mut self, flood: Flood, lasts: Duration) -> Vec<usize> {
        "ten times too much is sent".clone_into(&mut self.doing);
        let (least, most) = flood.call_ms;
        for function in FUNCTIONS {
            let fault = json!({ "delay_ms": least, "delay_max_ms": most });
            self.gateway.fault(function, &fault).await;
        }
        let windows = self.windows(lasts).await;
        self.functions_are_well().await;
        "nothing more is sent".clone_into(&mut self.doing);
        windows
    }

    async fn windows(&mut self, lasts: Duration) -> Vec<usize> {
        let (began, mut windows) = (Instant::now(), Vec::new());
        while began.elapsed() < lasts {
            let (before, since) = (self.tail.beside(), Instant::now());
            self.wait(WINDOW.min(lasts)).await;
            // A window that came late is longer.
            let calls = (self.tail.beside() - before) as f64 * WINDOW.as_secs_f64();
            windows.push((calls / since.elapsed().as_secs_f64()).round() as usize);
        }
        windows
    }
}

/// What the windows say.
fn told(alone: &[usize], flooded: &[usize]) -> String {
    let of = |windows: &[usize]| {
        let mut sorted = windows.to_vec();
        sorted.sort_unstable();
        let at = |place: usize| sorted.get(place).copied().unwrap_or(0);
        format!("{} to {}, median {}", at(0), at(sorted.len().max(1) - 1), at(sorted.len() / 2))
    };
    let seconds = WINDOW.as_secs();
    format!("calls of {CALM} in {seconds} s: alone {}; in the flood {}", of(alone), of(flooded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_told_by_their_median_and_bounds() {
        let said = told(&[1_000], &[990, 700, 1_001]);
        let ends = "alone 1000 to 1000, median 1000; in the flood 700 to 1001, median 990";
        assert!(said.ends_with(ends), "{said}");
        assert!(told(&[], &[]).ends_with("in the flood 0 to 0, median 0"));
    }
}
