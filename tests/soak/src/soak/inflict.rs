//! How each kind of fault is done, and undone.

use std::time::Duration;

use integration::process::Signal;
use serde_json::{Value, json};

use super::{FUNCTIONS, Soak};
use crate::proxy::{Proxy, Weather};
use crate::schedule::{Kind, Link};
use crate::source::{CONCURRENCY, Source};
use crate::tail::REFUSAL;

/// How long a call takes, in milliseconds, while all is well.
const CALL_MS: (u64, u64) = (1, 10);
/// How long the first calls of a cold function take: a tenth of what a scaled-down cluster may take, within the timeout.
const COLD_MS: u64 = 2_500;
/// How long they take where a machine has to be started first.
const LONG_COLD_MS: u64 = 90_000;
/// The part of all calls that is refused, where there are to be dead letters: so many that some events are refused by both
/// functions.
const REFUSED: f64 = 0.05;
/// How far a clock is set ahead or behind, in seconds.
const CLOCK_STEP: i64 = 3_600;

impl<S: Source> Soak<S> {
    /// Breaks it, and mends it.
    pub(super) async fn inflict(&mut self, kind: Kind, lasts: Duration) {
        match kind {
            Kind::Link(link, weather) => {
                self.link(link).set(weather);
                self.wait(lasts).await;
                self.link(link).set(Weather::Fair);
            }
            Kind::Kill => {
                // No word with anybody before the signal.
                let _ended = self.take().connector.kill_now().await;
                self.start().await;
            }
            Kind::Replace => {
                let _ended = self.take().connector.end().await;
                self.start().await;
            }
            Kind::Freeze => {
                self.running().connector.signal(Signal::Stop);
                self.wait(lasts).await;
                self.running().connector.signal(Signal::Continue);
            }
            Kind::RestartBroker => self.source.process().restart().await,
            Kind::FreezeBroker => {
                self.source.process().freeze();
                self.wait(lasts).await;
                self.source.process().thaw();
            }
            Kind::FillDisk => {
                self.source.process().fill_disk(true).await;
                self.wait(lasts).await;
                let broker = self.source.process();
                broker.fill_disk(false).await;
                // Kafka has ended by then, and JetStream's stream has failed.
                broker.restart().await;
            }
            Kind::RevokeRights => {
                self.source.permit(false, &self.to_broker).await;
                self.wait(lasts).await;
                self.source.permit(true, &self.to_broker).await;
            }
            Kind::RestartGateway => {
                self.gateway.stop(lasts.as_millis()).await;
                self.wait(lasts).await;
            }
            Kind::BadAnswers => {
                let all = json!([
                    { "share": 0.1, "fault": { "status": 500 } },
                    { "share": 0.1, "fault": { "status": 503 } },
                    { "share": 0.1, "fault": { "do": "reset" } },
                ]);
                self.functions(json!({ "mix": all }), lasts).await;
            }
            Kind::SlowAnswers => {
                self.functions(json!({ "delay_ms": 100, "delay_max_ms": 400 }), lasts).await;
            }
            Kind::RollingUpdate => {
                let [function, _] = FUNCTIONS;
                self.gateway.platform(&json!({ "hidden": { function: 1 } })).await;
                self.gateway.fault(function, &json!({ "status": 503 })).await;
                self.wait(lasts).await;
                self.functions_are_well().await;
            }
            Kind::ColdStart => {
                let cold = json!({ "delay_ms": COLD_MS, "times": CONCURRENCY });
                self.functions(cold, lasts).await;
            }
            Kind::LongColdStart => {
                let cold = json!({ "delay_ms": LONG_COLD_MS, "times": CONCURRENCY });
                self.functions(cold, lasts).await;
            }
            Kind::NoListing => {
                self.gateway.platform(&json!({ "listing": { "status": 500 } })).await;
                self.wait(lasts).await;
                self.gateway.platform(&json!({ "listing": null })).await;
            }
            Kind::ClockAhead => self.clock(CLOCK_STEP, lasts).await,
            Kind::ClockBehind => self.clock(-CLOCK_STEP, lasts).await,
        }
    }

    /// The connector's clock goes wrong by so many seconds, for a while in which it has to get on too.
    async fn clock(&mut self, seconds: i64, lasts: Duration) {
        let set = |soak: &Self, seconds| soak.clock.iter().for_each(|clock| clock.set(seconds));
        set(self, seconds);
        self.wait(lasts).await;
        self.gets_on().await;
        set(self, 0);
    }

    fn link(&self, link: Link) -> &Proxy {
        match link {
            Link::Broker => &self.to_broker,
            Link::Gateway => &self.to_gateway,
        }
    }

    /// All functions meet this for a while.
    async fn functions(&mut self, fault: Value, lasts: Duration) {
        for function in FUNCTIONS {
            self.gateway.fault(function, &fault).await;
        }
        self.wait(lasts).await;
        self.functions_are_well().await;
    }

    pub(crate) async fn functions_are_well(&self) {
        let (least, most) = CALL_MS;
        for function in FUNCTIONS {
            let mut fault = json!({ "delay_ms": least, "delay_max_ms": most });
            if self.refusing {
                fault["mix"] = json!([{ "share": REFUSED, "fault": { "status": REFUSAL } }]);
            }
            self.gateway.fault(function, &fault).await;
        }
    }
}
