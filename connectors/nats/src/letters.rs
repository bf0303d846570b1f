//! Which subjects are ours for dead letters.
//!
//! A pattern may match the subject that its own dead letters go to. They are then passed over: a
//! function that would not answer the message well would not answer its letter either, for ever.
//! Who asks for them by name is called.

use std::collections::HashSet;
use std::sync::Arc;

use connector_core::dead_letter::Address;
use connector_core::topics::{Pattern, TopicMap};
use connector_core::{FunctionName, Intake};

/// The subjects of dead letters, by the settings and by the annotations as they are now.
pub(crate) struct Letters {
    intake: Intake,
    map: Arc<TopicMap>,
    subjects: HashSet<String>,
}

impl Letters {
    pub(crate) fn new(intake: &Intake) -> Self {
        let map = intake.topics().borrow().clone();
        let subjects = subjects(intake, &map);
        Self { intake: intake.clone(), map, subjects }
    }

    /// Who asks by name for what goes to this subject. `None`: letters do not go there.
    pub(crate) fn asked_for(&mut self, subject: &str) -> Option<Vec<FunctionName>> {
        let topics = self.intake.topics();
        if !Arc::ptr_eq(&topics.borrow(), &self.map) {
            self.map = topics.borrow().clone();
            self.subjects = subjects(&self.intake, &self.map);
        }
        if !self.subjects.contains(subject) {
            return None;
        }
        let mut wishes = self.map.wishes().iter();
        let by_name =
            wishes.find(|wish| matches!(&wish.pattern, Pattern::Exact(to) if **to == *subject));
        Some(by_name.map(|wish| wish.functions.to_vec()).unwrap_or_default())
    }

    /// Every such subject.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = &str> {
        self.subjects.iter().map(String::as_str)
    }
}

fn subjects(intake: &Intake, map: &TopicMap) -> HashSet<String> {
    let addresses = map.mappings().filter_map(|mapping| mapping.dead_letter.as_ref());
    addresses
        .chain([&intake.config().dead_letter])
        .filter_map(|address| match address {
            Address::Broker(to) => Some(to.clone()),
            _ => None,
        })
        .collect()
}
