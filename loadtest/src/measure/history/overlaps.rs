//! Bookings that overlap although both were valid at the same time.

use std::collections::BTreeMap;

use collector::trace::TraceId;

use super::{Anomaly, Entry};

/// Returns each pair of overlapping bookings of one tutor or of one student that were valid at the same time.
pub(super) fn find(entries: &BTreeMap<i64, Entry>) -> Vec<(Anomaly, String, Vec<TraceId>)> {
    let mut found = Vec::new();
    for (first, second) in pairs(entries, |entry| entry.seen.tutor) {
        let (a, b) = (&first.seen, &second.seen);
        let anomaly = match a.lesson.starts_at == b.lesson.starts_at {
            true => Anomaly::SoldTwice,
            false => Anomaly::DoubleBooking,
        };
        found.push((anomaly, describe("tutor", a.tutor, first, second), vec![a.trace, b.trace]));
    }
    for (first, second) in pairs(entries, |entry| entry.seen.student) {
        let (a, b) = (&first.seen, &second.seen);
        // The pair is known already if the tutor is the same, too.
        if a.tutor != b.tutor {
            let why = describe("student", a.student, first, second);
            found.push((Anomaly::DoubleBooking, why, vec![a.trace, b.trace]));
        }
    }
    found
}

fn describe(who: &str, id: i64, first: &Entry, second: &Entry) -> String {
    let (a, b) = (&first.seen, &second.seen);
    format!(
        "bookings {} and {} give {who} {id} two lessons, at {} and at {}",
        a.booking, b.booking, a.lesson.starts_at, b.lesson.starts_at
    )
}

/// Returns the pairs of overlapping bookings with the same `of`, each once.
fn pairs(entries: &BTreeMap<i64, Entry>, of: fn(&Entry) -> i64) -> Vec<(&Entry, &Entry)> {
    let mut sorted: Vec<&Entry> = entries.values().collect();
    sorted.sort_by_key(|entry| (of(entry), entry.seen.lesson, entry.seen.booking));
    let mut pairs = Vec::new();
    for (position, first) in sorted.iter().enumerate() {
        let rest = sorted[position + 1..].iter();
        let overlapping = rest.take_while(|second| {
            of(second) == of(first) && second.seen.lesson.starts_at < first.seen.lesson.ends_at
        });
        pairs.extend(
            overlapping.filter(|second| were_both_valid(first, second)).map(|second| (*first, *second)),
        );
    }
    pairs
}

/// Returns whether both were certainly valid at one time: neither was being cancelled when the other was confirmed, or both
/// are valid still.
fn were_both_valid(a: &Entry, b: &Entry) -> bool {
    let after = |cancelled: &Entry, other: &Entry| {
        cancelled.cancelling.is_none_or(|cancelling| cancelling > other.seen.confirmed)
    };
    let is_valid = |entry: &Entry| entry.cancelled.is_none() && !entry.listed_as_cancelled;
    (after(a, b) && after(b, a)) || (is_valid(a) && is_valid(b))
}
