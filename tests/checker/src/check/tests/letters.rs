//! What dead letters are, and how many of one event.

use super::*;
use crate::plan::{Entry, Message};

#[test]
fn a_letter_is_an_outcome_if_it_is_byte_for_byte_the_event() {
    Story::with_a_letter().is_kept();
    let changes: [fn(&mut Content); 4] = [
        |content| content.payload[0] ^= 1,
        |content| content.key = None,
        |content| content.headers[0].1 = None,
        |content| content.headers.push(("more".to_owned(), None)),
    ];
    for change in changes {
        let mut story = Story::with_a_letter();
        change(&mut story.evidence.letters[0].content);
        story.violates(&[LETTERS]);
    }
}

#[test]
fn a_letter_of_something_else_is_no_outcome() {
    let mut story = Story::with_a_letter();
    story.evidence.letters[0].event_id = "kafka:t/0@9".to_owned();
    story.violates(&[LOST, LETTERS, OUTCOMES, COMMITS]);
    let mut story = Story::with_a_letter();
    story.evidence.letters[0].function = "h".to_owned();
    story.violates(&[LOST, LETTERS, OUTCOMES, COMMITS]);
}

#[test]
fn a_second_letter_needs_a_fault() {
    let mut story = Story::with_a_letter();
    story.bury("g", 1);
    story.violates(&[ONCE]);
    let mut story = Story::with_a_letter();
    story.killed();
    story.call("q", "g", 1, 500);
    story.bury("g", 1);
    story.is_kept();
    story.bury("g", 1);
    story.violates(&[ONCE]);
}

/// `g` refuses event 1 at this broker, then `p` is killed, and `q` has it refused again.
fn killed_over_a_letter(broker: Broker, ordering: Ordering) -> Story {
    let mut story = Story::with_a_letter();
    story.settles_each(broker, ordering);
    story.killed();
    story.call("q", "g", 1, 500);
    story.bury("g", 1);
    story
}

#[test]
fn a_broker_that_knows_a_letter_has_it_once() {
    for (broker, ordering) in
        [(Broker::JetStream, Ordering::None), (Broker::Sqs, Ordering::Settled)]
    {
        killed_over_a_letter(broker, ordering).violates(&[ONCE]);
    }
    for (broker, ordering) in [(Broker::Sqs, Ordering::None), (Broker::Mqtt, Ordering::Key)] {
        killed_over_a_letter(broker, ordering).is_kept();
    }
}

#[test]
fn a_letter_whose_confirmation_was_lost_is_stored_again() {
    let twice = |broker, ms, kind| {
        let mut story = refused_before(broker, ms, kind);
        story.bury("g", 1);
        story
    };
    twice(Broker::Sqs, 1_900, FaultKind::BrokerOutage).is_kept();
    twice(Broker::Mqtt, 1_900, FaultKind::BrokerOutage).is_kept();
    // The broker knows it; the connector had its confirmation; nothing was lost on its way.
    twice(Broker::JetStream, 1_900, FaultKind::BrokerOutage).violates(&[ONCE]);
    twice(Broker::Sqs, 2_000, FaultKind::BrokerOutage).violates(&[ONCE]);
    twice(Broker::Sqs, 1_900, FaultKind::Strain).violates(&[ONCE]);
    // One outage, one letter.
    let mut story = twice(Broker::Sqs, 1_900, FaultKind::BrokerOutage);
    story.bury("g", 1);
    story.violates(&[ONCE]);
}

/// `g` refuses event 1, whose letter is stored; so many milliseconds later something happens.
fn refused_before(broker: Broker, ms: u64, kind: FaultKind) -> Story {
    let mut story = Story::new();
    story.settles_each(broker, Ordering::None);
    story.deliver("p", 0);
    story.deliver("p", 2);
    story.call("p", "f", 1, 200);
    story.call("p", "g", 1, 400);
    story.bury("g", 1);
    story.wait_ms(ms);
    story.deliver("p", 3);
    story.fault(kind, Some("p"));
    story
}

#[test]
fn an_event_whose_letter_is_not_known_to_be_stored_is_called_again() {
    let again = |broker, ms| {
        let mut story = refused_before(broker, ms, FaultKind::BrokerOutage);
        story.call("p", "g", 1, 200);
        story
    };
    for broker in [Broker::Sqs, Broker::JetStream] {
        again(broker.clone(), 1_900).is_kept();
        again(broker, 2_000).violates(&[OUTCOMES]);
    }
}

#[test]
fn what_was_sent_twice_may_have_two_letters_or_one() {
    let mut story = Story::with_a_letter();
    story.settles_each(Broker::Sqs, Ordering::None);
    story.call("p", "g", 1, 500);
    story.bury("g", 1);
    story.violates(&[ONCE]);
    let body = story.evidence.stored[1].body;
    story.evidence.sent_again.insert(body, 1);
    story.is_kept();
    // And its copy was answered well.
    story.evidence.letters.pop();
    story.call("p", "g", 1, 200);
    story.is_kept();
}

/// An event and a letter as the plan of a run on another broker than Kafka tells them.
fn planned(letter: Message) -> Judgement {
    let mut story = Story::new();
    story.settles_each(Broker::Sqs, Ordering::Settled);
    story.evidence.run.functions.truncate(1);
    let tags = vec![tag("b", "2"), tag("a", "1")];
    let event = Entry::Produced(Message::of("k", b"event", tags));
    let plan = vec![Entry::Run(story.evidence.run.clone()), event, Entry::Letter(letter)];
    let mut evidence = Evidence::of(plan).unwrap();
    story.evidence.stored.clone_from(&evidence.stored);
    story.call("p", "f", 0, 400);
    story.evidence.calls[0].event_id = Some("sqs:1".to_owned());
    evidence.called(story.evidence.calls);
    judge(&evidence)
}

fn tag(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn a_letter_that_the_plan_tells_is_found_by_the_id_that_its_event_was_called_as() {
    let broken = |key, payload: &[u8], id, headers: &[(&str, &str)]| {
        let own = headers.iter().map(|(name, value)| tag(name, value));
        let notes = [tag("X-Dead-Letter-Position", id), tag("X-Dead-Letter-Function", "f")];
        let judgement = planned(Message::of(key, payload, own.chain(notes).collect()));
        let rule = judgement.rules.iter().find(|rule| rule.name == LETTERS).unwrap();
        assert_eq!(rule.checked, 1);
        rule.named.first().map(|named| named.rsplit(' ').next().unwrap().to_owned())
    };
    let tags = [("a", "1"), ("b", "2")];
    assert_eq!(broken("k", b"event", "sqs:1", &tags), None);
    assert_eq!(broken("k", b"event", "sqs:2", &tags).as_deref(), Some("event"));
    assert_eq!(broken("k", b"Event", "sqs:1", &tags).as_deref(), Some("payload"));
    assert_eq!(broken("l", b"event", "sqs:1", &tags).as_deref(), Some("key"));
    assert_eq!(broken("k", b"event", "sqs:1", &tags[..1]).as_deref(), Some("headers"));
}
