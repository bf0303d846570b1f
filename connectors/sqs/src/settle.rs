//! The books of one queue: what is lent to us, what became of it, and telling the queue.
//!
//! What was answered well is deleted, in batches; what was not is hidden for as long as its next
//! attempt is to wait; and what is still being worked on has its lease extended. Each entry of a
//! batch that is refused is looked at: a void handle means that the message is no longer ours,
//! anything else is tried again. While a delete is not confirmed the outcome of the message is not
//! forgotten, so its redelivery calls no function again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use connector_core::fail_point::{self, Step};
use connector_core::{AnyOrder, EventId, Loan, Pending, Settled, Settlement, Verdict};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::api::{BATCH, Refused};
use crate::consume::Serving;
use crate::lease::Lease;
use crate::trouble::{Kind, Trouble};

/// The most batches of deletes under way. One that is not full goes out only when none is.
const DELETES: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What is left, after the drain deadline, to give back what was cut.
const LEAVE: Duration = Duration::from_secs(2);

/// One message that was received and handed in.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// What identifies the message.
    pub(crate) id: String,
    /// What identifies this receipt of it.
    pub(crate) handle: String,
    pub(crate) event: EventId,
    /// When it was sent, if the queue tells.
    pub(crate) sent: Option<SystemTime>,
    pub(crate) lease: Lease,
    pub(crate) loan: Loan,
    pub(crate) settlement: Settlement,
}

/// Names one delivery in the books.
type Ticket = u64;

/// One delivery that is not settled.
struct Delivery {
    id: String,
    handle: String,
    event: EventId,
    sent: Option<SystemTime>,
    lease: Lease,
    loan: Loan,
    stage: Stage,
    /// A change of its visibility is queued or under way: another could overtake it.
    changing: bool,
    /// Its delete has failed, and will be tried again.
    undeleted: bool,
    /// It is known that the lease has ended.
    lost: bool,
}

enum Stage {
    /// It has no verdict yet.
    Called,
    /// It is done, and to be deleted.
    Done(Settled),
    /// It is to be given back, hidden for this long.
    Released(Duration),
}

/// What the queue has answered.
enum Answer {
    Deleted {
        tickets: Vec<Ticket>,
        answer: Result<Vec<Refused>, Trouble>,
    },
    Hidden {
        changes: Vec<(Ticket, Change)>,
        asked_at: Instant,
        answer: Result<Vec<Refused>, Trouble>,
    },
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Extend(Duration),
    Release(Duration),
}

/// How one entry of a batch fared.
enum Fared {
    Well,
    /// The queue no longer knows the handle, or is no more.
    Void,
    /// To be tried again.
    Failed,
}

/// Keeps the books of one queue.
pub(crate) struct Settler {
    serving: Arc<Serving>,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    /// Tells the receivers that too many messages wait for their delete.
    stuck: watch::Sender<bool>,
    pending: Pending<Ticket, AnyOrder>,
    books: HashMap<Ticket, Delivery>,
    /// The last delivery of each message.
    latest: HashMap<String, Ticket>,
    next: Ticket,
    deletes: VecDeque<Ticket>,
    changes: VecDeque<(Ticket, Change)>,
    running: FuturesUnordered<BoxFuture<'static, Answer>>,
    deleting: usize,
    /// Deletes fail: when to try again, and how often they have failed in a row.
    delete_at: Option<Instant>,
    failures: u32,
    /// The last change of leases failed as a whole.
    leases_fail: bool,
}

impl Settler {
    pub(crate) fn new(
        serving: Arc<Serving>,
        arrivals: mpsc::UnboundedReceiver<Arrival>,
        stuck: watch::Sender<bool>,
    ) -> Self {
        Self {
            serving,
            arrivals,
            stuck,
            pending: Pending::new(),
            books: HashMap::new(),
            latest: HashMap::new(),
            next: 0,
            deletes: VecDeque::new(),
            changes: VecDeque::new(),
            running: FuturesUnordered::new(),
            deleting: 0,
            delete_at: None,
            failures: 0,
            leases_fail: false,
        }
    }

    /// Keeps the books until nothing more arrives and everything is settled, or a moment past the
    /// drain deadline.
    pub(crate) async fn run(mut self) {
        let intake = self.serving.intake.clone();
        let too_late = async move {
            intake.cut().await;
            sleep(LEAVE).await;
        };
        tokio::pin!(too_late);
        let tick = Lease::tick(self.serving.lease);
        let mut look_at = Instant::now() + tick;
        let mut receiving = true;
        loop {
            self.send();
            if !receiving && self.books.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                () = &mut too_late => break,
                // Before anything else: after a standstill much waits here, and what is lent to
                // others by now must not be called.
                () = sleep_until(look_at), if !self.books.is_empty() => {
                    let now = Instant::now();
                    self.look(now);
                    look_at = now + tick;
                }
                Some(answer) = self.running.next() => self.answered(answer),
                arrival = self.arrivals.recv(), if receiving => match arrival {
                    Some(arrival) => self.track(arrival),
                    None => receiving = false,
                },
                (ticket, settled) = self.pending.next() => self.judged(ticket, settled),
            }
        }
        self.serving.report.deletes_well();
    }

    fn track(&mut self, arrival: Arrival) {
        let Arrival { id, handle, event, sent, lease, loan, settlement } = arrival;
        let ticket = self.next;
        self.next += 1;
        // A message that comes again while we still have it: the queue honours only the new
        // handle, so what is done about the earlier deliveries is done by that one.
        if self.latest.insert(id.clone(), ticket).is_some() {
            for earlier in self.books.values_mut().filter(|earlier| earlier.id == id) {
                earlier.handle.clone_from(&handle);
                earlier.lease = lease;
            }
        }
        let delivery = Delivery {
            id,
            handle,
            event,
            sent,
            lease,
            loan,
            stage: Stage::Called,
            changing: false,
            undeleted: false,
            lost: false,
        };
        self.books.insert(ticket, delivery);
        self.pending.track(ticket, settlement);
    }

    fn judged(&mut self, ticket: Ticket, settled: Settled) {
        let Some(delivery) = self.books.get_mut(&ticket) else { return };
        let after = match settled.verdict {
            Verdict::Done => {
                delivery.stage = Stage::Done(settled);
                self.deletes.push_back(ticket);
                self.tell_stuck();
                return;
            }
            Verdict::Release { after } => after.unwrap_or_default(),
        };
        drop(settled);
        let now = Instant::now();
        // A later delivery of the same message decides about it, and what is not ours is gone.
        let superseded = self.latest.get(&delivery.id) != Some(&ticket);
        if superseded || !delivery.lease.holds(now) {
            self.forget(ticket);
            return;
        }
        let hidden = whole_seconds(after).min(delivery.lease.longest_wait(now));
        delivery.stage = Stage::Released(hidden);
        if !delivery.changing {
            delivery.changing = true;
            self.changes.push_back((ticket, Change::Release(hidden)));
        }
    }

    /// Looks at every lease: extends those that are due, and takes back from dispatch what is no
    /// longer lent to us.
    fn look(&mut self, now: Instant) {
        let mut gone = Vec::new();
        for (ticket, delivery) in &mut self.books {
            let holds = delivery.lease.holds(now);
            if !holds && !delivery.lost {
                delivery.lost = true;
                if matches!(delivery.stage, Stage::Called) {
                    self.serving.meters.leases_lost.inc();
                    tracing::warn!(
                        queue = self.serving.name(), event.id = %delivery.event,
                        "the lease of a message has ended before its verdict"
                    );
                }
                delivery.loan.revoke();
            }
            if delivery.changing {
                continue;
            }
            let change = match delivery.stage {
                Stage::Released(_) if !holds => {
                    gone.push(*ticket);
                    continue;
                }
                Stage::Released(hidden) => Change::Release(hidden),
                Stage::Called | Stage::Done(_) => match delivery.lease.extension(now) {
                    Some(length) => Change::Extend(length),
                    None => continue,
                },
            };
            delivery.changing = true;
            self.changes.push_back((*ticket, change));
        }
        for ticket in gone {
            self.forget(ticket);
        }
        self.serving.meters.head(self.books.values().filter_map(|delivery| delivery.sent).min());
    }

    /// Sends what is to be sent now.
    fn send(&mut self) {
        let waits = self.delete_at.is_some_and(|at| at > Instant::now());
        while !waits
            && self.deleting < DELETES
            && (self.deletes.len() >= BATCH || (self.deleting == 0 && !self.deletes.is_empty()))
        {
            self.delete();
        }
        while !self.changes.is_empty() {
            self.hide();
        }
    }

    fn delete(&mut self) {
        let (mut tickets, mut handles) = (Vec::new(), Vec::new());
        while tickets.len() < BATCH
            && let Some(ticket) = self.deletes.pop_front()
        {
            if let Some(delivery) = self.books.get(&ticket) {
                tickets.push(ticket);
                handles.push(delivery.handle.clone());
            }
        }
        if tickets.is_empty() {
            return;
        }
        self.deleting += 1;
        let serving = Arc::clone(&self.serving);
        self.running.push(Box::pin(async move {
            let asked = serving.api.delete(&handles);
            let answer = fail_point::sent(Step::Acknowledged, handles.len() as u64, asked).await;
            Answer::Deleted { tickets, answer }
        }));
    }

    fn hide(&mut self) {
        let (mut changes, mut entries) = (Vec::new(), Vec::new());
        while changes.len() < BATCH
            && let Some((ticket, change)) = self.changes.pop_front()
        {
            if let Some(delivery) = self.books.get(&ticket) {
                let (Change::Extend(hidden) | Change::Release(hidden)) = change;
                entries.push((delivery.handle.clone(), hidden));
                changes.push((ticket, change));
            }
        }
        if changes.is_empty() {
            return;
        }
        let serving = Arc::clone(&self.serving);
        let asked_at = Instant::now();
        self.running.push(Box::pin(async move {
            let answer = serving.api.hide(&entries).await;
            Answer::Hidden { changes, asked_at, answer }
        }));
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Deleted { tickets, answer } => {
                self.deleting -= 1;
                self.deleted(tickets, &answer);
            }
            Answer::Hidden { changes, asked_at, answer } => {
                match &answer {
                    Ok(_) => self.leases_well(),
                    Err(trouble) => {
                        self.leases_fail = true;
                        self.serving.report.leases_fail(&trouble.why);
                    }
                }
                for (at, (ticket, change)) in changes.into_iter().enumerate() {
                    self.hidden(ticket, change, asked_at, fared(&answer, at));
                }
            }
        }
    }

    fn deleted(&mut self, tickets: Vec<Ticket>, answer: &Result<Vec<Refused>, Trouble>) {
        let mut failed = 0_u32;
        for (at, ticket) in tickets.into_iter().enumerate() {
            match fared(answer, at) {
                // With the delivery goes what kept its outcome and its key's turn.
                Fared::Well => {
                    fail_point::pass(Step::Confirmed);
                    self.forget(ticket);
                }
                Fared::Void => self.give_up(ticket, &why(answer, at)),
                Fared::Failed => {
                    failed += 1;
                    self.deletes.push_back(ticket);
                    if let Some(delivery) = self.books.get_mut(&ticket) {
                        delivery.undeleted = true;
                    }
                }
            }
        }
        if failed > 0 {
            self.serving.meters.deletes_failed.inc_by(failed.into());
            self.serving.report.deletes_fail(&why(answer, usize::MAX));
            self.delay_deletes();
        } else if self.failures > 0 && !self.books.values().any(|delivery| delivery.undeleted) {
            self.failures = 0;
            self.delete_at = None;
            self.serving.report.deletes_well();
        }
        self.tell_stuck();
    }

    /// Waits longer with each round of failures; batches that fail together are one round. The next
    /// look after the wait sends again.
    fn delay_deletes(&mut self) {
        let now = Instant::now();
        if self.delete_at.is_some_and(|at| at > now) {
            return;
        }
        let pause = FIRST_PAUSE * 2_u32.pow(self.failures.min(8));
        self.failures += 1;
        self.delete_at = Some(now + pause.min(LONGEST_PAUSE));
    }

    /// A message that is done and cannot be deleted with the handle we have: it will come again,
    /// and is deleted then. What waits behind it in its group is given back: it comes after.
    fn give_up(&mut self, ticket: Ticket, why: &str) {
        let Some(delivery) = self.books.get_mut(&ticket) else { return };
        self.serving.meters.stale.inc();
        tracing::warn!(
            queue = self.serving.name(), event.id = %delivery.event, why,
            "a message that is done could not be deleted; it will come again"
        );
        if let Stage::Done(settled) = std::mem::replace(&mut delivery.stage, Stage::Called) {
            settled.unsettled();
        }
        self.forget(ticket);
    }

    fn hidden(&mut self, ticket: Ticket, change: Change, asked_at: Instant, fared: Fared) {
        let Some(delivery) = self.books.get_mut(&ticket) else { return };
        delivery.changing = false;
        match (change, fared) {
            (Change::Release(_), Fared::Well | Fared::Void) => return self.forget(ticket),
            (Change::Extend(length), Fared::Well) => {
                delivery.lease.extended(asked_at, length);
                self.serving.meters.extensions.inc();
            }
            (Change::Extend(_), Fared::Void) => delivery.lease.refuse(),
            // The next look tries again, as long as the lease holds.
            (_, Fared::Failed) => return,
        }
        if let Stage::Released(hidden) = delivery.stage {
            delivery.changing = true;
            self.changes.push_back((ticket, Change::Release(hidden)));
        }
    }

    fn forget(&mut self, ticket: Ticket) {
        let Some(delivery) = self.books.remove(&ticket) else { return };
        if self.latest.get(&delivery.id) == Some(&ticket) {
            self.latest.remove(&delivery.id);
            self.serving.forget_types(&delivery.event);
        }
        if self.books.is_empty() {
            // What they failed for has ended, one way or another.
            self.leases_well();
            // Nobody looks while there is nothing.
            self.serving.meters.head(None);
        }
    }

    fn leases_well(&mut self) {
        if std::mem::take(&mut self.leases_fail) {
            self.serving.report.leases_well();
        }
    }

    /// Whether messages that are done pile up: no more are received then.
    fn tell_stuck(&self) {
        let stuck = self.delete_at.is_some() && self.deletes.len() >= self.serving.window.get();
        self.stuck.send_if_modified(|before| std::mem::replace(before, stuck) != stuck);
    }
}

/// How the entry at this position fared.
fn fared(answer: &Result<Vec<Refused>, Trouble>, at: usize) -> Fared {
    match answer {
        Ok(refused) => match refused.iter().find(|refused| refused.at == at) {
            None => Fared::Well,
            Some(refused) if refused.void => Fared::Void,
            Some(_) => Fared::Failed,
        },
        Err(trouble) if trouble.kind == Kind::UnknownQueue => Fared::Void,
        Err(_) => Fared::Failed,
    }
}

/// Why the entry at this position, or any other, was refused.
fn why(answer: &Result<Vec<Refused>, Trouble>, at: usize) -> String {
    match answer {
        Err(trouble) => trouble.why.clone(),
        Ok(refused) => {
            let exactly = refused.iter().find(|refused| refused.at == at);
            let any = || refused.iter().find(|refused| !refused.void);
            exactly.or_else(any).map(|refused| refused.why.clone()).unwrap_or_default()
        }
    }
}

/// Rounded up: an attempt is made no sooner than it should be.
fn whole_seconds(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}
