//! Keeps the Lease: reads it, renews it, takes it over, claims ticks in it, gives it back.

use std::sync::Arc;
use std::time::Duration;

use connector_core::conditions::{Conditions, Subject};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, info};

use super::record::{Kept, Record};
use super::tenure::{Standing, Tenure};
use crate::clock::Clock;
use crate::metrics::CronMetrics;

const SUBJECT: Subject = Subject::new("lease");

/// Where the Lease is kept.
pub(crate) trait Store: Send + Sync + 'static {
    /// Reads it; `None`: there is none.
    fn get(&self) -> impl Future<Output = Result<Option<Kept>, StoreError>> + Send;

    /// Writes it, if it still is `basis`; without one, if there is none.
    fn put(
        &self,
        basis: Option<&Kept>,
        record: &Record,
        now: Timestamp,
    ) -> impl Future<Output = Result<Kept, StoreError>> + Send;
}

/// The Lease could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// Another was first: nothing was written.
    #[error("the lease was changed by another")]
    Conflict,
    /// It is not known whether anything was written.
    #[error("{0}")]
    Unreachable(String),
    /// We are not allowed to: a person must act.
    #[error("{0}")]
    Refused(String),
}

/// A wish to call the ticks up to an instant.
pub(crate) struct Claim {
    pub(crate) until: Timestamp,
    /// Whether they are ours.
    pub(crate) granted: oneshot::Sender<bool>,
}

/// One replica's part in the agreement.
pub(crate) struct Election<S> {
    store: S,
    tenure: Tenure,
    /// Between two looks at the Lease, and between two renewals.
    interval: Duration,
    clock: Arc<dyn Clock>,
    claims: mpsc::Receiver<Claim>,
    standing: watch::Sender<Standing>,
    conditions: Conditions,
    metrics: Arc<CronMetrics>,
}

/// What the ticker has of an election.
pub(crate) struct Seat {
    pub(crate) claims: mpsc::Sender<Claim>,
    pub(crate) standing: watch::Receiver<Standing>,
}

impl<S: Store> Election<S> {
    pub(crate) fn new(
        store: S,
        tenure: Tenure,
        duration: Duration,
        clock: Arc<dyn Clock>,
        conditions: Conditions,
        metrics: Arc<CronMetrics>,
    ) -> (Self, Seat) {
        let (claim, claims) = mpsc::channel(1);
        let (standing, watched) = watch::channel(tenure.standing());
        conditions.expect(&SUBJECT);
        let interval = duration / 5;
        let election =
            Self { store, tenure, interval, clock, claims, standing, conditions, metrics };
        (election, Seat { claims: claim, standing: watched })
    }

    /// Takes part until `draining` resolves, then gives the Lease back.
    pub(crate) async fn run(mut self, draining: impl Future<Output = ()>) {
        tokio::pin!(draining);
        let mut next = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = &mut draining => break,
                Some(claim) = self.claims.recv() => {
                    let granted = self.claim(claim.until).await;
                    // A claim is a sign of life as well.
                    next = self.next();
                    // If whoever asked has ended, the tick is in doubt, as after a crash.
                    claim.granted.send(granted).unwrap_or_default();
                }
                () = tokio::time::sleep_until(next) => {
                    self.turn().await;
                    next = self.next();
                }
            }
        }
        self.release().await;
    }

    /// One look at the Lease, or one renewal.
    async fn turn(&mut self) {
        let leads = matches!(self.tenure.standing(), Standing::Leads(_));
        let done = match leads {
            true => self.write(self.tenure.renewal(Instant::now())).await.map(drop),
            false => self.look().await,
        };
        self.tell(done);
        // Also when nothing changed: ticks whose claim could not be written are claimed again, and
        // not before now.
        self.standing.send_modify(|_| {});
    }

    /// Reads the Lease, and takes it if nobody has it.
    async fn look(&mut self) -> Result<(), StoreError> {
        let kept = self.store.get().await?;
        self.tenure.read(kept, Instant::now());
        self.write(self.tenure.renewal(Instant::now())).await.map(drop)
    }

    async fn claim(&mut self, until: Timestamp) -> bool {
        let done = self.write(self.tenure.claim(until)).await;
        let granted = done == Ok(true);
        if granted {
            self.tenure.granted(until);
        }
        self.tell(done.map(drop));
        granted
    }

    /// Writes `record`, if there is one to write; says whether it was.
    async fn write(&mut self, record: Option<Record>) -> Result<bool, StoreError> {
        let Some(record) = record else { return Ok(false) };
        let now = self.clock.now();
        // Before the write, so that the duration is counted from no later than others count it.
        let asked = Instant::now();
        match self.store.put(self.tenure.basis(), &record, now).await {
            Ok(kept) => {
                self.tenure.wrote(kept, asked);
                Ok(true)
            }
            Err(StoreError::Conflict) => {
                debug!("the lease was changed by another");
                let kept = self.store.get().await?;
                self.tenure.read(kept, Instant::now());
                Ok(false)
            }
            Err(error) => {
                // It may have been written: what is written next must be upon what is there.
                if let Ok(kept) = self.store.get().await {
                    self.tenure.read(kept, Instant::now());
                }
                Err(error)
            }
        }
    }

    /// Tells the ticker, the operator and the metrics how we stand.
    fn tell(&mut self, done: Result<(), StoreError>) {
        match done {
            Ok(()) | Err(StoreError::Conflict) => self.conditions.well(&SUBJECT),
            Err(StoreError::Unreachable(why) | StoreError::Refused(why)) => {
                self.conditions.unwell(&SUBJECT, &why, true);
            }
        }
        let standing = self.tenure.standing();
        let leads = matches!(standing, Standing::Leads(_));
        if leads != matches!(*self.standing.borrow(), Standing::Leads(_)) {
            self.metrics.leads(leads);
            let holder = self.tenure.basis().map_or("", |kept| &kept.record.holder);
            match leads {
                true => info!("this replica calls from now on"),
                false => info!(holder, "another replica calls from now on"),
            }
        }
        self.standing.send_if_modified(|it| std::mem::replace(it, standing) != standing);
    }

    fn next(&self) -> Instant {
        let now = Instant::now();
        let regular = now + self.interval;
        let expires = self.tenure.expires().filter(|at| *at > now);
        match self.tenure.standing() {
            Standing::Follows(_) => expires.map_or(regular, |at| at.min(regular)),
            Standing::Leads(_) => regular,
        }
    }

    async fn release(&mut self) {
        let record = self.tenure.release();
        if let Err(error) = self.write(record).await {
            debug!(%error, "the lease was not given back: it ends by itself");
        }
        self.standing.send_replace(Standing::Follows(Timestamp::UNIX_EPOCH));
    }
}
