//! The broker: a queue that lends its messages, one receipt for each delivery.

use model::World;
use tokio::time::Instant;

/// The queue. It outlives every process.
pub(crate) struct Queue {
    world: World,
    messages: Vec<Message>,
    receipts: u64,
}

#[derive(Clone, Copy)]
struct Message {
    event: usize,
    group: Option<u8>,
    lies: Lies,
    deliveries: u32,
}

/// Where a message is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lies {
    Ready,
    /// Given back with a wait.
    Waits(Instant),
    Lent(u64),
    Gone,
}

/// One delivery of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) message: usize,
    pub(crate) event: usize,
    pub(crate) group: Option<u8>,
    pub(crate) receipt: u64,
    /// How often it was delivered, this time included.
    pub(crate) nth: u32,
}

impl Queue {
    /// A queue with so many messages, dealt out to so many groups if there are any.
    pub(crate) fn new(world: &World, messages: usize, groups: Option<u8>) -> Self {
        let messages = (0..messages).map(|number| {
            let group = groups.map(|groups| u8::try_from(number).expect("a few") % groups);
            let name = format!("m{number}");
            let event = world.event(name, group.map(|group| (0, group)));
            Message { event, group, lies: Lies::Ready, deliveries: 0 }
        });
        Self { world: world.clone(), messages: messages.collect(), receipts: 0 }
    }

    /// The process is dead, and its leases end.
    pub(crate) fn process_ends(&mut self) {
        for message in &mut self.messages {
            if message.lies != Lies::Gone {
                message.lies = Lies::Ready;
            }
        }
    }

    /// The first message that may be lent: none of its group is lent, nor lies before it and could
    /// be.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let now = Instant::now();
        for message in &mut self.messages {
            if matches!(message.lies, Lies::Waits(until) if until <= now) {
                message.lies = Lies::Ready;
            }
        }
        (0..self.messages.len()).find(|&at| {
            let blocks = |(other, it): (usize, &Message)| match it.lies {
                Lies::Ready | Lies::Waits(_) => other < at,
                Lies::Lent(_) => true,
                Lies::Gone => false,
            };
            let group = self.messages[at].group;
            let same = |it: &(usize, &Message)| group.is_some() && it.1.group == group;
            let mut others = self.messages.iter().enumerate().filter(same);
            self.messages[at].lies == Lies::Ready && !others.any(blocks)
        })
    }

    /// The next message of the same group, if it can be lent with this one.
    pub(crate) fn follower(&self, message: usize) -> Option<usize> {
        let group = self.messages[message].group?;
        let rest = message + 1..self.messages.len();
        let next = rest.into_iter().find(|&at| {
            self.messages[at].group == Some(group) && self.messages[at].lies != Lies::Gone
        })?;
        (self.messages[next].lies == Lies::Ready).then_some(next)
    }

    /// Lends a message.
    pub(crate) fn lend(&mut self, message: usize) -> Delivery {
        self.receipts += 1;
        let receipt = self.receipts;
        let Message { event, group, lies, deliveries } = &mut self.messages[message];
        *lies = Lies::Lent(receipt);
        *deliveries += 1;
        Delivery { message, event: *event, group: *group, receipt, nth: *deliveries }
    }

    /// Ends the lease of the first message that is lent: it can be received again.
    pub(crate) fn expire(&mut self) -> Option<u64> {
        let lent = |message: &&mut Message| matches!(message.lies, Lies::Lent(_));
        let message = self.messages.iter_mut().find(lent)?;
        let Lies::Lent(receipt) = message.lies else { return None };
        message.lies = Lies::Ready;
        Some(receipt)
    }

    /// Takes a message back, not to be lent before `until`. A stale receipt changes nothing.
    pub(crate) fn give_back(&mut self, delivery: Delivery, until: Instant) {
        if self.is_lent(delivery) {
            self.messages[delivery.message].lies = Lies::Waits(until);
        }
    }

    /// Deletes a message. `false`: its receipt is stale.
    pub(crate) fn delete(&mut self, delivery: Delivery) -> bool {
        if !self.is_lent(delivery) {
            return false;
        }
        self.world.acknowledged(delivery.event, "deleted");
        self.messages[delivery.message].lies = Lies::Gone;
        true
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.iter().all(|message| message.lies == Lies::Gone)
    }

    fn is_lent(&self, delivery: Delivery) -> bool {
        self.messages[delivery.message].lies == Lies::Lent(delivery.receipt)
    }
}
