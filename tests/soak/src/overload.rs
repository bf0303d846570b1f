//! Ten times more than can be called, and beside it a function on a topic of its own that is to notice nothing.
//!
//! That function, `calm`, is sent few events at a steady pace, first alone and then beside the flood. Its calls are no part
//! of what is judged; how many it had in each ten seconds, alone and in the flood, is told beside the judgement.
//!
//! All of them go through one broker, which may be what falls behind. So the same is sent to a client that does nothing but
//! receive, and what was sent is counted apart: whoever sends waits for the broker's answers too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::feed::Rate;
use crate::soak::{FUNCTIONS, Outcome, Soak};
use crate::source::{Bare, Event, Publisher, Source, Tally};

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

/// Events at a steady pace.
struct Steady {
    feeding: JoinHandle<()>,
    closed: Arc<AtomicBool>,
    /// How many of them the broker has.
    sent: Tally,
}

impl Steady {
    /// Begins to send them.
    fn feed(mut publisher: impl Publisher + 'static) -> Self {
        let (closed, sent) = (Arc::<AtomicBool>::default(), Tally::default());
        let (told, has) = (Arc::clone(&closed), sent.clone());
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
                if publisher.publish(batch).await.is_ok() {
                    has.add(events);
                }
            }
        });
        Self { feeding, closed, sent }
    }

    async fn end(self) {
        self.closed.store(true, Ordering::Relaxed);
        self.feeding.await.expect("sending does not panic");
    }
}

/// What is beside the flood.
struct Beside {
    calm: Steady,
    /// What is sent to the client without a connector, and what that receives.
    bare: Option<(Steady, Bare)>,
}

/// What was counted in one window, of each [line](Beside::LINES) that is told.
type Window = Vec<usize>;

impl Beside {
    /// What is counted: of a source without a bare client the first two.
    const LINES: [&str; 4] = [
        "calls of calm",
        "sent to calm",
        "received by a bare client of the broker",
        "sent to the bare client",
    ];

    async fn of<S: Source>(source: &S) -> Option<Self> {
        let (_, publisher) = source.calm()?;
        let bare = source.bare().await;
        let bare = bare.map(|(publisher, bare)| (Steady::feed(publisher), bare));
        Some(Self { calm: Steady::feed(publisher), bare })
    }

    /// The counts so far. `called` is how often `calm` was.
    fn so_far(&self, called: usize) -> Window {
        let mut counts = vec![called, self.calm.sent.get()];
        if let Some((steady, bare)) = &self.bare {
            counts.extend([bare.received.get(), steady.sent.get()]);
        }
        counts
    }

    async fn end(self) {
        self.calm.end().await;
        if let Some((steady, bare)) = self.bare {
            steady.end().await;
            bare.receiving.abort();
        }
    }
}

impl<S: Source> Soak<S> {
    /// Floods the functions, and lets everything be called in the end.
    pub(crate) async fn flood(mut self, lasts: Duration) -> Outcome {
        let beside = Beside::of(&self.source).await;
        let alone = self.alone(beside.as_ref(), lasts).await;
        let flood = self.source.flood();
        let feeding = self.feed(Rate::EachSecond(flood.each_second)).await;
        let flooded = self.flooded(beside.as_ref(), flood, lasts).await;
        if let Some(beside) = beside {
            beside.end().await;
        }
        let beside = told(&alone, &flooded);
        let outcome = self.finish(feeding).await;
        Outcome { said: outcome.said + &beside, ..outcome }
    }

    /// Lets what is beside the flood be alone for a while.
    async fn alone(&mut self, beside: Option<&Beside>, flood: Duration) -> Vec<Window> {
        if beside.is_none() {
            return Vec::new();
        }
        "only calm is called".clone_into(&mut self.doing);
        let fault = json!({ "delay_ms": CALM_MS, "delay_max_ms": CALM_MS });
        self.gateway.fault(CALM, &fault).await;
        // Until it is at its pace.
        self.wait(WINDOW / 10).await;
        self.windows(beside, ALONE.min(flood / 10)).await
    }

    /// Lets events pile up. They are called by functions that are well again.
    async fn flooded(
        &mut self,
        beside: Option<&Beside>,
        flood: Flood,
        lasts: Duration,
    ) -> Vec<Window> {
        "ten times too much is sent".clone_into(&mut self.doing);
        let (least, most) = flood.call_ms;
        for function in FUNCTIONS {
            let fault = json!({ "delay_ms": least, "delay_max_ms": most });
            self.gateway.fault(function, &fault).await;
        }
        let windows = self.windows(beside, lasts).await;
        self.functions_are_well().await;
        "nothing more is sent".clone_into(&mut self.doing);
        windows
    }

    /// Waits, and counts what is beside the flood meanwhile.
    async fn windows(&mut self, beside: Option<&Beside>, lasts: Duration) -> Vec<Window> {
        let Some(beside) = beside else {
            self.wait(lasts).await;
            return Vec::new();
        };
        let (began, mut windows) = (Instant::now(), Vec::new());
        while began.elapsed() < lasts {
            let (before, since) = (beside.so_far(self.tail.beside()), Instant::now());
            self.wait(WINDOW.min(lasts)).await;
            let now = beside.so_far(self.tail.beside());
            // A window that came late is longer.
            let share = WINDOW.as_secs_f64() / since.elapsed().as_secs_f64();
            let counted = |(now, before): (&usize, &usize)| ((now - before) as f64 * share).round();
            let window = now.iter().zip(&before).map(|both| counted(both) as usize).collect();
            println!("          beside it: {}", in_words(&window));
            windows.push(window);
        }
        windows
    }
}

/// What one window says.
fn in_words(window: &Window) -> String {
    let counts = Beside::LINES.iter().zip(window);
    counts.map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
}

/// What the windows say, a line for each count.
fn told(alone: &[Window], flooded: &[Window]) -> String {
    let of = |windows: &[Window], count: usize| {
        let mut sorted: Vec<_> = windows.iter().map(|window| window[count]).collect();
        sorted.sort_unstable();
        let at = |place: usize| sorted.get(place).copied().unwrap_or(0);
        format!("{} to {}, median {}", at(0), at(sorted.len().max(1) - 1), at(sorted.len() / 2))
    };
    let seconds = WINDOW.as_secs();
    let counts = flooded.first().map_or(0, Vec::len);
    let lines = Beside::LINES.iter().take(counts).enumerate();
    let lines = lines.map(|(count, what)| {
        let (alone, flooded) = (of(alone, count), of(flooded, count));
        format!("  {what} in {seconds} s: alone {alone}; in the flood {flooded}\n")
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_told_by_their_median_and_bounds() {
        let flooded = [vec![990, 7], vec![700, 9], vec![1_001, 8]];
        let said = told(&[vec![1_000, 10]], &flooded);
        let lines: Vec<_> = said.lines().collect();
        let [calls, sent] = lines[..] else { panic!("{said}") };
        let ends = "alone 1000 to 1000, median 1000; in the flood 700 to 1001, median 990";
        assert!(calls.starts_with("  calls of calm in 10 s: ") && calls.ends_with(ends), "{said}");
        let ends = "alone 10 to 10, median 10; in the flood 7 to 9, median 8";
        assert!(sent.starts_with("  sent to calm in 10 s: ") && sent.ends_with(ends), "{said}");
        assert_eq!(told(&[], &[]), "", "of a source without calm nothing is told");
        let never_alone = told(&[], &flooded);
        assert!(never_alone.contains("alone 0 to 0, median 0"), "{never_alone}");
    }
}
