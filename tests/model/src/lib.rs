//! The delivery core under a model: what is shipped runs, everything around it is a small world
//! whose every turn is a choice.
//!
//! A world has a few events, a few functions and a broker. At each step it is asked what happens
//! next: a call is answered, refused or left without an answer, a dead letter is stored or not, a
//! commit is taken or lost, a partition is taken away, the process is killed, time passes. Between
//! two steps the process runs until it can do nothing more. [`Choices`] answers the questions,
//! either one after the other until every sequence of answers has been tried ([`exhaust`]), or by a
//! seed ([`wander`]). What the process does is judged as it happens, by [`World`], against the
//! promise and the invariants of `ARCHITECTURE.md`; nothing here knows how the process works.
//!
//! Nothing is left to chance: the clock is paused, there is one thread and no socket. So a list of
//! choices makes the same history each time, and one that breaks an invariant is printed, made
//! shorter first, with the way to repeat it.

mod choices;
mod explore;
mod life;
mod rule;
mod world;

pub use choices::Choices;
pub use explore::{Told, deep, exhaust, wander};
pub use life::{Life, settle};
pub use rule::{Rule, Violation};
pub use world::{Answers, Outcome, World};
