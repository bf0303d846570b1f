//! One function's part of an event: claim, wait, call, judge, repeat, bury.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use tracing::{error, info, warn};

use crate::dead_letter::{Address, Letter};
use crate::event::FunctionName;
use crate::functions::Function;
use crate::headers::{TooLarge, compose, with_attempt};
use crate::invoke::{Answer, Judged, NoAnswer, judge};
use crate::lane::{Reply, Work};
use crate::metrics::Called;
use crate::pairs::{Claim, Outcome, Pin};
use crate::topics::Mapping;

use super::Dispatcher;

/// The longest pause before a call that was never written is repeated, while the gateway says it
/// is well: a gateway that restarts refuses connections for a moment.
const LONGEST_UNWRITTEN_PAUSE: Duration = Duration::from_secs(2);

/// What one function's part came to.
pub(super) enum Carried {
    /// It has its outcome.
    Ended {
        outcome: Outcome,
        /// This delivery made no call for it: an earlier one did.
        again: bool,
        reply: Option<Reply>,
        pin: Option<Pin>,
    },
    /// It is to be given back, and not delivered again sooner than this.
    Released { after: Option<Duration> },
    /// The function is no longer mapped to the topic.
    Unmapped,
}

impl Carried {
    fn ended(outcome: Outcome, reply: Option<Reply>) -> Self {
        Self::Ended { outcome, again: false, reply, pin: None }
    }
}

/// Why a wait was broken off.
enum Broken {
    LaneEnded,
    Unmapped,
}

impl From<Broken> for Carried {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::LaneEnded => Self::Released { after: None },
            Broken::Unmapped => Self::Unmapped,
        }
    }
}

/// Carries one event to its functions.
pub(super) struct Carrier<'a> {
    dispatcher: &'a Dispatcher,
    work: &'a Work,
    headers: Result<HeaderMap, TooLarge>,
    /// Some function has answered well: the event is no longer given back to wait in the broker.
    answered: AtomicBool,
}

/// What is known of the calls made for one (event, function) in this delivery.
#[derive(Default)]
struct Calls {
    made: u32,
    first: Option<SystemTime>,
    status: Option<u16>,
    error: String,
}

impl<'a> Carrier<'a> {
    pub(super) fn new(dispatcher: &'a Dispatcher, work: &'a Work) -> Self {
        let headers = compose(&work.event, &dispatcher.headers);
        Self { dispatcher, work, headers, answered: AtomicBool::new(false) }
    }

    pub(super) async fn carry(&self, mapping: &Mapping) -> Carried {
        if !self.work.lane.options.redelivers {
            return self.serve(&mapping.function).await.unwrap_or_else(Carried::from);
        }
        let claimed = loop {
            match self.dispatcher.pairs.claim(&self.work.event, &mapping.function) {
                Claim::Fresh(claimed) => break claimed,
                Claim::Finished(outcome, pin) => {
                    return Carried::Ended { outcome, again: true, reply: None, pin: Some(pin) };
                }
                Claim::Running(outcome) => {
                    // With an outcome the next look finds it finished; without one it is free.
                    if let Err(broken) = self.or_broken(&mapping.function, outcome).await {
                        return broken.into();
                    }
                }
            }
        };
        match self.serve(&mapping.function).await.unwrap_or_else(Carried::from) {
            Carried::Ended { outcome, again, reply, .. } => {
                let pin = Some(claimed.finish(outcome));
                Carried::Ended { outcome, again, reply, pin }
            }
            other => other,
        }
    }

    /// Calls until there is an outcome, or the wait for one is broken off.
    async fn serve(&self, name: &FunctionName) -> Result<Carried, Broken> {
        let (dispatcher, event) = (self.dispatcher, &self.work.event);
        let mut calls = Calls::default();
        let mut unwritten_pause = Duration::from_millis(50);
        loop {
            // Looked up each time: annotations changed meanwhile count at once.
            let mapping = dispatcher.mapped(&event.topic, name).ok_or(Broken::Unmapped)?;
            let function = dispatcher.functions.of(&mapping);
            let hold = dispatcher.holds.of(&event.topic, name);
            let trying = match &hold {
                None => None,
                Some(hold) => match self.or_broken(name, hold.turn()).await? {
                    None => continue,
                    Some(turn) => {
                        let pause = tokio::time::sleep(mapping.retry.max_wait());
                        let try_now = async {
                            tokio::select! { () = hold.ended() => {}, () = pause => {} }
                        };
                        self.or_broken(name, try_now).await?;
                        Some(turn)
                    }
                },
            };
            if !dispatcher.platform.is_up() {
                self.or_broken(name, dispatcher.platform.up()).await?;
            }
            let headers = match &self.headers {
                Ok(headers) => headers,
                Err(too_large) => {
                    calls.error = too_large.to_string();
                    if trying.is_none()
                        && let Some(outcome) =
                            self.bury(&mapping, &function, "too_large", &calls).await?
                    {
                        return Ok(Carried::ended(outcome, None));
                    }
                    continue;
                }
            };
            let permit = self.or_broken(name, function.gate.enter(&dispatcher.running)).await?;
            let held_meanwhile =
                hold.is_none() && dispatcher.holds.of(&event.topic, name).is_some();
            if held_meanwhile || !dispatcher.platform.is_up() || self.work.lane.ended.is_cancelled()
            {
                continue;
            }

            let asynchronous = dispatcher.config.asynchronous && !event.wants_reply;
            let began = Instant::now();
            calls.first.get_or_insert_with(SystemTime::now);
            dispatcher.metrics.calls_running.inc();
            let called = tokio::select! {
                biased;
                () = dispatcher.cut.cancelled() => None,
                called = Box::pin(self.call(&function, headers, asynchronous, calls.made)) => {
                    Some(called)
                }
            };
            dispatcher.metrics.calls_running.dec();
            drop(permit);
            let took = began.elapsed();
            let Some(called) = called else {
                function.metrics.called(Called::Cut, took);
                return Ok(Carried::Released { after: None });
            };
            self.print(name, &called, took);

            match judge(&called, asynchronous, &mapping.retry, SystemTime::now()) {
                Judged::Well => {
                    function.metrics.called(Called::Well, took);
                    function.answered_well();
                    dispatcher.holds.end(&event.topic, name);
                    self.answered.store(true, Ordering::Relaxed);
                    let reply = called.ok().filter(|_| event.wants_reply).map(|a| a.reply());
                    return Ok(Carried::ended(Outcome::Delivered, reply));
                }
                Judged::Misconfigured(why) => {
                    function.metrics.called(Called::Misconfigured, took);
                    dispatcher.holds.begin(&event.topic, name, &why);
                }
                Judged::Retry { why, after, platform, unwritten } => {
                    let up =
                        !platform || self.or_broken(name, dispatcher.platform.is_up_now()).await?;
                    if !up || unwritten {
                        function.metrics.called(Called::Uncounted, took);
                        if up {
                            self.or_broken(name, tokio::time::sleep(unwritten_pause)).await?;
                            unwritten_pause = (unwritten_pause * 2).min(LONGEST_UNWRITTEN_PAUSE);
                        }
                        continue;
                    }
                    function.metrics.called(Called::Retry, took);
                    calls.note(&called, &why);
                    if trying.is_some() {
                        continue;
                    }
                    let retries = self.calls_known(calls.made).saturating_sub(1);
                    if !mapping.retry.allows(retries) {
                        drop(trying);
                        if let Some(outcome) =
                            self.bury(&mapping, &function, "exhausted", &calls).await?
                        {
                            return Ok(Carried::ended(outcome, failed_reply(called)));
                        }
                        calls = Calls::default();
                        continue;
                    }
                    let wait = mapping.retry.wait(retries + 1, after, &mut rand::rng());
                    if function.warns_now() {
                        warn!(
                            topic = &*event.topic, function = %name, event.id = %event.id,
                            attempt = calls.made, error = why, wait = ?wait, "will be tried again"
                        );
                    }
                    if self.work.lane.options.stores_waits && !self.answered.load(Ordering::Relaxed)
                    {
                        return Ok(Carried::Released { after: Some(wait) });
                    }
                    self.or_broken(name, tokio::time::sleep(wait)).await?;
                }
                Judged::Refused(why) => {
                    function.metrics.called(Called::Refused, took);
                    calls.note(&called, &why);
                    if trying.is_some() {
                        continue;
                    }
                    if let Some(outcome) = self.bury(&mapping, &function, "refused", &calls).await?
                    {
                        return Ok(Carried::ended(outcome, failed_reply(called)));
                    }
                    calls = Calls::default();
                }
            }
        }
    }

    async fn call(
        &self,
        function: &Function,
        headers: &HeaderMap,
        asynchronous: bool,
        made: u32,
    ) -> Result<Answer, NoAnswer> {
        let headers = with_attempt(headers, self.calls_known(made.saturating_add(1)));
        if self.dispatcher.config.print_request_body {
            let body = String::from_utf8_lossy(&self.work.event.payload);
            info!("{} => {} body: {body}", self.work.event.topic, function.name);
        }
        let url = if asynchronous { &function.async_url } else { &function.sync_url };
        self.dispatcher.invoker.call(url, headers, self.work.event.payload.clone()).await
    }

    /// How many calls there have been as far as anyone knows: those of this delivery, and one for
    /// each delivery that the broker counted before it.
    fn calls_known(&self, made: u32) -> u32 {
        let deliveries_before = self.work.event.delivery_count.unwrap_or(1).saturating_sub(1);
        made.saturating_add(deliveries_before)
    }

    /// Stores or drops the event's letter. `None`: the topic is held instead.
    async fn bury(
        &self,
        mapping: &Mapping,
        function: &Function,
        reason: &'static str,
        calls: &Calls,
    ) -> Result<Option<Outcome>, Broken> {
        let (dispatcher, event) = (self.dispatcher, &self.work.event);
        let name = &function.name;
        let address = mapping.dead_letter.as_ref().unwrap_or(&dispatcher.config.dead_letter);
        let hold = |why: &str| dispatcher.holds.begin(&event.topic, name, why);
        let (letters, limit) = (function.letters_in_a_row(), dispatcher.config.dead_letter_limit);
        match address {
            Address::Drop => {
                error!(
                    topic = &*event.topic, function = %name, event.id = %event.id,
                    attempts = calls.made, error = calls.error, "dropped: {reason}"
                );
                dispatcher.metrics.dropped(name.as_str(), reason);
                return Ok(Some(Outcome::Dropped));
            }
            Address::Hold => {
                hold(&format!("{reason}: {}", calls.error));
                return Ok(None);
            }
            Address::Function(to) if to == name => {
                hold(&format!("its dead letters would go to itself; {reason}: {}", calls.error));
                return Ok(None);
            }
            _ if limit > 0 && letters >= limit => {
                hold(&format!("{letters} dead letters in a row; {reason}: {}", calls.error));
                return Ok(None);
            }
            Address::Broker(_) | Address::Function(_) => {}
        }
        let now = SystemTime::now();
        let letter = Letter {
            event: Arc::clone(event),
            function: Some(name.clone()),
            reason,
            status: calls.status,
            error: calls.error.clone(),
            attempts: calls.made,
            first: calls.first.unwrap_or(now),
            last: now,
        };
        if !dispatcher.letters.store(dispatcher, &self.work.lane, address, &letter).await {
            return Err(Broken::LaneEnded);
        }
        function.letter();
        Ok(Some(Outcome::DeadLettered))
    }

    /// Waits for `wait`, unless the lane ends or the function is unmapped first.
    async fn or_broken<T>(
        &self,
        function: &FunctionName,
        wait: impl Future<Output = T>,
    ) -> Result<T, Broken> {
        tokio::select! {
            biased;
            () = self.work.lane.ended.cancelled() => Err(Broken::LaneEnded),
            waited = wait => Ok(waited),
            () = self.unmapped(function) => Err(Broken::Unmapped),
        }
    }

    async fn unmapped(&self, function: &FunctionName) {
        let mut topics = self.dispatcher.topics.clone();
        let topic = &self.work.event.topic;
        let gone = topics
            .wait_for(|map| !map.functions(topic).iter().any(|m| m.function == *function))
            .await
            .is_ok();
        if !gone {
            // The map's sender is gone: the process ends, and nothing is unmapped by that.
            std::future::pending::<()>().await;
        }
    }

    /// The line per invocation that people of the upstream connectors grep for.
    fn print(&self, name: &FunctionName, called: &Result<Answer, NoAnswer>, took: Duration) {
        let config = &self.dispatcher.config;
        if !config.print_response && !config.print_response_body {
            return;
        }
        let topic = &self.work.event.topic;
        match called {
            Err(none) => info!("[-] {topic} => {name} ({took:.1?}) {none}"),
            Ok(answer) => {
                let (status, bytes) = (answer.status.as_u16(), answer.body.len());
                if config.print_response_body {
                    let body = answer.body.get(..4096).unwrap_or(&answer.body);
                    let body = String::from_utf8_lossy(body);
                    info!(
                        "[{status}] {topic} => {name} ({bytes} bytes, {took:.1?}) {}",
                        body.trim_end()
                    );
                } else {
                    info!("[{status}] {topic} => {name} ({bytes} bytes, {took:.1?})");
                }
            }
        }
    }
}

impl Calls {
    fn note(&mut self, called: &Result<Answer, NoAnswer>, why: &str) {
        self.made += 1;
        self.status = called.as_ref().ok().map(|answer| answer.status.as_u16());
        self.error = why.chars().take(1000).collect();
    }
}

/// What a publisher gets that waits for an answer, when the function did not answer well.
fn failed_reply(called: Result<Answer, NoAnswer>) -> Option<Reply> {
    called.ok().map(|answer| answer.reply())
}
