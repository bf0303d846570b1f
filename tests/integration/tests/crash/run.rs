//! One run: a process dies or freezes at a passing of a step, the next one takes over, and the broker is emptied.

use std::time::Duration;

use connector_core::fail_point::Step;
use dev_gateway::{Calls, DevGateway};
use integration::metrics::Metrics;
use integration::process::{self, Signal};
use integration::{Connector, Launch, until};

use crate::judge::{self, Evidence, Judgement, judge};
use crate::source::{CoreNats, JetStream, Kafka, Kind, Mqtt, Source, Sqs};
use crate::work::{self, Event};

/// How long a batch of events may take, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a connector suffers at the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is killed.
    Killed,
    /// It is stopped until another one has done all there is to do, and then goes on.
    Frozen,
}

/// Has this happen to a connector of this kind at a passing of a step, and judges what came of it. Where its events do not
/// pass the step, nothing may come of it.
pub(crate) async fn run(kind: Kind, fate: Fate, step: Step, passing: usize) -> Judgement {
    let at = (step, passing);
    match kind {
        Kind::Kafka => Run::of(Kafka::set().await, kind, fate, at).await,
        Kind::SqsStandard => Run::of(Sqs::<false>::set().await, kind, fate, at).await,
        Kind::SqsFifo => Run::of(Sqs::<true>::set().await, kind, fate, at).await,
        Kind::JetStream => Run::of(JetStream::set().await, kind, fate, at).await,
        Kind::Mqtt5 => Run::of(Mqtt::set("5", "1").await, kind, fate, at).await,
        Kind::Mqtt4 => Run::of(Mqtt::set("4", "1").await, kind, fate, at).await,
        Kind::CoreNats => Run::of(CoreNats::set().await, kind, fate, at).await,
        Kind::MqttQos0 => Run::of(Mqtt::set("5", "0").await, kind, fate, at).await,
        Kind::Cron => crate::cron::run(step, passing).await,
    }
}

struct Run<S> {
    source: S,
    kind: Kind,
    gateway: DevGateway,
}

impl<S: Source> Run<S> {
    async fn of(source: S, kind: Kind, fate: Fate, at: (Step, usize)) -> Judgement {
        let gateway = work::gateway(&source.topic()).await;
        let run = Self { source, kind, gateway };
        // In boxes: a run holds clients, whose futures are large.
        let at_most = match fate {
            Fate::Killed => Box::pin(run.killed(at)).await,
            Fate::Frozen => Box::pin(run.frozen(at)).await,
        };
        let letters = run.source.letters().await;
        let evidence = Evidence { kind, ordered: S::ORDERED, at_most, letters };
        run.gateway.ledger().with(|calls| judge(calls, &evidence))
    }

    /// Kills a connector, has the next one finish, and gives how many events may be called again: those that the dead one
    /// had called, and the broker had not been told of.
    async fn killed(&self, (step, passing): (Step, usize)) -> usize {
        let point = format!("{}={passing}", step.name());
        let connector = self.begin(self.source.launch(&self.gateway).failing(point)).await;
        if self.kind.has(step) {
            die(connector, &self.gateway).await;
        } else {
            self.finish(connector, &work::first()).await;
        }
        let called = self.gateway.ledger().with(judge::called);
        let at_most = match self.kind.keeps() {
            // What the broker had been told of had been called.
            true => (called + self.source.left().await).saturating_sub(work::first().len()),
            false => 0,
        };

        let connector = self.source.launch(&self.gateway).ready().await;
        self.source.subscribed(&connector).await;
        self.source.publish(&work::second()).await;
        self.finish(connector, &work::second()).await;
        at_most
    }

    /// Freezes a connector for longer than any lease or membership lasts, has another one finish, and lets the first go on.
    /// It may call what it still holds, and must not take back what the broker was told meanwhile.
    async fn frozen(&self, (step, passing): (Step, usize)) -> usize {
        let point = format!("{}={passing}:stop", step.name());
        let frozen = self.begin(self.source.replica(&self.gateway).failing(point)).await;
        let stopped = async || process::is_stopped(frozen.pid());
        until("the connector to stop", stopped, |stopped| *stopped).await;

        let other = self.source.replica(&self.gateway).ready().await;
        self.finished(&work::first()).await;
        frozen.signal(Signal::Continue);
        idle(&frozen).await;
        assert_eq!(self.source.left().await, 0, "what came back has taken back what was settled");
        self.source.publish(&work::second()).await;
        self.finished(&work::second()).await;
        for connector in [frozen, other] {
            idle(&connector).await;
            connector.end().await;
        }
        assert_eq!(self.source.left().await, 0, "what was settled was taken back in the end");
        work::first().len()
    }

    /// Starts a connector that has the first events before it.
    async fn begin(&self, launch: Launch) -> Connector {
        if self.kind.keeps() {
            self.source.publish(&work::first()).await;
            return launch.start().await;
        }
        let connector = launch.ready().await;
        self.source.subscribed(&connector).await;
        self.source.publish(&work::first()).await;
        connector
    }

    /// Ends a connector in good order once these events have come to an end, and the broker has nothing left.
    async fn finish(&self, connector: Connector, events: &[Event]) {
        self.finished(events).await;
        idle(&connector).await;
        connector.end().await;
    }

    /// Waits until these events have come to an end, and the broker has nothing left.
    async fn finished(&self, events: &[Event]) {
        let ended = |calls: &Calls| judge::open(calls, events).is_empty();
        self.gateway.ledger().wait_for_within(PATIENCE, "every event to end", ended).await;
        let left = async || self.source.left().await;
        until("the broker to have nothing left", left, |left| *left == 0).await;
    }
}

async fn idle(connector: &Connector) {
    let is_idle = |metrics: &Metrics| metrics.in_flight() == 0;
    connector.metrics_until("nothing to be in flight", is_idle).await;
}

/// Waits for the connector to kill itself, and for the gateway to see it gone.
pub(crate) async fn die(connector: Connector, gateway: &DevGateway) {
    let ended = connector.exited().await;
    let said =
        ended.lines.iter().any(|line| line.contains("fail point") && line.contains("passing="));
    assert!(ended.code.is_none() && said, "it ended otherwise:\n{}", ended.lines.join("\n"));
    let running = async || gateway.ledger().running();
    until("the gateway to see it gone", running, |running| *running == 0).await;
}
