//! What the cron connector counts beyond the metrics that all connectors have.

use std::sync::Arc;
use std::time::Duration;

use connector_core::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

/// From a millisecond, the grain of the runtime's timers, to a minute, after which a tick is late.
const LATENESS: [f64; 12] =
    [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];

/// The metrics named `tributary_cron_*`. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct CronMetrics {
    /// Schedules in force.
    pub(crate) schedules: Gauge,
    /// Schedules that were refused.
    pub(crate) bad_schedules: Gauge,
    /// Ticks whose function was called.
    pub(crate) fired: Counter,
    /// Ticks whose function was not called, or was given up on.
    pub(crate) missed: Counter,
    /// Ticks that a replica which went away had claimed: called by it, or not at all.
    pub(crate) in_doubt: Counter,
    /// 1 where replicas take turns.
    pub(crate) lease: Gauge,
    leader: Gauge,
    takeovers: Counter,
    lateness: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl CronMetrics {
    /// The metrics of the process that `metrics` is of.
    pub(crate) fn of(metrics: &Metrics) -> Arc<Self> {
        metrics.of_source(|book| {
            let (schedules, bad_schedules) = (Gauge::default(), Gauge::default());
            book.enter("tributary_cron_schedules", &[], "Schedules in force", schedules.clone());
            book.enter(
                "tributary_cron_bad_schedules",
                &[],
                "Schedules that were refused: their functions are not called",
                bad_schedules.clone(),
            );
            let ticks = Family::<Outcome, Counter>::default();
            book.enter(
                "tributary_cron_ticks_total",
                &["outcome"],
                "Ticks: `fired`, `missed`; with a lease also `in_doubt`",
                ticks.clone(),
            );
            let (lease, leader) = (Gauge::default(), Gauge::default());
            let takeovers = Counter::default();
            book.enter(
                "tributary_cron_lease",
                &[],
                "1 where replicas take turns (`lease`)",
                lease.clone(),
            );
            book.enter(
                "tributary_cron_leader",
                &[],
                "With a lease: 1 where ticks are called from; the sum over all replicas should be 1",
                leader.clone(),
            );
            book.enter(
                "tributary_cron_takeovers_total",
                &[],
                "How often this replica became the one that calls",
                takeovers.clone(),
            );
            let lateness = Histogram::new(LATENESS);
            book.enter(
                "tributary_cron_tick_lateness_seconds",
                &[],
                "How long after its instant a tick was handed over to be called",
                lateness.clone(),
            );
            Self {
                schedules,
                bad_schedules,
                fired: ticks.get_or_create_owned(&Outcome { outcome: "fired" }),
                missed: ticks.get_or_create_owned(&Outcome { outcome: "missed" }),
                in_doubt: ticks.get_or_create_owned(&Outcome { outcome: "in_doubt" }),
                lease,
                leader,
                takeovers,
                lateness,
            }
        })
    }

    /// This replica has become the one that calls, or no longer is.
    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
        self.takeovers.inc_by(leads.into());
    }

    /// A tick was handed over, this long after its instant.
    pub(crate) fn handed_over(&self, lateness: Duration) {
        self.lateness.observe(lateness.as_secs_f64());
    }
}
