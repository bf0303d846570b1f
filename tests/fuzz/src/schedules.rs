//! Cron expressions. Input: the expressions as an annotation has them, and on the next line the
//! second of the epoch after which ticks are asked for.

use cron_connector::schedule::{Fold, Schedule, ScheduleOptions};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::{assert_readable, halves};

pub(crate) fn read(data: &[u8]) {
    let Some((text, second)) = halves(data) else { return };
    let instant = second.trim().parse().ok().and_then(|second| Timestamp::from_second(second).ok());
    let instant = instant.unwrap_or(Timestamp::UNIX_EPOCH);
    for (seconds, fold) in [(false, Fold::Once), (true, Fold::Twice)] {
        let options = ScheduleOptions { zone: TimeZone::UTC, seconds, fold };
        let schedule = match Schedule::parse(text, &options) {
            Ok(schedule) => schedule,
            Err(why) => {
                // The field and an item of it, as far as they are shown, each character escaped.
                assert_readable(&why.to_string(), 1_500);
                continue;
            }
        };
        let padded = Schedule::parse(&format!("  {text} "), &options);
        assert_eq!(padded.as_ref().ok(), Some(&schedule), "white space around changes nothing");
        ticks(&schedule, instant);
        // A list fires when one of its expressions does.
        let each = text.split(';').filter_map(|text| Schedule::parse(text, &options).ok());
        let first = each.filter_map(|one| next(&one, instant)).min();
        assert_eq!(next(&schedule, instant), first);
    }
}

/// Ticks come one after the other, and the same ones wherever the search for them begins.
fn ticks(schedule: &Schedule, instant: Timestamp) {
    let mut last = instant;
    for tick in schedule.ticks_after(instant, Timestamp::UNIX_EPOCH).take(3) {
        assert!(tick > last, "{tick} does not come after {last}");
        assert_eq!(tick.subsec_nanosecond(), 0);
        let between = last.as_second().midpoint(tick.as_second());
        for earlier in [between, tick.as_second() - 1] {
            let earlier = Timestamp::from_second(earlier).expect("it lies between two others");
            // Before 1970 what lies in the middle is rounded up, to the tick itself.
            if earlier >= last && earlier < tick {
                assert_eq!(next(schedule, earlier), Some(tick), "after {earlier}");
            }
        }
        last = tick;
    }
}

fn next(schedule: &Schedule, instant: Timestamp) -> Option<Timestamp> {
    schedule.next_after(instant, Timestamp::UNIX_EPOCH)
}
