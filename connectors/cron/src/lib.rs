//! Calls OpenFaaS functions on their schedules.
//!
//! A function asks for it with the annotations `topic: cron-function` and `schedule`. Each instant
//! at which its schedule fires is a **tick**: an event for that function alone. There is no broker,
//! so nothing is acknowledged, and a tick that is not called is not delivered again: it is
//! **missed**, which is counted. See [`ticker`] for when that happens.
//!
//! [`schedule`] says when a schedule fires, [`timetable`] which ticks are due, [`plan`] what the
//! annotations say about them, [`ticker`] what becomes of them,
//! and [`lease`] which of several replicas calls them. This file joins them to the process.

pub mod clock;
pub mod config;
pub mod lease;
mod metrics;
pub mod plan;
pub mod schedule;
#[cfg(feature = "testing")]
pub mod testing;
pub mod ticker;
pub mod timetable;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connector_core::annotations::Annotation;
use connector_core::conditions::Subject;
use connector_core::fail_point::{self, Step};
use connector_core::headers::{ALWAYS, OwnHeader};
use connector_core::metrics::Metrics;
use connector_core::source::Letterbox;
use connector_core::topics::{Pattern, Unused};
use connector_core::{
    Event, EventId, FunctionName, Intake, Lane, LaneOptions, Source, SourceError, Verdict,
    lane::Unmatched,
};
use futures_util::future::BoxFuture;
use tracing::info;

pub use self::config::Config;
use self::lease::LeaseOptions;
use self::lease::election::Election;
use self::lease::kubernetes::Leases;
use self::lease::tenure::Tenure;
use self::lease::turn::Turn;
use self::metrics::CronMetrics;
use self::plan::Plan;
use self::ticker::{Outlet, TOPIC, Ticker, Watched};
use self::timetable::{Tick, Timetable};

/// The other word for [`TOPIC`] that the upstream connector takes.
const ALIAS: &str = "com.openfaas.cron";

const X_CRON_SCHEDULE: OwnHeader = OwnHeader::new(
    "x-cron-schedule",
    ALWAYS,
    "The schedule, as the annotation has it.",
    "*/5 * * * *",
);
const X_CRON_SCHEDULED: OwnHeader = OwnHeader::new(
    "x-cron-scheduled",
    ALWAYS,
    "The instant it fired for, RFC 3339 in UTC.",
    "2026-01-05T10:15:00Z",
);
const X_CRON_LATENESS: OwnHeader = OwnHeader::new(
    "x-cron-lateness",
    ALWAYS,
    "Seconds between that instant and the hand-over.",
    "0.002",
);

/// The source of ticks.
pub struct Cron {
    config: Arc<Config>,
    intake: Intake,
}

impl Source for Cron {
    const KIND: &'static str = "cron";
    const ATTRIBUTE_PREFIX: &'static str = "X-Cron-";
    const ATTRIBUTES: Option<(&'static str, &'static str)> = None;
    const ITEMS: &'static str = "An item of `topic` that asks for ticks is `cron-function`, or `com.openfaas.cron`. When \
                                 they fall due, and how they are called, other annotations say:";
    const ANNOTATIONS: &'static [Annotation] = &plan::ANNOTATIONS;
    const OWN_CONTENT_TYPE_FIRST: bool = true;
    const LETTER_SCHEME: Option<&'static str> = None;
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[
        ("rebuild_interval", "10s"),
        ("rebuild_timeout", "5s"),
        // The upstream connector calls once and logs every call.
        ("max_retry_attempts", "0"),
        ("print_response", "true"),
    ];
    type Config = Config;

    fn own_headers() -> Vec<OwnHeader> {
        vec![X_CRON_SCHEDULE, X_CRON_SCHEDULED, X_CRON_LATENESS]
    }

    fn pattern(_: &Config, item: &str) -> Result<Pattern, Unused> {
        let why = || format!("only {TOPIC} asks for ticks");
        match item {
            TOPIC | ALIAS => Ok(Pattern::Exact(TOPIC.into())),
            _ if item.contains("cron") => Err(Unused::Mistaken(why())),
            _ => Err(Unused::Foreign(why())),
        }
    }

    fn meters(metrics: &Metrics) {
        drop(CronMetrics::of(metrics));
    }

    async fn connect(config: Arc<Config>, intake: Intake) -> Result<Self, SourceError> {
        Ok(Self { config, intake })
    }

    async fn run(self) -> Result<(), SourceError> {
        let Self { config, intake } = self;
        let metrics = CronMetrics::of(intake.metrics());
        let timetable = Timetable::new(config.schedules.clone(), config.clock.now());
        let watched = Watched { topics: intake.topics(), platform: intake.platform() };
        let (turn, election) = match &config.lease {
            None => (Turn::Alone, None),
            Some(options) => {
                let (turn, election) = join(options, &config, &intake, &metrics)?;
                let draining = intake.clone();
                let running = election.run(async move { draining.draining().await });
                (turn, Some(tokio::spawn(running)))
            }
        };
        let outlet = Lanes { intake: intake.clone(), topic: TOPIC.into() };
        let clock = Arc::clone(&config.clock);
        let ticker = Ticker::new(outlet, clock, timetable, metrics, watched).in_turn(turn);
        ticker.run(intake.draining()).await;
        if let Some(election) = election {
            // It gives the lease back first thing when draining begins.
            election.await.map_err(|error| SourceError::Broken(error.to_string()))?;
        }
        Ok(())
    }

    fn letterbox(_: &Arc<Config>, _: &Intake, _: &str) -> Result<Arc<dyn Letterbox>, String> {
        Err("there is no broker to store letters at".to_owned())
    }
}

/// Takes part in the agreement of several replicas on the one that calls.
fn join(
    options: &LeaseOptions,
    config: &Config,
    intake: &Intake,
    metrics: &Arc<CronMetrics>,
) -> Result<(Turn, Election<Leases>), SourceError> {
    let identity = lease::identity();
    info!(
        lease = options.name,
        identity, "Replicas take turns: the one that holds the lease calls"
    );
    metrics.lease.set(1);
    let tenure = Tenure::new(identity, options.duration);
    let (election, seat) = Election::new(
        Leases::new(options)?,
        tenure,
        options.duration,
        Arc::clone(&config.clock),
        intake.conditions().clone(),
        Arc::clone(metrics),
    );
    Ok((Turn::shared(seat, Arc::clone(metrics)), election))
}

/// Hands each tick in through a lane of its own, so that each can be given up by itself.
struct Lanes {
    intake: Intake,
    topic: Arc<str>,
}

impl Outlet for Lanes {
    type Flight = Lane;

    fn submit(
        &self,
        tick: &Tick,
        plan: &Plan,
        lateness: Duration,
    ) -> Option<(Lane, BoxFuture<'static, Verdict>)> {
        fail_point::pass(Step::Received);
        let mut options = LaneOptions::new(tick.function.as_str(), NonZeroUsize::MIN);
        options.redelivers = false;
        // Its function may be removed while it waits: then there is nobody to wait for.
        options.unmatched = Unmatched::Wildcard;
        let lane = self.intake.lane(options);
        // An empty lane may always hold one message: no slot means that draining has begun.
        let slot = lane.try_slot(plan.body.len())?;
        let settlement = slot.submit(self.event(tick, plan, lateness));
        Some((lane, Box::pin(async move { settlement.await.verdict })))
    }

    fn is_held(&self, function: &FunctionName) -> bool {
        self.intake.is_held(&self.topic, function)
    }

    fn report(&self, trouble: &str) {
        let subject = Subject::new("schedules");
        match trouble {
            "" => self.intake.conditions().well(&subject),
            why => self.intake.conditions().unwell(&subject, why, false),
        }
    }
}

impl Lanes {
    fn event(&self, tick: &Tick, plan: &Plan, lateness: Duration) -> Event {
        let mut event = Event::new(id(tick), Arc::clone(&self.topic), plan.body.clone());
        event.content_type = plan.content_type.clone();
        event.headers = vec![
            (X_CRON_SCHEDULE.name, Bytes::copy_from_slice(tick.schedule.as_bytes())),
            (X_CRON_SCHEDULED.name, tick.instant.to_string().into()),
            (X_CRON_LATENESS.name, format!("{:.3}", lateness.as_secs_f64()).into()),
        ];
        event.occurred_at = Some(tick.instant.into());
        event.only = Some(tick.function.clone());
        event
    }
}

/// `cron:<function>@<instant>`, and `/<era>` behind it for an instant that the clock reaches again.
fn id(tick: &Tick) -> EventId {
    let Tick { function, instant, era, .. } = tick;
    match era {
        0 => EventId::new(format!("cron:{function}@{instant}")),
        era => EventId::new(format!("cron:{function}@{instant}/{era}")),
    }
}
