//! Decides, after the fact and from outside, whether a connector kept its promise.
//!
//! It reads what the gateway wrote ([`ledger`]), what stands at the broker ([`kafka`]), and what a driver wrote down of
//! what it produced and broke ([`plan`]). It asks no connector and shares no code with one. [`judge`](check::judge) holds every
//! rule; it is pure, so that its tests show each rule broken.

pub mod check;
pub mod evidence;
pub mod kafka;
pub mod ledger;
pub mod plan;
