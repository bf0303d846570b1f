//! The loop on a virtual clock: a fake outlet, a settable map, and a wall clock that can be
//! stepped. Nothing here sleeps for real.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use connector_core::metrics::Metrics;
use connector_core::retry::RetryPolicy;
use connector_core::topics::{Catalog, Function, Pattern, Rules};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::schedule::ScheduleOptions;

const START: &str = "2026-03-01T12:00:00Z";

/// Runs with the runtime's virtual time, and can be set.
#[derive(Debug)]
struct Wall {
    began: Instant,
    start: Timestamp,
    stepped_ms: AtomicI64,
    /// By how much it is set once it has been read.
    steps_next_ms: AtomicI64,
}

impl Wall {
    fn step_once_read(&self, by: SignedDuration) {
        let millis = i64::try_from(by.as_millis()).expect("a step");
        self.steps_next_ms.store(millis, Ordering::Relaxed);
    }

    fn step(&self, by: SignedDuration) {
        let millis = i64::try_from(by.as_millis()).expect("a step");
        self.stepped_ms.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        let ran = SignedDuration::try_from(self.began.elapsed()).expect("short");
        let step = self.steps_next_ms.swap(0, Ordering::Relaxed);
        let stepped = self.stepped_ms.fetch_add(step, Ordering::Relaxed);
        self.start + ran + SignedDuration::from_millis(stepped)
    }
}

/// What the outlet saw.
#[derive(Default)]
struct Seen {
    submitted: Mutex<Vec<Submitted>>,
    held: AtomicBool,
    report: Mutex<String>,
}

struct Submitted {
    tick: Tick,
    lateness: Duration,
    body: String,
    verdict: Option<oneshot::Sender<Verdict>>,
    /// Its flight was dropped.
    given_up: Arc<AtomicBool>,
}

struct Fake(Arc<Seen>);

struct Flight(Arc<AtomicBool>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Outlet for Fake {
    type Flight = Flight;

    fn submit(
        &self,
        tick: &Tick,
        plan: &Plan,
        lateness: Duration,
    ) -> Option<(Flight, BoxFuture<'static, Verdict>)> {
        let (tell, hear) = oneshot::channel();
        let given_up = Arc::new(AtomicBool::new(false));
        self.0.submitted.lock().unwrap().push(Submitted {
            tick: tick.clone(),
            lateness,
            body: String::from_utf8_lossy(&plan.body).into_owned(),
            verdict: Some(tell),
            given_up: Arc::clone(&given_up),
        });
        let verdict = async { hear.await.unwrap_or(Verdict::Release { after: None }) };
        Some((Flight(given_up), Box::pin(verdict)))
    }

    fn is_held(&self, _: &FunctionName) -> bool {
        self.0.held.load(Ordering::Relaxed)
    }

    fn report(&self, trouble: &str) {
        trouble.clone_into(&mut self.0.report.lock().unwrap());
    }
}

/// A running ticker and everything around it.
struct Bench {
    wall: Arc<Wall>,
    seen: Arc<Seen>,
    metrics: Arc<CronMetrics>,
    topics: watch::Sender<Arc<TopicMap>>,
    platform: watch::Sender<bool>,
    drain: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

type Annotations<'a> = &'a [(&'a str, &'a str)];

impl Bench {
    fn new(functions: &[(&str, Annotations<'_>)]) -> Self {
        let start = START.parse().expect("a timestamp");
        let [stepped_ms, steps_next_ms] = [const { AtomicI64::new(0) }; 2];
        let wall = Wall { began: Instant::now(), start, stepped_ms, steps_next_ms };
        let (wall, seen) = (Arc::new(wall), Arc::new(Seen::default()));
        let metrics = CronMetrics::of(&Metrics::new("cron", "0.0.0"));
        let (topics, map) = watch::channel(map(functions));
        let (platform, up) = watch::channel(true);
        let (drain, draining) = oneshot::channel::<()>();
        let ticker = Ticker::new(
            Fake(Arc::clone(&seen)),
            Arc::<Wall>::clone(&wall),
            Timetable::new(ScheduleOptions::default(), wall.now()),
            Arc::clone(&metrics),
            Watched { topics: map, platform: up },
        );
        let running = tokio::spawn(ticker.run(async { drop(draining.await) }));
        Self { wall, seen, metrics, topics, platform, drain: Some(drain), running }
    }

    fn map(&self, functions: &[(&str, Annotations<'_>)]) {
        self.topics.send_replace(map(functions));
    }

    /// Lets so much time pass. The ticker sees everything that happened before it begins.
    async fn pass(&self, seconds: f64) {
        settle().await;
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        settle().await;
    }

    /// What has been submitted so far, as `function instant`; instants of today without their date.
    fn submitted(&self) -> Vec<String> {
        let submitted = self.seen.submitted.lock().unwrap();
        submitted.iter().map(|it| format!("{} {}", it.tick.function, short(&it.tick))).collect()
    }

    /// Gives a verdict to the submitted tick at `index`.
    async fn end(&self, index: usize, verdict: Verdict) {
        let tell = self.seen.submitted.lock().unwrap()[index].verdict.take().expect("the first");
        tell.send(verdict).expect("it is waited for");
        settle().await;
    }

    /// Answers everything well that has no verdict yet.
    async fn end_all(&self) {
        let submitted = &mut *self.seen.submitted.lock().unwrap();
        for verdict in submitted.iter_mut().filter_map(|it| it.verdict.take()) {
            verdict.send(Verdict::Done).expect("it is waited for");
        }
    }

    fn given_up(&self, index: usize) -> bool {
        self.seen.submitted.lock().unwrap()[index].given_up.load(Ordering::Relaxed)
    }

    fn counted(&self) -> (u64, u64) {
        (self.metrics.fired.get(), self.metrics.missed.get())
    }
}

const RELEASED: Verdict = Verdict::Release { after: None };

/// Lets the ticker do all it can without time passing.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

fn short(tick: &Tick) -> String {
    tick.instant.to_string().replace("2026-03-01T", "").replace('Z', "")
}

fn map(functions: &[(&str, Annotations<'_>)]) -> Arc<TopicMap> {
    let functions = functions.iter().map(|(name, annotations)| {
        let mut all: BTreeMap<String, String> =
            annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        all.insert("topic".to_owned(), TOPIC.to_owned());
        Function { name: FunctionName::new(*name), annotations: Arc::new(all) }
    });
    let rules = Rules {
        kind: "cron",
        delimiter: ",".to_owned(),
        pattern: Arc::new(|item| Ok(Pattern::Exact(item.into()))),
        letter_scheme: None,
        retry: RetryPolicy::never(),
    };
    Arc::new(TopicMap::build(&functions.collect::<Catalog>(), &rules))
}

#[tokio::test(start_paused = true)]
async fn a_tick_is_handed_over_at_its_instant() {
    let bench = Bench::new(&[("f", &[("schedule", "* * * * *")])]);
    bench.pass(59.9).await;
    assert!(bench.submitted().is_empty());
    bench.pass(0.2).await;
    assert_eq!(bench.submitted(), ["f 12:01:00"]);
    assert!(bench.seen.submitted.lock().unwrap()[0].lateness < Duration::from_millis(2));
    bench.end(0, Verdict::Done).await;
    assert_eq!(bench.counted(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn schedules_come_change_and_go_live() {
    let every: Annotations<'_> = &[("schedule", "@every 10s")];
    let bench = Bench::new(&[("f", every)]);
    bench.pass(5.0).await;
    // Neither an added neighbour nor another annotation touches the timer.
    let with_body: Annotations<'_> = &[("schedule", "@every 10s"), ("connector.cron.body", "hi")];
    bench.map(&[("f", with_body), ("g", every)]);
    bench.pass(5.1).await;
    assert_eq!(bench.submitted(), ["f 12:00:10"]);
    assert_eq!(bench.seen.submitted.lock().unwrap()[0].body, "hi");
    bench.map(&[("f", &[("schedule", "@every 20s")]), ("g", every)]);
    bench.pass(20.0).await;
    assert_eq!(bench.submitted()[1..], ["g 12:00:15", "g 12:00:25", "f 12:00:30"]);
    bench.map(&[]);
    bench.pass(3_600.0).await;
    assert_eq!(bench.submitted().len(), 4);
    assert_eq!(bench.metrics.schedules.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_bad_schedule_is_told_and_disturbs_nothing() {
    let bench = Bench::new(&[
        ("bad", &[("schedule", "TZ=X")]),
        ("good", &[("schedule", "@every 1s")]),
        ("none", &[]),
        ("silent", &[("schedule", "0 0 30 2 *")]),
    ]);
    bench.pass(1.1).await;
    assert_eq!(bench.submitted(), ["good 12:00:01"]);
    assert_eq!((bench.metrics.schedules.get(), bench.metrics.bad_schedules.get()), (2, 2));
    let report = bench.seen.report.lock().unwrap().clone();
    for told in ["bad is refused: time zone \"TZ=X\"", "none is refused", "silent never fires"] {
        assert!(report.contains(told), "{report}");
    }
    bench.map(&[("good", &[("schedule", "@every 1s")])]);
    settle().await;
    assert_eq!(*bench.seen.report.lock().unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn calls_overlap_but_ticks_do_not_pile_up() {
    let bench = Bench::new(&[("f", &[("schedule", "@every 1s")])]);
    bench.pass(3.1).await;
    // All three were handed over, and none waits beside a later one: should the first two only
    // wait for a permit, they are given up.
    assert_eq!(bench.submitted().len(), 3);
    assert_eq!([0, 1, 2].map(|index| bench.given_up(index)), [true, true, false]);
    bench.end(0, RELEASED).await;
    bench.end(1, Verdict::Done).await;
    bench.end(2, Verdict::Done).await;
    assert_eq!(bench.counted(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_tick_of_a_held_function_is_not_replaced_by_later_ones() {
    let bench = Bench::new(&[("f", &[("schedule", "@every 1s")])]);
    bench.pass(1.1).await;
    bench.seen.held.store(true, Ordering::Relaxed);
    bench.pass(5.0).await;
    assert_eq!(bench.submitted().len(), 1);
    assert!(!bench.given_up(0));
    assert_eq!(bench.counted(), (0, 5));
}

#[tokio::test(start_paused = true)]
async fn forbid_misses_what_would_overlap() {
    let annotations: Annotations<'_> =
        &[("schedule", "@every 1s"), ("connector.cron.overlap", "forbid")];
    let bench = Bench::new(&[("f", annotations)]);
    bench.pass(3.1).await;
    assert_eq!(bench.submitted(), ["f 12:00:01"]);
    assert!(!bench.given_up(0));
    bench.end(0, Verdict::Done).await;
    bench.pass(1.0).await;
    assert_eq!(bench.submitted(), ["f 12:00:01", "f 12:00:04"]);
    assert_eq!(bench.counted(), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn queue_calls_one_after_the_other_and_is_bounded() {
    let annotations: Annotations<'_> =
        &[("schedule", "@every 1s"), ("connector.cron.overlap", "queue")];
    let bench = Bench::new(&[("f", annotations)]);
    bench.pass(10.1).await;
    assert_eq!(bench.submitted(), ["f 12:00:01"]);
    for index in 0..4 {
        bench.end(index, Verdict::Done).await;
    }
    assert_eq!(bench.submitted(), ["f 12:00:01", "f 12:00:02", "f 12:00:03", "f 12:00:04"]);
    assert_eq!(bench.counted(), (4, 6));
}

#[tokio::test(start_paused = true)]
async fn a_suspended_host_misses_or_makes_up_once() {
    let bench = Bench::new(&[
        ("once", &[("schedule", "*/10 * * * *"), ("connector.cron.missed", "once")]),
        ("skip", &[("schedule", "*/10 * * * *")]),
    ]);
    bench.pass(30.0).await;
    bench.wall.step(SignedDuration::from_mins(35));
    bench.pass(60.0).await;
    assert_eq!(bench.submitted(), ["once 12:30:00"], "one catch-up of three");
    bench.end_all().await;
    bench.pass(4.0 * 60.0).await;
    assert_eq!(bench.submitted()[1..], ["once 12:40:00", "skip 12:40:00"]);
    bench.end_all().await;
    settle().await;
    assert_eq!(bench.counted(), (3, 5));
}

#[tokio::test(start_paused = true)]
async fn a_clock_stepped_by_a_day_either_way_neither_floods_nor_falls_silent() {
    let day = SignedDuration::from_hours(24);
    let bench =
        Bench::new(&[("f", &[("schedule", "@every 10s")]), ("g", &[("schedule", "0 * * * *")])]);
    bench.pass(15.0).await;
    for (step, most) in [(day, 8), (-day, 7), (-day, 7), (day, 8)] {
        let before = bench.submitted().len();
        bench.wall.step(step);
        bench.pass(120.0).await;
        bench.end_all().await;
        let ticks = bench.submitted().len() - before;
        // Seen a minute after the step at the latest, then every 10 s.
        assert!((6..=most + 6).contains(&ticks), "{step}: {ticks}");
    }
    let submitted = bench.seen.submitted.lock().unwrap();
    let unique: BTreeSet<_> = submitted
        .iter()
        .map(|it| (it.tick.function.clone(), it.tick.instant, it.tick.era))
        .collect();
    assert_eq!(unique.len(), submitted.len(), "no tick twice");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_while_ticks_are_given_out_is_noticed_with_the_next() {
    let bench = Bench::new(&[("f", &[("schedule", "@every 1s")])]);
    bench.pass(2.1).await;
    bench.wall.step_once_read(SignedDuration::from_hours(-2));
    bench.pass(3.1).await;
    assert_eq!(bench.submitted()[2..], ["f 12:00:03", "f 10:00:05"]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_boots_without_a_clock_makes_nothing_up() {
    let bench =
        Bench::new(&[("f", &[("schedule", "0 0 1 * *"), ("connector.cron.missed", "once")])]);
    bench.wall.step(SignedDuration::from_hours(-24 * 365 * 56));
    bench.pass(61.0).await;
    bench.wall.step(SignedDuration::from_hours(24 * 365 * 56));
    bench.pass(61.0).await;
    assert!(bench.submitted().is_empty(), "{:?}", bench.submitted());
    assert_eq!(bench.counted(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn of_ticks_in_an_outage_the_last_one_is_kept() {
    let bench = Bench::new(&[
        ("each_minute", &[("schedule", "* * * * *")]),
        ("hourly", &[("schedule", "1 * * * *")]),
        ("hourly_once", &[("schedule", "1 * * * *"), ("connector.cron.missed", "once")]),
    ]);
    bench.pass(30.0).await;
    bench.platform.send_replace(false);
    bench.pass(600.0).await;
    assert!(bench.submitted().is_empty());
    bench.platform.send_replace(true);
    settle().await;
    assert_eq!(bench.submitted(), ["each_minute 12:10:00", "hourly_once 12:01:00"]);
    bench.end_all().await;
    settle().await;
    assert_eq!(bench.counted(), (2, 10));
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_found_the_outage_is_kept_like_the_others() {
    let bench = Bench::new(&[("f", &[("schedule", "* * * * *")])]);
    bench.pass(60.1).await;
    assert_eq!(bench.submitted(), ["f 12:01:00"]);
    bench.platform.send_replace(false);
    settle().await;
    assert!(bench.given_up(0), "it waits here, not in the core");
    bench.end(0, RELEASED).await;
    bench.pass(10.0).await;
    bench.platform.send_replace(true);
    settle().await;
    assert_eq!(bench.submitted(), ["f 12:01:00", "f 12:01:00"]);
    bench.end(1, Verdict::Done).await;
    assert_eq!(bench.counted(), (1, 0), "one tick, counted once");

    // An outage that outlasts the next tick: the older one is missed.
    bench.pass(49.9).await;
    bench.platform.send_replace(false);
    settle().await;
    bench.end(2, RELEASED).await;
    bench.pass(60.0).await;
    bench.platform.send_replace(true);
    settle().await;
    assert_eq!(bench.submitted()[2..], ["f 12:02:00", "f 12:03:00"]);
    assert_eq!(bench.counted(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_removed_schedule_is_not_called() {
    let queue: Annotations<'_> = &[("schedule", "@every 1s"), ("connector.cron.overlap", "queue")];
    let bench = Bench::new(&[("f", queue)]);
    bench.pass(2.1).await;
    bench.map(&[]);
    settle().await;
    assert!(bench.given_up(0));
    bench.end(0, RELEASED).await;
    bench.pass(10.0).await;
    assert_eq!(bench.submitted(), ["f 12:00:01"]);
    assert_eq!(bench.counted(), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn draining_misses_what_waits_and_waits_for_what_runs() {
    let queue: Annotations<'_> = &[("schedule", "@every 1s"), ("connector.cron.overlap", "queue")];
    let mut bench = Bench::new(&[("f", queue), ("g", &[("schedule", "@every 1s")])]);
    bench.pass(2.1).await;
    assert_eq!(bench.submitted(), ["f 12:00:01", "g 12:00:01", "g 12:00:02"]);
    bench.drain.take().unwrap().send(()).unwrap();
    bench.pass(5.0).await;
    assert!(!bench.running.is_finished());
    bench.end(0, Verdict::Done).await;
    bench.end(1, Verdict::Done).await;
    bench.end(2, RELEASED).await;
    (&mut bench.running).await.expect("it ends");
    assert_eq!(bench.submitted().len(), 3, "nothing new");
    assert_eq!(bench.counted(), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn what_fell_due_just_before_draining_is_counted() {
    let mut bench = Bench::new(&[("f", &[("schedule", "@every 1s")])]);
    bench.pass(2.1).await;
    bench.end_all().await;
    // Two more are due, and their timer has woken nobody.
    bench.wall.step(SignedDuration::from_secs(2));
    bench.drain.take().unwrap().send(()).unwrap();
    (&mut bench.running).await.expect("it ends");
    assert_eq!(bench.submitted().len(), 2, "nothing new");
    assert_eq!(bench.counted(), (2, 2));
}
