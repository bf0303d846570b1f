//! How each kind of fault is done, and undone.

use std::time::Duration;

use integration::faults::{Kind, Link};
use integration::process::Signal;
use integration::proxy::{Proxy, Weather};
use serde_json::json;

use super::{FUNCTIONS, Soak};
use crate::source::{CONCURRENCY, Source};
use crate::tail::REFUSAL;

/// How long a call takes, in milliseconds, while all is well.
const CALL_MS: (u64, u64) = (1, 10);
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
            Kind::BadAnswers | Kind::SlowAnswers | Kind::ColdStart | Kind::LongColdStart => {
                self.functions(&FUNCTIONS, kind, lasts).await;
            }
            Kind::RollingUpdate => {
                let updated = &FUNCTIONS[..1];
                self.gateway.platform(&json!({ "hidden": { updated[0]: 1 } })).await;
                self.functions(updated, kind, lasts).await;
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

    /// These functions meet for a while what this does to calls.
    async fn functions(&mut self, functions: &[&str], kind: Kind, lasts: Duration) {
        let running = u32::try_from(CONCURRENCY).expect("few run at a time");
        let fault = json!(kind.of_calls(running));
        for function in functions {
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
