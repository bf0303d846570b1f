//! All sessions of one run of the source: who starts and ends them.
//!
//! Each filter has a session of its own. Those of the settings stay; one that nobody is mapped to
//! is disconnected, and the broker queues for it once it has taken its SUBSCRIBE. Those of
//! annotations begin with them, and end when they have nothing more for anybody. A connection that
//! breaks ends the run, because it is most often the broker that is gone; a session or a filter that
//! the broker refuses, or of which it sends too much, disturbs no other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use connector_core::Intake;
use connector_core::event::Among;
use connector_core::source::SourceError;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::client::{Begin, Packet};
use crate::config::MqttConfig;
use crate::filter::Filter;
use crate::link::Link;
use crate::meters::{Counted, Meters};
use crate::past::{Following, Kept, Standing};
use crate::plan::{self, Asked, Askers, LetterTopics, Plan, Serving, Spec};
use crate::session::{
    ANSWER, End, Ended, FIRST_REFUSED_WAIT, LONGEST_REFUSED_WAIT, NO_ANSWER, Session, Shared,
};

/// The sessions of one run.
pub(crate) struct Sessions {
    shared: Shared,
    letter_topics: watch::Sender<Arc<LetterTopics>>,
    running: HashMap<Spec, Running>,
    tasks: JoinSet<(Spec, Result<Ended, SourceError>)>,
    /// Sessions that were refused, filters that were by closing the connection, and held ones.
    refused: HashMap<Spec, Refusal>,
    /// Those of annotations that the broker is to forget.
    over: Vec<Spec>,
    /// When to look again what the past has left.
    look: Option<Instant>,
    /// The first connection, which proved the credentials.
    first: Option<(Spec, Link)>,
}

/// How a filter was refused that has no connection by which it could be asked for again.
struct Refusal {
    /// When to ask again.
    again: Instant,
    /// How long that was to wait.
    wait: Duration,
    /// `None` while it is asked again.
    counted: Option<Counted>,
}

/// A session whose task has not ended.
struct Running {
    end: End,
    askers: Option<watch::Sender<Askers>>,
    idle: watch::Receiver<Option<Instant>>,
}

/// The sessions of annotations as they are connected now.
struct Connected<'a> {
    config: &'a MqttConfig,
    running: &'a HashMap<Spec, Running>,
}

impl Standing for Connected<'_> {
    fn is_subscribed(&self, filter: &Filter) -> bool {
        self.config.subscribed.contains(&self.config.client_id_of(filter))
    }

    fn idle_since(&self, filter: &Filter) -> Option<Instant> {
        self.running
            .get(&Spec::wish(self.config, filter))
            .and_then(|running| *running.idle.borrow())
    }
}

impl Sessions {
    /// Reaches the broker, proves the credentials, and has held sessions queue.
    ///
    /// # Errors
    /// The broker is not reached, or refuses.
    pub(crate) async fn connect(
        config: Arc<MqttConfig>,
        intake: Intake,
    ) -> Result<Self, SourceError> {
        let (letter_topics, letters) = watch::channel(Arc::default());
        let meters = Meters::of(intake.metrics());
        let shared = Shared { config, intake, meters, letter_topics: letters };
        let mut sessions = Self {
            shared,
            letter_topics,
            running: HashMap::new(),
            tasks: JoinSet::new(),
            refused: HashMap::new(),
            over: Vec::new(),
            look: None,
            first: None,
        };
        let plan = sessions.plan();
        for spec in plan.serving.iter().map(|serving| &serving.spec).chain(&plan.held) {
            if spec.asked == Asked::Order {
                sessions.shared.intake.conditions().expect(&spec.subject());
            }
        }
        let mut is_reached = false;
        let mut refusal = None;
        for spec in &plan.held {
            match sessions.hold(spec).await {
                Ok(()) => is_reached = true,
                Err(error) => refusal = Some(one_id_only(error)?),
            }
        }
        for Serving { spec, .. } in &plan.serving {
            match sessions.open(spec).await {
                Ok(link) => {
                    sessions.first = Some((spec.clone(), link));
                    is_reached = true;
                    break;
                }
                Err(error) => refusal = Some(one_id_only(error)?),
            }
        }
        if let Some(error) = refusal
            && !is_reached
        {
            return Err(error);
        }
        if plan.held.is_empty() && plan.serving.is_empty() {
            // Nothing to consume yet: only to know that the broker would take us.
            let config = &sessions.shared.config;
            let begin = Begin { client_id: &config.client_id(), clean: true };
            Link::open(config, begin).await?.close().await;
        }
        Ok(sessions)
    }

    /// Runs every session until draining begins, and then until all have ended.
    ///
    /// # Errors
    /// A connection was lost.
    pub(crate) async fn run(mut self) -> Result<(), SourceError> {
        let mut topics = self.shared.intake.topics();
        loop {
            topics.borrow_and_update();
            self.reconcile().await?;
            let again = next_ask(&self.refused, &self.running).into_iter().chain(self.look).min();
            tokio::select! {
                biased;
                () = self.shared.intake.draining() => break,
                Some(ended) = self.tasks.join_next() => {
                    let (spec, ended) = ended.map_err(|error| {
                        SourceError::Broken(format!("a session's task failed: {error}"))
                    })?;
                    self.ended(spec, ended?).await;
                }
                changed = topics.changed() => {
                    // The sender lives as long as the process.
                    drop(changed);
                }
                // An old filter may be waiting to be left for it.
                () = self.shared.config.subscribed.grown() => {}
                () = until(again) => {}
            }
        }
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok((_, Err(error))) = ended {
                debug!(%error, "a connection was lost while draining");
            }
        }
        Ok(())
    }

    fn plan(&mut self) -> Plan {
        let map = Arc::clone(&self.shared.intake.topics().borrow());
        let core = self.shared.intake.config();
        let config = &*self.shared.config;
        let letters = plan::letter_topics(config, &map, &core.dead_letter);
        self.letter_topics.send_replace(Arc::new(letters));
        if !config.filters.is_empty() {
            return Plan::of_orders(config, &map, core.unmatched);
        }
        // What the broker does not keep, nobody can come back to.
        let keep = if config.keeps_sessions() { core.unmap_after } else { Duration::ZERO };
        let connected = Connected { config, running: &self.running };
        let Following { serving, over, again } =
            config.past().follow(&plan::wishes(&map), &connected, keep, Instant::now());
        self.over.extend(over.iter().map(|filter| Spec::wish(config, filter)));
        self.look = again;
        let serving = serving.into_iter().map(|Kept { filter, functions, leaves }| Serving {
            spec: Spec::wish(config, &filter),
            askers: Some(Arc::new(functions)),
            leaves,
        });
        Plan { serving: serving.collect(), held: Vec::new() }
    }

    /// Starts what is to run and does not, and asks to end what runs and is not to.
    async fn reconcile(&mut self) -> Result<(), SourceError> {
        let plan = self.plan();
        let conditions = self.shared.intake.conditions();
        self.refused.retain(|spec, _| {
            let is_planned = plan.served(spec).is_some() || plan.held.contains(spec);
            if !is_planned && spec.asked == Asked::Wish {
                conditions.forget(&spec.subject());
            }
            is_planned
        });
        for (spec, running) in &self.running {
            running.follow(plan.served(spec));
        }
        for spec in std::mem::take(&mut self.over) {
            // One that runs is, when it has ended.
            if !self.running.contains_key(&spec) {
                self.wipe(&spec).await;
            }
        }
        for serving in plan.serving {
            if self.running.contains_key(&serving.spec) {
                continue;
            }
            if let Some(refusal) = self.refused.get_mut(&serving.spec) {
                if refusal.again > Instant::now() {
                    continue;
                }
                refusal.counted = None;
            }
            self.start(serving).await?;
        }
        for spec in &plan.held {
            let waits = self.refused.get(spec).is_some_and(|it| it.again > Instant::now());
            if waits || self.running.contains_key(spec) {
                continue;
            }
            let config = &self.shared.config;
            if config.keeps_sessions() && !config.subscribed.contains(&spec.client_id) {
                if let Err(error) = self.hold(spec).await {
                    self.set_aside(spec.clone(), error)?;
                }
            } else {
                self.refused.remove(spec);
            }
        }
        Ok(())
    }

    /// Sees to it that the broker queues for a session that nobody is mapped to; if it refuses, it
    /// is asked again later.
    async fn hold(&mut self, spec: &Spec) -> Result<(), SourceError> {
        if self.establish(spec).await? {
            self.refused.remove(spec);
        } else {
            self.ask_later(spec.clone());
        }
        Ok(())
    }

    /// Has a filter that was refused asked for again, each time later.
    fn ask_later(&mut self, spec: Spec) {
        let before = self.refused.get(&spec).map(|refusal| refusal.wait * 2);
        let wait = before.unwrap_or(FIRST_REFUSED_WAIT).min(LONGEST_REFUSED_WAIT);
        let counted = Some(Counted::new(&self.shared.meters.refused));
        self.refused.insert(spec, Refusal { again: Instant::now() + wait, wait, counted });
    }

    /// Leaves a session aside that could not be connected, for a while.
    ///
    /// # Errors
    /// The broker itself may be gone: nothing else is connected.
    fn set_aside(&mut self, spec: Spec, error: SourceError) -> Result<(), SourceError> {
        let error = match self.running.is_empty() && self.first.is_none() {
            true => one_id_only(error)?,
            false => error,
        };
        let blocks_ready = spec.asked == Asked::Order;
        self.shared.intake.conditions().unwell(&spec.subject(), &error.to_string(), blocks_ready);
        self.ask_later(spec);
        Ok(())
    }

    async fn start(&mut self, serving: Serving) -> Result<(), SourceError> {
        let Serving { spec, askers, leaves } = serving;
        let link = match self.first.take_if(|(of, _)| *of == spec) {
            Some((_, link)) => link,
            None => match self.open(&spec).await {
                Ok(link) => link,
                Err(error) => return self.set_aside(spec, error),
            },
        };
        let end = End::default();
        if leaves {
            end.leave.cancel();
        }
        let (tell, among) = match askers {
            None => (None, None),
            Some(askers) => {
                let (tell, askers) = watch::channel(askers);
                let among = Among::new(move |function| askers.borrow().contains(function));
                (Some(tell), Some(among))
            }
        };
        let session = Session::new(self.shared.clone(), spec.clone(), link, among);
        let running = Running { end: end.clone(), askers: tell, idle: session.idle() };
        self.running.insert(spec.clone(), running);
        self.tasks.spawn(async move { (spec, session.run(end).await) });
        Ok(())
    }

    async fn ended(&mut self, spec: Spec, ended: Ended) {
        self.running.remove(&spec);
        match ended {
            Ended::Refused => self.ask_later(spec),
            Ended::Asked if spec.asked == Asked::Wish && !self.shared.intake.is_draining() => {
                self.shared.intake.conditions().forget(&spec.subject());
                if !self.shared.config.past().has(&spec.filter) {
                    self.wipe(&spec).await;
                }
            }
            // If it is still wanted, it is begun anew with what follows.
            Ended::Asked | Ended::Overrun => {}
        }
    }

    /// Has the broker forget a session that has nothing more for anybody.
    async fn wipe(&self, spec: &Spec) {
        let config = &self.shared.config;
        config.subscribed.remove(&spec.client_id);
        match Link::open(config, Begin { client_id: &spec.client_id, clean: true }).await {
            Ok(link) => link.close().await,
            Err(error) => warn!(
                filter = %spec.filter, client_id = spec.client_id, %error,
                "the session could not be ended: the broker keeps it until it expires"
            ),
        }
    }

    async fn open(&self, spec: &Spec) -> Result<Link, SourceError> {
        let config = &self.shared.config;
        Link::open(config, Begin { client_id: &spec.client_id, clean: config.clean }).await
    }

    /// Subscribes a session that is not to be connected, so that the broker queues for it. Whether
    /// it does, as far as it is to.
    async fn establish(&self, spec: &Spec) -> Result<bool, SourceError> {
        let Shared { config, intake, .. } = &self.shared;
        let mut link = self.open(spec).await?;
        let is_there = if config.keeps_sessions() && !self.shared.is_subscribed(spec, &link) {
            drop(link.client.subscribe(&spec.filter, config.qos).await);
            let answer = tokio::time::timeout(ANSWER, answer(&mut link)).await;
            let answer = answer.unwrap_or_else(|_| Err(NO_ANSWER.to_owned()));
            self.shared.note(spec, &answer);
            answer.is_ok()
        } else {
            intake.conditions().well(&spec.subject());
            true
        };
        link.close().await;
        Ok(is_there)
    }
}

impl Running {
    /// Tells the session what is planned for it.
    fn follow(&self, planned: Option<&Serving>) {
        let Some(planned) = planned else { return self.end.stop.cancel() };
        if let (Some(tell), Some(askers)) = (&self.askers, &planned.askers) {
            tell.send_replace(Arc::clone(askers));
        }
        match planned.leaves {
            true => self.end.leave.cancel(),
            // It is begun anew, and subscribes again.
            false if self.end.leave.is_cancelled() => self.end.stop.cancel(),
            false => {}
        }
    }
}

/// What may concern one client id only: the broker has answered.
///
/// # Errors
/// Anything else concerns all.
fn one_id_only(error: SourceError) -> Result<SourceError, SourceError> {
    match error {
        SourceError::Refused(_) => Ok(error),
        _ => Err(error),
    }
}

/// What the broker says to the SUBSCRIBE.
async fn answer(link: &mut Link) -> Result<u8, String> {
    loop {
        match link.next().await {
            Ok(Packet::SubAck(answer)) => return answer,
            // What comes already is not acknowledged, so it comes again.
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// When the next filter is to be asked for that was refused. One that runs is being asked for.
fn next_ask(refused: &HashMap<Spec, Refusal>, running: &HashMap<Spec, Running>) -> Option<Instant> {
    let waiting = refused.iter().filter(|(spec, _)| !running.contains_key(*spec));
    waiting.map(|(_, refusal)| refusal.again).min()
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_being_asked_for_wakes_nobody() {
        let spec = |text: &str| Spec {
            filter: Filter::parse(text).expect("a filter"),
            client_id: text.to_owned(),
            asked: Asked::Order,
        };
        let (wait, now) = (FIRST_REFUSED_WAIT, Instant::now());
        let mut refused = HashMap::new();
        refused.insert(spec("runs"), Refusal { again: now, wait, counted: None });
        let (_, idle) = watch::channel(None);
        let running = Running { end: End::default(), askers: None, idle };
        let running = HashMap::from([(spec("runs"), running)]);
        assert_eq!(next_ask(&refused, &running), None, "its time has come, and it is asked for");
        assert_eq!(next_ask(&refused, &HashMap::new()), Some(now));

        let later = now + wait;
        refused.insert(spec("waits"), Refusal { again: later, wait, counted: None });
        assert_eq!(next_ask(&refused, &running), Some(later));
    }
}
