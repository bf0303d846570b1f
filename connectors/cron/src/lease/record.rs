//! What the Lease says, and how that is written as an object of Kubernetes.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

/// Up to which instant ticks are claimed.
const CLAIMED: &str = "tributary/claimed-until";

/// Up to which instant the claimed ones have been called: the claim before, until the next write.
const CALLED: &str = "tributary/called-until";

/// The largest number that a Lease may hold.
const MOST: u64 = i32::MAX as u64;

/// What the Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Who leads; empty if nobody does.
    pub(crate) holder: String,
    /// How long it may be silent.
    pub(crate) duration: Duration,
    /// Up to which instant ticks are claimed.
    pub(crate) claimed: Timestamp,
    /// Up to which instant they have been called for certain.
    pub(crate) called: Timestamp,
    /// How often the leader changed.
    pub(crate) transitions: u64,
}

/// A record as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    /// What it says.
    pub(crate) record: Record,
    /// Changes with each write. Nothing can be learned from it but whether it is the same.
    pub(crate) version: String,
    /// The whole object: a write keeps what is none of our business.
    object: Value,
}

impl Kept {
    /// Reads an object. What is missing, or not what it should be, as in a Lease that somebody made
    /// by hand, reads as nobody's.
    pub(crate) fn read(mut object: Value) -> Self {
        for path in ["", "/spec", "/metadata", "/metadata/annotations"] {
            // What is written into later has to be an object, or nothing.
            if let Some(part) = object.pointer_mut(path)
                && !part.is_object()
            {
                *part = Value::Null;
            }
        }
        let spec = &object["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let annotations = &object["metadata"]["annotations"];
        let instant = |name: &str| {
            let text = annotations[name].as_str();
            text.and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
        };
        let number = |value: &Value| value.as_u64().unwrap_or_default().min(MOST);
        let record = Record {
            holder: text(&spec["holderIdentity"]),
            duration: Duration::from_secs(number(&spec["leaseDurationSeconds"])),
            claimed: instant(CLAIMED),
            called: instant(CALLED),
            transitions: number(&spec["leaseTransitions"]),
        };
        Self { record, version: text(&object["metadata"]["resourceVersion"]), object }
    }

    /// The object with `record` in place of what it says, as of `now`.
    pub(crate) fn replaced(&self, record: &Record, now: Timestamp) -> Value {
        let mut object = self.object.clone();
        write(&mut object, record, now);
        object
    }
}

/// A new object.
pub(crate) fn object(namespace: &str, name: &str, record: &Record, now: Timestamp) -> Value {
    let mut object = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "namespace": namespace, "name": name },
    });
    write(&mut object, record, now);
    object
}

fn write(object: &mut Value, record: &Record, now: Timestamp) {
    let now = now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let before = object["spec"]["holderIdentity"].as_str().unwrap_or_default();
    if before != record.holder {
        object["spec"]["acquireTime"] = now.as_str().into();
    }
    object["spec"]["holderIdentity"] = record.holder.as_str().into();
    // A lease of no seconds is invalid.
    object["spec"]["leaseDurationSeconds"] = record.duration.as_secs().max(1).into();
    object["spec"]["leaseTransitions"] = record.transitions.min(MOST).into();
    object["spec"]["renewTime"] = now.into();
    object["metadata"]["annotations"][CLAIMED] = record.claimed.to_string().into();
    object["metadata"]["annotations"][CALLED] = record.called.to_string().into();
}
