//! One queue, from being found to its end.
//!
//! A queue that cannot be found or asked is tried again: one that was ordered for ever and with
//! backoff, one that is only wished for at each listing of the functions, since its name may be
//! meant for another connector.

use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use connector_core::dead_letter::Address;
use connector_core::lane::Unmatched;
use connector_core::settings::UnmatchedPolicy;
use connector_core::topics::TopicMap;
use connector_core::{EventId, Intake, LaneOptions, Redrive};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::api::{Api, Attributes};
use crate::config::{SHORTEST_LEASE, SqsConfig};
use crate::message::{DataTypes, Origin};
use crate::meters::{Meters, QueueMeters};
use crate::queue::QueueRef;
use crate::receive::{Receivers, at_least_one, last_receive, pause};
use crate::report::Report;
use crate::settle::Settler;
use crate::trouble::{Kind, Trouble};

/// How often a queue is asked what it says of itself.
const REFRESH: Duration = Duration::from_secs(60);

/// Who consumes one queue.
pub(crate) struct Consumer {
    pub(crate) config: Arc<SqsConfig>,
    pub(crate) intake: Intake,
    pub(crate) account: Arc<Account>,
    pub(crate) queue: QueueRef,
    pub(crate) report: Arc<Report>,
    /// Cancelled when nobody wants the queue any more.
    pub(crate) stop: CancellationToken,
}

/// What receiving from and settling with one queue have in common.
pub(crate) struct Serving {
    pub(crate) api: Api,
    pub(crate) intake: Intake,
    pub(crate) origin: Origin,
    pub(crate) report: Arc<Report>,
    pub(crate) meters: QueueMeters,
    pub(crate) window: NonZeroUsize,
    pub(crate) batch: NonZeroUsize,
    pub(crate) wait: Duration,
    pub(crate) lease: Duration,
    /// The most bytes of one message.
    pub(crate) largest: usize,
}

/// Why a queue is no longer served.
enum Ended {
    /// Nobody wants it any more, or the process drains.
    Over,
    /// It has changed.
    Changed,
    /// It is gone.
    Gone(Trouble),
}

impl Serving {
    /// The queue's name, which is what functions are matched on.
    pub(crate) fn name(&self) -> &str {
        &self.origin.topic
    }

    /// Whether messages that no function is mapped to are left in the queue.
    pub(crate) fn holds(&self) -> bool {
        self.intake.config().unmatched == UnmatchedPolicy::Hold
    }

    /// Whether a function may be mapped to a message of the queue.
    pub(crate) fn is_mapped(&self, map: &TopicMap) -> bool {
        // What its messages name, only they know.
        let any = self.origin.topic_attribute.is_some() && !map.wishes().is_empty();
        any || map.is_mapped(self.name())
    }

    pub(crate) fn remember_types(&self, event: &EventId, types: DataTypes) {
        let mut all = self.api.account().types.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(event.clone(), types);
    }

    pub(crate) fn forget_types(&self, event: &EventId) {
        let mut all = self.api.account().types.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(event);
    }
}

impl Consumer {
    /// Consumes the queue until nobody wants it any more or the process drains, and everything
    /// received has been settled.
    pub(crate) async fn run(self) {
        let mut settlers = JoinSet::new();
        let mut failures = 0;
        while !self.is_over() {
            while let Some(settled) = settlers.try_join_next() {
                tell_panic(settled);
            }
            let trouble = match self.open().await {
                Ok((api, attributes)) => {
                    failures = 0;
                    self.report.well();
                    match self.serve(api, attributes, &mut settlers).await {
                        Ended::Over => break,
                        Ended::Changed => continue,
                        Ended::Gone(trouble) => trouble,
                    }
                }
                Err(_) if self.is_over() => break,
                Err(trouble) => trouble,
            };
            self.report.trouble(&trouble);
            self.wait(pause(failures), self.report.leaves_aside(&trouble)).await;
            failures += 1;
        }
        while let Some(settled) = settlers.join_next().await {
            tell_panic(settled);
        }
        self.report.forget();
    }

    fn is_over(&self) -> bool {
        self.stop.is_cancelled() || self.intake.is_draining()
    }

    async fn over(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.intake.draining() => {}
        }
    }

    /// Waits before the queue is looked for again.
    async fn wait(&self, pause: Duration, foreign: bool) {
        let again = async {
            if foreign {
                let mut listings = self.intake.listings();
                listings.mark_unchanged();
                // The sender lives as long as the process.
                drop(listings.changed().await);
            } else {
                sleep(pause).await;
            }
        };
        tokio::select! {
            () = self.over() => {}
            () = again => {}
        }
    }

    /// Finds the queue, and asks what it says of itself where that is allowed: those who come from
    /// another connector may have granted no more than receiving, deleting and hiding.
    async fn open(&self) -> Result<(Api, Option<Attributes>), Trouble> {
        let open = async {
            let api = Api::find(Arc::clone(&self.account), self.queue.clone()).await?;
            match api.attributes().await {
                Ok((attributes, _)) => Ok((api, Some(attributes))),
                Err(trouble) if trouble.kind == Kind::Denied => {
                    tracing::info!(
                        queue = self.queue.name(),
                        why = trouble.why,
                        "the queue's attributes may not be asked for: its redrive policy is not \
                         known, and its visibility timeout taken for 30s"
                    );
                    Ok((api, None))
                }
                Err(trouble) => Err(trouble),
            }
        };
        tokio::select! {
            biased;
            () = self.over() => Err(Trouble::new(Kind::Unreachable, "stopped")),
            opened = open => opened,
        }
    }

    async fn serve(&self, api: Api, told: Option<Attributes>, settlers: &mut JoinSet<()>) -> Ended {
        let attributes = told.clone().unwrap_or_else(Attributes::usual);
        let lease = self.config.lease.unwrap_or(attributes.lease).max(SHORTEST_LEASE);
        let core = self.intake.config();
        let window = at_least_one(core.function_concurrency.saturating_mul(2));
        let window = self.config.window.unwrap_or(window);
        let lane = Arc::new(self.intake.lane(self.options(window, lease, &attributes)));
        let topic: Arc<str> = self.queue.name().into();
        let meters = Meters::of(self.intake.metrics()).queue(&topic);
        let serving = Arc::new(Serving {
            origin: Origin {
                topic,
                url: api.url.as_str().into(),
                topic_attribute: self.config.topic_attribute.clone(),
            },
            api,
            intake: self.intake.clone(),
            report: Arc::clone(&self.report),
            meters,
            window,
            batch: self.config.batch,
            wait: self.config.wait.min(last_receive(&self.intake)).max(Duration::from_secs(1)),
            lease,
            largest: attributes.largest,
        });
        tracing::info!(
            queue = serving.api.url, lease = ?serving.lease, window = window.get(),
            redrive = attributes.redrive.as_ref().map(|policy| &*policy.target),
            "consuming"
        );
        let (tell, arrivals) = mpsc::unbounded_channel();
        let settler = tell.clone();
        let (tell_stuck, stuck) = watch::channel(false);
        settlers.spawn(Settler::new(Arc::clone(&serving), arrivals, tell_stuck).run());
        let receivers = Receivers {
            serving: Arc::clone(&serving),
            lane: Arc::clone(&lane),
            arrivals: tell,
            stuck,
        };
        let receiving = receivers.run();
        tokio::pin!(receiving);
        let ended = tokio::select! {
            biased;
            () = self.stop.cancelled() => Ended::Over,
            gone = &mut receiving => {
                serving.meters.untold();
                return gone.map_or(Ended::Over, Ended::Gone);
            }
            // It has failed, or has given up past the drain deadline. Without it nothing is settled.
            () = settler.closed() => Ended::Changed,
            () = changed(&serving, told.as_ref()) => Ended::Changed,
        };
        serving.meters.untold();
        lane.end();
        receiving.await;
        ended
    }

    fn options(
        &self,
        window: NonZeroUsize,
        lease: Duration,
        attributes: &Attributes,
    ) -> LaneOptions {
        let fifo = self.queue.is_fifo();
        let redrive = attributes.redrive.as_ref().map(|policy| Redrive {
            deliveries: policy.deliveries,
            address: (!self.config.letters_set).then(|| Address::Broker(policy.target.clone())),
        });
        LaneOptions {
            // A wait stored in a FIFO queue would cost the whole group one delivery each time.
            stores_waits: !fifo,
            turn_until_settled: fifo,
            redrive,
            unmatched: match self.config.topic_attribute {
                // As long as it would stay away if nobody gave it back.
                Some(_) if !fifo => Unmatched::Mixed(lease),
                _ => Unmatched::Topic,
            },
            ..LaneOptions::new(self.queue.name(), window)
        }
    }
}

/// Resolves when the queue says something else of itself than it did.
async fn changed(serving: &Serving, before: Option<&Attributes>) {
    let Some(before) = before else { return std::future::pending().await };
    loop {
        match serving.api.attributes().await {
            Ok((now, backlog)) => {
                serving.meters.backlog(backlog);
                if now != *before {
                    tracing::info!(queue = serving.name(), "the queue's attributes have changed");
                    return;
                }
            }
            // Receiving has the same trouble, and tells.
            Err(trouble) => tracing::debug!(queue = serving.name(), %trouble, "no attributes"),
        }
        sleep(REFRESH).await;
    }
}

fn tell_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "settling with a queue failed; what it had comes again");
    }
}
