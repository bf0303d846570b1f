//! What a connector counts of that which it drops, as its promise allows, and when: before and after each fault, and before
//! it is ended. What it counts after the last look, when it is killed or while it drains, the fault explains.

use ledger_checker::plan::Dropped;

use super::Soak;
use crate::source::Source;

/// What one process had counted at the last look.
pub(super) struct Counts {
    /// For each reason.
    counted: Vec<u64>,
    /// How many events had been made by then.
    made: usize,
}

impl Counts {
    /// Those of a process that begins now.
    pub(super) fn since(made: usize) -> Self {
        Self { counted: Vec::new(), made }
    }
}

impl<S: Source> Soak<S> {
    /// Writes down what the connector has dropped since the last look.
    pub(super) async fn count_drops(&mut self) {
        let Some(drops) = S::DROPS else { return };
        let running = self.connector.as_mut().expect("one runs");
        let made = self.pace.made();
        let page = running.connector.metrics().await;
        let count = |why: &&str| page.count(drops.metric, &[("why", why)]);
        let counted: Vec<_> = drops.reasons.iter().map(count).collect();
        let before = Counts { counted, made };
        let before = std::mem::replace(&mut running.counts, before);
        for (number, why) in drops.reasons.iter().enumerate() {
            let was = before.counted.get(number).copied().unwrap_or(0);
            let events = running.counts.counted[number] - was;
            if events > 0 {
                let dropped = Dropped {
                    process: running.name.clone(),
                    why: (*why).to_owned(),
                    events: usize::try_from(events).expect("events of one run"),
                    produced_before: before.made,
                };
                self.notes.lock().dropped(dropped).expect("the plan can be written");
            }
        }
    }
}
