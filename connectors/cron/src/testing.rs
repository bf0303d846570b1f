//! What tests outside of this crate look at.

use jiff::Timestamp;
use serde_json::Value;

use crate::lease::record::{Kept, Record};
use crate::lease::tenure::Tenure;

/// What a replica that finds this Lease writes into it: what it said before, and, once its leader
/// counts as gone, that this replica leads.
#[must_use]
pub fn lease_again(object: Value, now: Timestamp) -> (Value, Option<Value>) {
    let kept = Kept::read(object);
    let (again, mut tenure) = (kept.replaced(&kept.record, now), tenure());
    tenure.read(Some(kept.clone()), tokio::time::Instant::now());
    let gone = tenure.expires().unwrap_or_else(tokio::time::Instant::now);
    let taken = tenure.renewal(gone).map(|record: Record| kept.replaced(&record, now));
    (again, taken)
}

fn tenure() -> Tenure {
    Tenure::new("us".to_owned(), std::time::Duration::from_secs(15))
}
