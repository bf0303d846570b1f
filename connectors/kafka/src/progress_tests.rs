//! Properties of the metadata: what is written is read, nothing else is, and it always fits.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Records in order of arrival: the distance from the one before, and whether each is finished.
fn arrivals() -> impl Strategy<Value = (Vec<Place>, Vec<bool>)> {
    let step = prop_oneof![4 => Just(1_i64), 1 => 1..50_i64, 1 => 1..5_000_000_i64];
    (0..1_i64 << 50, vec((step, any::<bool>(), 0..3_i32), 1..600)).prop_map(|(start, steps)| {
        let mut previous = start - 1;
        let mut epoch = 0;
        let mut places = Vec::new();
        let mut finished = Vec::new();
        for (step, done, newer) in steps {
            let offset = previous + step;
            epoch += i32::from(newer == 0);
            places.push(Place { offset, previous, timestamp: offset * 3, epoch });
            finished.push(done);
            previous = offset;
        }
        // The head is what nothing is finished before.
        finished[0] = false;
        (places, finished)
    })
}

fn beyond(places: &[Place], finished: &[bool]) -> Beyond {
    let done = places.iter().zip(finished).filter(|(_, done)| **done).map(|(place, _)| place);
    Beyond::new(&places[0], None, done)
}

proptest! {
    #[test]
    fn what_is_listed_is_exactly_what_finished((places, finished) in arrivals()) {
        let written = beyond(&places, &finished);
        let text = written.encode();
        prop_assert!(text.is_ascii() && text.len() <= LIMIT);
        prop_assert!(is_ours(text.as_bytes()));

        let read = Beyond::decode(text.as_bytes(), places[0].offset);
        let Some(read) = read else {
            prop_assert!(finished.iter().all(|done| !done));
            return Ok(());
        };
        prop_assert!(read.is_headed_by(&places[0]));
        let whole = text.len() < LIMIT - 40;
        for (place, done) in places.iter().zip(&finished) {
            prop_assert!(!read.lists(place) || *done, "lists {place:?}, which is not finished");
            prop_assert!(read.lists(place) || !*done || !whole, "does not list {place:?}");
        }
    }

    #[test]
    fn what_a_restart_read_is_written_again((places, finished) in arrivals(), cut in 1..599_usize) {
        // Of those listed before the restart nothing is tracked; what finished since is.
        let cut = cut.min(places.len());
        let before = beyond(&places[..cut], &finished[..cut]);
        let text = before.encode();
        let known = Beyond::decode(text.as_bytes(), places[0].offset);
        let since = places.iter().zip(&finished).skip(cut).filter(|(_, done)| **done).map(|(p, _)| p);
        let after = Beyond::new(&places[0], known.as_ref(), since);
        let text = after.encode();
        if text.len() < LIMIT - 40 {
            for (place, done) in places.iter().zip(&finished) {
                prop_assert_eq!(after.lists(place), *done);
            }
        }
    }

    #[test]
    fn the_bound_holds((places, finished) in arrivals()) {
        let unfinished = finished.iter().skip(1).filter(|done| !**done).count();
        let span = places[places.len() - 1].offset.abs_diff(places[0].offset);
        let text = beyond(&places, &finished).encode();
        prop_assert!(text.len() <= longest(unfinished, span), "{} characters", text.len());
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..200), at in any::<i64>()) {
        let _ = Beyond::decode(&bytes, at);
        let mut ours = format!("{MARK}.{at}.1.1.1.").into_bytes();
        ours.extend(bytes.iter().map(|byte| DIGITS[usize::from(byte % 64)]));
        let _ = Beyond::decode(&ours, at);
    }
}

fn place(offset: i64) -> Place {
    Place { offset, previous: offset - 1, timestamp: 1_700_000_000_000 + offset, epoch: 4 }
}

#[test]
fn foreign_and_stale_metadata_is_ignored() {
    let text = Beyond::new(&place(10), None, [place(12)].iter()).encode();
    assert!(Beyond::decode(text.as_bytes(), 10).is_some());
    assert_eq!(Beyond::decode(text.as_bytes(), 11), None, "written for another offset");
    for foreign in
        ["", "{\"offset\":10}", MARK, "tributary.2.10.1.1.1.AA", "tributary.1.10.1.1.1.A"]
    {
        assert_eq!(Beyond::decode(foreign.as_bytes(), 10), None, "{foreign}");
    }
    let mut longer = text;
    longer.push_str(".A");
    assert_eq!(Beyond::decode(longer.as_bytes(), 10), None, "more fields than we write");
}

#[test]
fn another_record_at_the_heads_offset_is_not_the_head() {
    let beyond = Beyond::new(&place(10), None, [place(12)].iter());
    assert!(beyond.is_headed_by(&place(10)));
    assert!(!beyond.is_headed_by(&Place { timestamp: 5, ..place(10) }), "the topic was recreated");
    assert!(!beyond.is_headed_by(&place(11)), "the head was compacted away");
}

#[test]
fn a_record_of_a_later_leader_is_not_believed_finished() {
    let beyond = Beyond::new(&place(10), None, [place(12)].iter());
    assert!(beyond.lists(&place(12)));
    assert!(!beyond.lists(&Place { epoch: 5, ..place(12) }), "the log was cut and written anew");
}

#[test]
fn holes_do_not_break_a_run() {
    // One record and one control record to each transaction.
    let places: Vec<_> = (0..5_000_i64)
        .map(|n| Place { offset: 2 * n, previous: 2 * n - 2, timestamp: n, epoch: 0 })
        .collect();
    let text = Beyond::new(&places[0], None, places[1..].iter()).encode();
    assert!(text.len() < 60, "{text}");
}

#[test]
fn a_full_window_of_a_thousand_leaves_room_for_five_thousand_finished() {
    assert!(longest(1_000, 6_000) <= LIMIT, "{}", longest(1_000, 6_000));
}
