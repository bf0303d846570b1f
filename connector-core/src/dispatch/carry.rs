//! One function's part of an event: claim, wait, call, judge, repeat, bury.

mod bury;
mod calls;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use futures_util::poll;
use http::HeaderMap;
use tokio::sync::MutexGuard;
use tracing::{info, warn};

use crate::event::FunctionName;
use crate::fail_point::{self, Step};
use crate::functions::Function;
use crate::headers::{TooLarge, compose, with_attempt};
use crate::hold::{Hold, Mends, Waiting};
use crate::invoke::{Answer, Judged, NoAnswer, judge};
use crate::lane::{Reply, Work};
use crate::metrics::Called;
use crate::pairs::{Claim, Outcome, Pin};
use crate::permits::Permit;
use crate::topics::Mapping;

use self::bury::Buried;
use self::calls::Calls;
use super::Dispatcher;

/// What one function's part came to.
pub(super) enum Carried {
    /// It has its outcome.
    Ended {
        outcome: Outcome,
        /// This delivery made no call for it: an earlier one did.
        again: bool,
        reply: Option<Box<Reply>>,
        pin: Option<Pin>,
    },
    /// It is to be given back, and not delivered again sooner than this.
    Released { after: Option<Duration> },
    /// The function is no longer mapped to the topic.
    Unmapped,
}

impl Carried {
    fn ended(outcome: Outcome, reply: Option<Box<Reply>>) -> Self {
        Self::Ended { outcome, again: false, reply, pin: None }
    }
}

/// Why a wait was broken off.
enum Broken {
    /// The lane, or the event's lease, has ended.
    Over,
    Unmapped,
    /// The event goes back to the broker, which has a rule for it.
    GivenBack {
        after: Duration,
    },
}

impl From<Broken> for Carried {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Over => Self::Released { after: None },
            Broken::Unmapped => Self::Unmapped,
            Broken::GivenBack { after } => Self::Released { after: Some(after) },
        }
    }
}

/// Carries one event to its functions.
pub(super) struct Carrier<'a> {
    dispatcher: &'a Dispatcher,
    work: &'a Work,
    /// A wait may be stored in the broker: see [`LaneOptions::stores_waits`].
    ///
    /// [`LaneOptions::stores_waits`]: crate::LaneOptions::stores_waits
    stores_waits: bool,
}

/// One call that was not cut.
struct Call {
    answer: Result<Answer, NoAnswer>,
    asynchronous: bool,
    took: Duration,
}

/// What follows from a call.
enum Next<'a> {
    /// Look again, and call again if nothing has changed.
    Again,
    /// The same, in the hold that has begun.
    Held(Waiting<'a>),
    /// This function's part is over.
    End(Carried),
    /// No call will help.
    Bury { reason: &'static str, reply: Option<Box<Reply>> },
}

impl<'a> Carrier<'a> {
    /// `alone`: the event has only one function.
    pub(super) fn new(dispatcher: &'a Dispatcher, work: &'a Work, alone: bool) -> Self {
        let stores = work.lane.options.stores_waits && !work.event.last_delivery;
        let stores_waits = alone && stores;
        Self { dispatcher, work, stores_waits }
    }

    /// `mapping` is as the map has it now.
    pub(super) async fn carry(&self, mapping: &Arc<Mapping>) -> Carried {
        let mut now = Some(Arc::clone(mapping));
        if !self.work.lane.options.redelivers {
            return self.serve(&mapping.function, now).await.unwrap_or_else(Carried::from);
        }
        let claimed = loop {
            match self.dispatcher.pairs.claim(&self.work.event, &mapping.function) {
                Claim::Fresh(claimed) => break claimed,
                Claim::Finished(outcome, pin) => {
                    return Carried::Ended { outcome, again: true, reply: None, pin: Some(pin) };
                }
                Claim::Running(mut outcome) => {
                    now = None;
                    // With an outcome the next look finds it finished; without one it is free.
                    match self.or_broken(&mapping.function, &mut outcome).await {
                        Ok(_) => {}
                        // Its letter is needed only if that call, which may go on, fails.
                        Err(Broken::Over) if self.is_gone_if_released() => drop(outcome.await),
                        Err(broken) => return broken.into(),
                    }
                }
            }
        };
        let served = self.serve(&mapping.function, now).await;
        let carried = match served.unwrap_or_else(Carried::from) {
            released @ Carried::Released { .. } => {
                let buried = Box::pin(self.bury_at_shutdown(mapping)).await;
                buried.map_or(released, |outcome| Carried::ended(outcome, None))
            }
            carried => carried,
        };
        match carried {
            Carried::Ended { outcome, again, reply, .. } => {
                let pin = Some(claimed.finish(outcome));
                Carried::Ended { outcome, again, reply, pin }
            }
            other => other,
        }
    }

    /// Calls until there is an outcome, or the wait for one is broken off. `now`: the function's
    /// mapping, if it has been looked up just now.
    ///
    /// Thousands of events wait in this future, so what few of them need stands in boxes.
    async fn serve(
        &self,
        name: &FunctionName,
        mut now: Option<Arc<Mapping>>,
    ) -> Result<Carried, Broken> {
        let (dispatcher, event) = (self.dispatcher, &self.work.event);
        let mut calls = Calls::default();
        // Kept until this function's part is over: as long as that, the hold is told of.
        let mut waiting: Option<Waiting<'_>> = None;
        loop {
            // Looked up after each wait: annotations changed meanwhile count at once.
            let mapping = now.take().or_else(|| dispatcher.mapped(&event.topic, name));
            let mapping = mapping.ok_or(Broken::Unmapped)?;
            let function = dispatcher.functions.of(&mapping);
            if waiting.as_ref().is_none_or(|waiting| waiting.hold().has_ended()) {
                waiting = dispatcher.holds.join(&event.topic, name);
            }
            let hold = waiting.as_ref().map(|waiting| Arc::clone(waiting.hold()));
            // Kept while this event tries, so that no other does.
            let mut trying = match &hold {
                None => None,
                Some(hold) => match Box::pin(self.turn_to_try(hold, &mapping)).await? {
                    None => continue,
                    turn => turn,
                },
            };
            let Some(permit) = self.permit(&function, hold.is_some()).await? else { continue };
            // Composed for each call anew: what waits, waits without them.
            let composed = match event.oversize {
                Some(limit) => Err(TooLarge::Event { limit }),
                None => {
                    let attempt = self.calls_known(calls.made.saturating_add(1));
                    let headers = compose(event, &dispatcher.headers);
                    headers.and_then(|headers| with_attempt(headers, attempt))
                }
            };
            let next = match composed {
                Ok(headers) => {
                    let call = self.call(&mapping, &function, headers, &mut calls, permit).await;
                    let Some(call) = call else {
                        return Ok(Carried::Released { after: None });
                    };
                    match judge(&call.answer, call.asynchronous, &mapping.retry, SystemTime::now())
                    {
                        Judged::Well => self.well(call, &function),
                        judged => {
                            let hold = hold.as_deref();
                            let next =
                                self.weigh(judged, call, &mapping, &function, &mut calls, hold);
                            Box::pin(next).await?
                        }
                    }
                }
                Err(too_large) => {
                    drop(permit);
                    calls.error = too_large.to_string();
                    Next::Bury { reason: "too_large", reply: None }
                }
            };
            // A slow try is over only now.
            if let Some(tried) = trying.as_deref_mut() {
                *tried = tokio::time::Instant::now();
            }
            match next {
                Next::Again => {}
                Next::Held(begun) => waiting = Some(begun),
                Next::End(carried) => return Ok(carried),
                Next::Bury { reason, reply } => {
                    match Box::pin(self.bury(&mapping, &function, reason, &calls)).await? {
                        Buried::Ended(outcome) => return Ok(Carried::ended(outcome, reply)),
                        Buried::Held(begun) => waiting = Some(begun),
                    }
                    calls = Calls::default();
                }
            }
        }
    }

    /// Waits for this event's turn to try a held function: `max_retry_wait` after the last try.
    /// `None`: the hold has ended meanwhile.
    async fn turn_to_try<'h>(
        &self,
        hold: &'h Hold,
        mapping: &Mapping,
    ) -> Result<Option<MutexGuard<'h, tokio::time::Instant>>, Broken> {
        let name = &mapping.function;
        let Some(mut turn) = self.or_broken(name, hold.turn()).await? else { return Ok(None) };
        let pause = async {
            tokio::select! {
                () = hold.ended() => {}
                () = tokio::time::sleep_until(*turn + mapping.retry.max_wait()) => {}
            }
        };
        self.or_broken(name, pause).await?;
        *turn = tokio::time::Instant::now();
        Ok(Some(turn))
    }

    /// Waits until the platform is up and a call may run. `None`: things changed while it waited,
    /// look again.
    async fn permit(&self, function: &Function, tries: bool) -> Result<Option<Permit>, Broken> {
        let (dispatcher, name) = (self.dispatcher, &function.name);
        if !dispatcher.platform.is_up() {
            self.or_broken(name, dispatcher.platform.up()).await?;
        }
        let permit = self.or_broken(name, function.gate.enter(&dispatcher.running)).await?;
        let held = !tries && dispatcher.holds.is_held(&self.work.event.topic, name);
        let stale = held || !dispatcher.platform.is_up() || self.work.is_over();
        Ok((!stale).then_some(permit))
    }

    /// Calls once. `None`: cut at the drain deadline.
    async fn call(
        &self,
        mapping: &Mapping,
        function: &Function,
        headers: HeaderMap,
        calls: &mut Calls,
        permit: Permit,
    ) -> Option<Call> {
        let (dispatcher, event) = (self.dispatcher, &self.work.event);
        let asynchronous = mapping.asynchronous.unwrap_or(dispatcher.config.asynchronous);
        let asynchronous = asynchronous && !event.wants_reply;
        let target = if asynchronous { &function.async_target } else { &function.sync_target };
        if dispatcher.config.print_request_body {
            let body = String::from_utf8_lossy(&event.payload);
            info!("{} => {} body: {body}", event.topic, function.name);
        }
        calls.first.get_or_insert_with(SystemTime::now);
        let began = Instant::now();
        dispatcher.metrics.calls_running.inc();
        let answer = tokio::select! {
            biased;
            () = dispatcher.cut.cancelled() => None,
            // In a box: many wait, and few of them call.
            answer = Box::pin(dispatcher.invoker.call(target, headers, event.payload.clone())) => {
                fail_point::pass(Step::Answered);
                Some(answer)
            }
        };
        dispatcher.metrics.calls_running.dec();
        drop(permit);
        let took = began.elapsed();
        match answer {
            Some(answer) => {
                self.print(&function.name, &answer, took);
                Some(Call { answer, asynchronous, took })
            }
            None => {
                function.called(Called::Cut, took);
                None
            }
        }
    }

    /// What follows from a call that was answered well.
    fn well(&self, call: Call, function: &Function) -> Next<'a> {
        let event = &self.work.event;
        function.called(Called::Well, call.took);
        function.answered_well();
        self.dispatcher.holds.end(&event.topic, &function.name);
        let reply =
            call.answer.ok().filter(|_| event.wants_reply).map(|answer| Box::new(answer.reply()));
        Next::End(Carried::ended(Outcome::Delivered, reply))
    }

    /// Decides what follows from a call that was not answered well. `hold`: the function is held,
    /// and this was a try.
    async fn weigh(
        &self,
        judged: Judged,
        call: Call,
        mapping: &Mapping,
        function: &Function,
        calls: &mut Calls,
        hold: Option<&Hold>,
    ) -> Result<Next<'a>, Broken> {
        let (dispatcher, event) = (self.dispatcher, &self.work.event);
        let Call { answer, asynchronous, took } = call;
        let name = &mapping.function;
        // It may have ended while this try ran, which was then a call like any other.
        let hold = hold.filter(|hold| !hold.has_ended());
        let counted = |called| function.called(called, took);
        let failed = |why: &str| function.failed(&event.topic, why);
        match judged {
            Judged::Well => Ok(self.well(Call { answer, asynchronous, took }, function)),
            Judged::Misconfigured(why) => {
                counted(Called::Misconfigured);
                failed(&why);
                let begun = dispatcher.holds.begin(&event.topic, name, Mends::AnyAnswer, &why);
                Ok(Next::Held(begun))
            }
            Judged::Refused(why) => {
                counted(Called::Refused);
                failed(&why);
                calls.note(&answer, &why);
                match hold.map(|hold| hold.mends) {
                    // Tried, not judged: its events stay in flight until one is answered well.
                    Some(Mends::GoodAnswer) => return Ok(Next::Again),
                    Some(Mends::AnyAnswer) => dispatcher.holds.end(&event.topic, name),
                    None => {}
                }
                Ok(Next::Bury { reason: "refused", reply: self.failed_reply(answer) })
            }
            Judged::Retry { why, after, platform, unwritten } => {
                failed(&why);
                let up = !platform || self.or_broken(name, dispatcher.platform.is_up_now()).await?;
                if !up || unwritten {
                    counted(Called::Uncounted);
                    if up {
                        self.or_broken(name, tokio::time::sleep(calls.pause_unwritten())).await?;
                    }
                    return Ok(Next::Again);
                }
                counted(Called::Retry);
                calls.note(&answer, &why);
                if hold.is_some() {
                    return Ok(Next::Again);
                }
                let retries = self.calls_known(calls.made).saturating_sub(1);
                if !mapping.retry.allows(retries) || self.is_last(retries) {
                    return Ok(Next::Bury {
                        reason: "exhausted",
                        reply: self.failed_reply(answer),
                    });
                }
                let wait = mapping.retry.wait(retries + 1, after, &mut rand::rng());
                if function.warns_now() {
                    warn!(
                        topic = &*event.topic, function = %name, event.id = %event.id,
                        attempt = calls.made, error = why, wait = ?wait, "will be tried again"
                    );
                }
                if self.stores_waits {
                    return Ok(Next::End(Carried::Released { after: Some(wait) }));
                }
                let _retries = function.retries();
                self.or_broken(name, tokio::time::sleep(wait)).await?;
                Ok(Next::Again)
            }
        }
    }

    /// What a publisher gets that waits for an answer, when the function did not answer well.
    fn failed_reply(&self, answer: Result<Answer, NoAnswer>) -> Option<Box<Reply>> {
        answer.ok().filter(|_| self.work.event.wants_reply).map(|answer| Box::new(answer.reply()))
    }

    /// How many calls there have been as far as anyone knows: those of this delivery, and one for
    /// each delivery that the broker counted before it.
    fn calls_known(&self, made: u32) -> u32 {
        let deliveries_before = self.work.event.delivery_count.unwrap_or(1).saturating_sub(1);
        made.saturating_add(deliveries_before)
    }

    /// Whether the broker would move the event away rather than deliver it once more.
    fn is_last(&self, retries: u32) -> bool {
        let redrive = self.work.lane.options.redrive.as_ref();
        redrive.is_some_and(|redrive| retries.saturating_add(1) >= redrive.deliveries)
    }

    /// Waits for `wait`, unless the lane ends or the function is unmapped first.
    async fn or_broken<T>(
        &self,
        function: &FunctionName,
        wait: impl Future<Output = T>,
    ) -> Result<T, Broken> {
        if self.work.is_over() {
            return Err(Broken::Over);
        }
        let mut wait = pin!(wait);
        // Most often there is nothing to wait for, and so nothing that could break it off.
        if let Poll::Ready(waited) = poll!(wait.as_mut()) {
            return Ok(waited);
        }
        tokio::select! {
            biased;
            () = self.work.over() => Err(Broken::Over),
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
