//! Decides, after the fact and from outside, whether a connector kept its promise.
//!
//! It reads what the gateway wrote ([`ledger`]), what a driver wrote down of what it produced and broke ([`plan`]), and what
//! stands at the broker: Kafka is asked ([`kafka`]), of the others the driver writes down what its own client found. It asks
//! no connector and shares no code with one. [`judge`](check::judge) holds every rule; it is pure, so that its tests show
//! each rule broken.

pub mod check;
pub mod evidence;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod ledger;
pub mod notes;
pub mod plan;

use std::error::Error;
use std::fs::File;
use std::path::Path;

use check::{Judgement, judge};
use evidence::Evidence;
use plan::Broker;

/// Judges the run whose plan, samples and ledger are in a folder.
///
/// # Errors
/// One of them cannot be read, or the broker does not answer.
pub fn judged(folder: &Path) -> Result<Judgement, Box<dyn Error>> {
    let mut evidence = Evidence::of(plan::read(&folder.join(plan::PLAN))?)?;
    evidence.called(ledger::read(File::open(folder.join(plan::LEDGER))?)?);
    if matches!(evidence.run.broker, Broker::Kafka { .. }) {
        evidence.samples = plan::read(&folder.join(plan::SAMPLES))?;
        #[cfg(feature = "kafka")]
        kafka::gather(&mut evidence)?;
        #[cfg(not(feature = "kafka"))]
        return Err("built without the feature that asks Kafka".into());
    }
    Ok(judge(&evidence))
}
