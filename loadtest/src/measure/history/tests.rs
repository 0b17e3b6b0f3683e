//! Each kind of contradiction is found, and nothing that a correct system shows is one.

use chrono::{DateTime, TimeDelta};

use super::*;

/// The lesson that starts `half_hours` after midnight.
fn lesson(half_hours: i64) -> Slot {
    let starts_at = DateTime::UNIX_EPOCH + TimeDelta::minutes(30 * half_hours);
    Slot { starts_at, ends_at: starts_at + TimeDelta::hours(1) }
}

fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A booking of student 1 and tutor 1 that was confirmed at second `booking`.
fn seen(booking: i64, half_hours: i64) -> SeenBooking {
    SeenBooking {
        booking,
        student: 1,
        tutor: 1,
        lesson: lesson(half_hours),
        trace: TraceId(booking as u128),
        key: booking.to_string(),
        confirmed: second(booking as u64),
    }
}

fn history(bookings: impl IntoIterator<Item = SeenBooking>) -> History {
    let mut history = History::default();
    bookings.into_iter().for_each(|seen| history.booked(seen));
    history
}

#[track_caller]
fn assert_found(history: History, expected: &[(Anomaly, u64)]) {
    let found = history.contradictions();
    let counts: Vec<(Anomaly, u64)> = found.iter().map(|(kind, found)| (*kind, found.count)).collect();
    assert_eq!(counts, expected, "{found:?}");
}

#[test]
fn lessons_that_touch_do_not_overlap() {
    assert_found(history([seen(1, 0), seen(2, 2), SeenBooking { student: 2, tutor: 2, ..seen(3, 0) }]), &[]);
}

#[test]
fn finds_overlaps_of_a_tutor_and_of_a_student_once() {
    let of_tutor = [seen(1, 0), SeenBooking { student: 2, ..seen(2, 1) }];
    assert_found(history(of_tutor), &[(Anomaly::DoubleBooking, 1)]);
    let of_student = [seen(1, 0), SeenBooking { tutor: 2, ..seen(2, 0) }];
    assert_found(history(of_student), &[(Anomaly::DoubleBooking, 1)]);
    let of_both = history([seen(1, 0), seen(2, 1)]).contradictions();
    let found = &of_both[&Anomaly::DoubleBooking];
    assert_eq!((found.count, &found.examples[0].traces), (1, &vec![TraceId(1), TraceId(2)]));
    let sold =
        [seen(1, 4), SeenBooking { student: 2, ..seen(2, 4) }, SeenBooking { student: 3, ..seen(3, 4) }];
    assert_found(history(sold), &[(Anomaly::SoldTwice, 3)]);
}

#[test]
fn a_slot_may_be_booked_again_once_its_cancellation_was_sent() {
    let again = || SeenBooking { student: 2, ..seen(5, 0) };
    let mut right = history([seen(1, 0)]);
    right.cancelling(1, second(4));
    right.booked(again());
    right.cancelled(1, second(6), TraceId(9));
    assert_found(right, &[]);

    let mut too_late = history([seen(1, 0), again()]);
    too_late.cancelling(1, second(6));
    too_late.cancelled(1, second(7), TraceId(9));
    assert_found(too_late, &[(Anomaly::SoldTwice, 1)]);

    let mut not_cancelled = history([seen(1, 0)]);
    not_cancelled.cancelling(1, second(4));
    not_cancelled.booked(again());
    not_cancelled.listed(1, false, second(8), None);
    assert_found(not_cancelled, &[(Anomaly::SoldTwice, 1)]);

    let mut without_reply = history([seen(1, 0)]);
    without_reply.cancelling(1, second(4));
    without_reply.booked(again());
    without_reply.listed(1, true, second(8), None);
    assert_found(without_reply, &[]);
}

#[test]
fn a_read_is_stale_if_the_slot_was_booked_for_longer_than_the_bound() {
    let read = |offered: &[Slot], sent: Duration, cancelling: bool| {
        let mut history = history([seen(1, 4)]);
        if cancelling {
            history.cancelling(1, second(1));
        }
        history.slots_read(1, offered, sent, TraceId(7));
        history.slots_read(2, offered, sent, TraceId(8));
        history
    };
    let late = second(1) + STALENESS_BOUND;
    for overlapping in [3, 4, 5] {
        let found = read(&[lesson(0), lesson(overlapping)], late, false);
        assert_found(found, &[(Anomaly::StaleRead, 1)]);
    }
    assert_found(read(&[lesson(0), lesson(2), lesson(6)], late, false), &[]);
    assert_found(read(&[lesson(4)], late - Duration::from_millis(1), false), &[]);
    assert_found(read(&[lesson(4)], late, true), &[]);
}

#[test]
fn finds_a_cancelled_booking_that_is_listed_again() {
    let mut history = history([seen(1, 0)]);
    history.listed(1, false, second(2), Some(TraceId(2)));
    history.cancelling(1, second(3));
    history.cancelled(1, second(5), TraceId(3));
    // This list was read while the booking was being cancelled.
    history.listed(1, false, second(4), Some(TraceId(4)));
    history.listed(1, true, second(6), Some(TraceId(6)));
    assert!(history.contradictions.is_empty());
    history.listed(1, false, second(7), Some(TraceId(7)));
    assert_found(history, &[(Anomaly::CameBack, 1)]);
}

#[test]
fn finds_different_replies_to_a_key_and_one_booking_for_two_keys() {
    let mut history = history([seen(1, 0)]);
    history.repeated(("{1}", TraceId(1)), ("{1}", TraceId(2)));
    assert!(history.contradictions.is_empty());
    history.repeated(("{1}", TraceId(1)), ("{2}", TraceId(3)));
    history.booked(SeenBooking { trace: TraceId(4), ..seen(1, 0) });
    assert_eq!(history.contradictions[&Anomaly::KeyReplies].count, 1, "the same request again");
    history.booked(SeenBooking { trace: TraceId(4), key: "another".into(), ..seen(1, 0) });
    assert_found(history, &[(Anomaly::KeyReplies, 2)]);
}

#[test]
fn keeps_a_limited_number_of_examples() {
    let found = history((1..=8).map(|n| SeenBooking { student: n, ..seen(n, 0) })).contradictions();
    let sold = &found[&Anomaly::SoldTwice];
    assert_eq!((sold.count, sold.examples.len()), (28, MAX_EXAMPLES));
}
