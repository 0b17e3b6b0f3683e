//! Time zones, both changes of the clock, and the edges of hours and lessons.

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A timetable with the same hours every day, in minutes since midnight.
fn daily(zone: Tz, from: i16, until: i16) -> Timetable {
    Timetable { zone, hours: (1..=7).filter_map(|weekday| WeeklyHours::new(weekday, from, until)).collect() }
}

/// The starts of the free lessons between two instants, in UTC, without the date.
fn starts(timetable: &Timetable, busy: &[Range<DateTime<Utc>>], from: &str, until: &str) -> Vec<String> {
    let times = at(from)..at(until);
    timetable.free(busy, &times).map(|slot| slot.starts_at.format("%H:%M").to_string()).collect()
}

#[test]
fn a_lesson_starts_every_thirty_minutes_and_ends_within_the_hours() {
    let timetable = daily(Tz::UTC, 9 * 60, 11 * 60);
    let day = starts(&timetable, &[], "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z");
    assert_eq!(day, ["09:00", "09:30", "10:00"]);
    let odd = daily(Tz::UTC, 9 * 60 + 1, 11 * 60 - 1);
    assert_eq!(starts(&odd, &[], "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z"), ["09:30"]);
}

#[test]
fn the_requested_times_are_half_open() {
    let timetable = daily(Tz::UTC, 0, 1440);
    assert_eq!(starts(&timetable, &[], "2026-01-05T09:00:00Z", "2026-01-05T09:30:00Z"), ["09:00"]);
    assert_eq!(starts(&timetable, &[], "2026-01-05T09:00:00.000001Z", "2026-01-05T10:00:00Z"), ["09:30"]);
    assert_eq!(starts(&timetable, &[], "2026-01-05T09:00:00Z", "2026-01-05T09:00:00Z"), [""; 0]);
}

#[test]
fn a_lesson_does_not_cross_midnight() {
    let timetable = daily(Tz::Europe__Berlin, 22 * 60, 1440);
    let night = starts(&timetable, &[], "2026-01-05T20:00:00Z", "2026-01-06T02:00:00Z");
    assert_eq!(night, ["21:00", "21:30", "22:00"], "22:00, 22:30 and 23:00 in Berlin");
    let always = daily(Tz::UTC, 0, 1440);
    assert!(!always.offers(at("2026-01-05T23:30:00Z")));
    assert!(always.offers(at("2026-01-05T23:00:00Z")) && always.offers(at("2026-01-06T00:00:00Z")));
}

#[test]
fn hours_are_those_of_the_local_weekday() {
    let monday = vec![WeeklyHours::new(1, 8 * 60, 10 * 60).unwrap()];
    let timetable = Timetable { zone: Tz::Asia__Kathmandu, hours: monday };
    // Sunday in New York and London, Monday in Kathmandu.
    let found: Vec<Slot> =
        timetable.free(&[], &(at("2026-01-04T00:00:00Z")..at("2026-01-11T00:00:00Z"))).collect();
    let starts: Vec<DateTime<Utc>> = found.iter().map(|slot| slot.starts_at).collect();
    assert_eq!(starts, ["02:15", "02:45", "03:15"].map(|time| at(&format!("2026-01-05T{time}:00Z"))));
}

#[test]
fn the_grid_of_kathmandu_lies_a_quarter_of_an_hour_off() {
    let timetable = daily(Tz::Asia__Kathmandu, 8 * 60, 20 * 60);
    assert!(timetable.offers(at("2026-01-05T02:15:00Z")));
    assert!(!timetable.offers(at("2026-01-05T03:00:00Z")) && !timetable.offers(at("2026-01-05T03:30:00Z")));
    // The zone's offset before 1986 was five and a half hours.
    assert!(timetable.offers(at("1985-01-07T02:30:00Z")));
}

#[test]
fn the_hour_that_the_clock_skips_has_no_lesson() {
    // On 29 March 2026 at 2:00 the clocks of Berlin change to 3:00.
    let timetable = daily(Tz::Europe__Berlin, 60, 4 * 60);
    let night = starts(&timetable, &[], "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
    assert_eq!(night, ["00:00", "00:30", "01:00"], "1:00, 1:30 and 3:00; two hours in all");
    let until_three = daily(Tz::Europe__Berlin, 60, 3 * 60);
    let night = starts(&until_three, &[], "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
    assert_eq!(night, ["00:00"], "a lesson from 1:30 would end at 3:30");
    // On 8 March 2026 at 2:00 the clocks of New York change to 3:00.
    let timetable = daily(Tz::America__New_York, 60, 4 * 60);
    assert_eq!(
        starts(&timetable, &[], "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"),
        ["06:00", "06:30", "07:00"]
    );
}

#[test]
fn the_hour_that_the_clock_repeats_has_lessons_twice() {
    // On 25 October 2026 at 3:00 the clocks of Berlin change to 2:00.
    let timetable = daily(Tz::Europe__Berlin, 60, 4 * 60);
    let night = starts(&timetable, &[], "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
    assert_eq!(night, ["23:00", "23:30", "00:00", "00:30", "01:00", "01:30", "02:00"], "four hours in all");
    let half_an_hour = daily(Tz::Europe__Berlin, 2 * 60, 2 * 60 + 30);
    let night = starts(&half_an_hour, &[], "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
    assert_eq!(
        night, [""; 0],
        "two separate halves of an hour are no lesson, although both are within the hours"
    );
    // On 1 November 2026 at 2:00 the clocks of New York change to 1:00.
    let timetable = daily(Tz::America__New_York, 60, 2 * 60);
    assert_eq!(
        starts(&timetable, &[], "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"),
        ["05:00", "05:30", "06:00"]
    );
}

#[test]
fn lessons_in_winter_and_in_summer_start_at_the_same_local_time() {
    let timetable = daily(Tz::Europe__Berlin, 9 * 60, 10 * 60);
    assert_eq!(starts(&timetable, &[], "2026-03-28T00:00:00Z", "2026-03-30T00:00:00Z"), ["08:00", "07:00"]);
    assert_eq!(starts(&timetable, &[], "2026-10-24T00:00:00Z", "2026-10-26T00:00:00Z"), ["07:00", "08:00"]);
}

#[test]
fn a_busy_time_excludes_the_lessons_that_it_overlaps_and_no_other() {
    let timetable = daily(Tz::UTC, 9 * 60, 13 * 60);
    let busy = [
        at("2026-01-04T09:00:00Z")..at("2026-01-04T10:00:00Z"),
        at("2026-01-05T10:00:00Z")..at("2026-01-05T11:00:00Z"),
    ];
    let free = starts(&timetable, &busy, "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z");
    assert_eq!(free, ["09:00", "11:00", "11:30", "12:00"]);
    let quarter_off = [at("2026-01-05T10:15:00Z")..at("2026-01-05T11:15:00Z")];
    let free = starts(&timetable, &quarter_off, "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z");
    assert_eq!(free, ["09:00", "11:30", "12:00"]);
}

#[test]
fn an_instant_off_the_grid_is_not_offered() {
    let timetable = daily(Tz::UTC, 0, 1440);
    for off in ["09:00:01Z", "09:00:00.5Z", "09:15:00Z", "09:01:00Z", "09:59:60Z"] {
        assert!(!timetable.offers(at(&format!("2026-01-05T{off}"))), "{off}");
    }
}
