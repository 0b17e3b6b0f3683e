//! Replies about lessons.

use super::*;

fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap()
}

fn earliest(may_be_full: bool) -> Expectation {
    Expectation::Booked { student: 7, tutor: 9, starts_at: None, may_be_full }
}

fn chosen() -> Expectation {
    let starts_at = Some(at("2026-12-01T09:00:00Z"));
    Expectation::Booked { student: 7, tutor: 9, starts_at, may_be_full: true }
}

fn confirmation() -> Value {
    json!({
        "status": "success", "booking_id": 41, "student_id": 7, "tutor_id": 9,
        "starts_at": "2026-12-01T09:00:00Z", "ends_at": "2026-12-01T10:00:00Z",
    })
}

#[test]
fn rejects_a_booking_of_another_student_tutor_or_time() {
    let right = confirmation();
    for expectation in [earliest(false), chosen()] {
        let Verdict::Verified(Facts { booked: Some(booked), .. }) = judge(&expectation, &right) else {
            panic!("{expectation:?}")
        };
        assert_eq!((booked.booking, booked.lesson.starts_at), (41, at("2026-12-01T09:00:00Z")));
        assert_eq!(booked.reply, right.to_string());
    }
    for (member, value, why) in [
        ("student_id", json!(8), "expected tutor 9 booked for student 7"),
        ("tutor_id", json!(8), "expected tutor 9 booked for student 7"),
        ("status", json!("queued"), "expected tutor 9 booked for student 7"),
        ("booking_id", Value::Null, "no booking_id"),
        ("ends_at", json!("2026-12-01T09:30:00Z"), "not a lesson of one hour"),
        ("starts_at", json!("9:00"), "not a lesson of one hour"),
        ("starts_at", json!("2026-12-01T10:00:00+01:00"), "not a lesson of one hour"),
    ] {
        let mut reply = right.clone();
        reply[member] = value;
        assert_wrong(&judge(&earliest(false), &reply), why);
    }
    let mut another = right;
    (another["starts_at"], another["ends_at"]) =
        (json!("2026-12-01T10:00:00Z"), json!("2026-12-01T11:00:00Z"));
    assert_wrong(&judge(&chosen(), &another), "expected a lesson at 2026-12-01 09:00:00 UTC");
}

#[test]
fn accepts_a_conflict_only_where_it_can_be_right() {
    let problem = |code: &str, alternatives: Value| json!({ "code": code, "alternatives": alternatives });
    let full = problem("no_free_slot", Value::Null);
    let taken = |alternatives| problem("slot_taken", alternatives);
    let others = json!(["2026-12-01T10:00:00Z", "2026-12-01T10:30:00Z"]);
    let conflict = |expectation: &Expectation, status, media_type, problem: &Value| {
        expectation.judge(status, media_type, problem.to_string().as_bytes()) == Verdict::Conflict
    };
    assert!(conflict(&earliest(true), 409, PROBLEM, &full));
    assert!(conflict(&chosen(), 409, PROBLEM, &taken(others.clone())));
    assert!(conflict(&chosen(), 409, PROBLEM, &taken(json!([]))));
    for (expectation, status, media_type, problem) in [
        (earliest(false), 409, PROBLEM, full.clone()),
        (earliest(true), 404, PROBLEM, full.clone()),
        (earliest(true), 409, JSON, full.clone()),
        (chosen(), 409, PROBLEM, full),
        (earliest(true), 409, PROBLEM, taken(others.clone())),
        (chosen(), 409, PROBLEM, problem("already_cancelled", others)),
        (chosen(), 409, PROBLEM, taken(Value::Null)),
        (chosen(), 409, PROBLEM, taken(json!(["2026-12-01T09:00:00Z"]))),
        (chosen(), 409, PROBLEM, taken(json!(vec!["2026-12-01T10:00:00Z"; 6]))),
        (chosen(), 409, PROBLEM, taken(json!(["soon"]))),
    ] {
        assert!(!conflict(&expectation, status, media_type, &problem), "{expectation:?} {status} {problem}");
    }
}

#[test]
fn expects_free_slots_in_ascending_order_on_the_grid_and_in_the_requested_time() {
    let times = at("2026-12-01T00:00:00Z")..at("2026-12-02T00:00:00Z");
    let expectation = Expectation::Slots { tutor: 3, times };
    let offered = |slots: &[(&str, &str)]| {
        let time = |time: &str| format!("2026-12-{time}:00Z");
        let slot = |(start, end): &(&str, &str)| json!({ "starts_at": time(start), "ends_at": time(end) });
        let slots: Vec<Value> = slots.iter().map(slot).collect();
        json!({ "tutor_id": 3, "time_zone": "Asia/Kathmandu", "slots": slots })
    };
    let right = offered(&[("01T08:15", "01T09:15"), ("01T08:45", "01T09:45")]);
    let Verdict::Verified(Facts { offered: Some(slots), .. }) = judge(&expectation, &right) else {
        panic!("{:?}", judge(&expectation, &right))
    };
    assert_eq!((slots.len(), slots[1].starts_at), (2, at("2026-12-01T08:45:00Z")));
    for (slots, why) in [
        (&[("01T08:45", "01T09:45"), ("01T08:15", "01T09:15")][..], "not in ascending order"),
        (&[("01T08:15", "01T09:15"), ("01T08:15", "01T09:15")], "not in ascending order"),
        (&[("01T08:15", "01T09:00")], "not a slot of one hour"),
        (&[("01T08:20", "01T09:20")], "off the grid"),
        (&[("01T08:15", "01T09:15"), ("01T09:00", "01T10:00")], "off the grid"),
        (&[("02T00:00", "02T01:00")], "which is not from 2026-12-01"),
    ] {
        assert_wrong(&judge(&expectation, &offered(slots)), why);
    }
    for (member, value) in [("tutor_id", json!(4)), ("time_zone", json!("UTC")), ("slots", json!({}))] {
        let mut reply = right.clone();
        reply[member] = value;
        assert!(matches!(judge(&expectation, &reply), Verdict::Wrong(_)), "{member}");
    }
}

#[test]
fn expects_the_booking_to_be_cancelled_once() {
    let cancel = |may_be_cancelled| Expectation::Cancelled { booking: 41, may_be_cancelled };
    let done = Verdict::Verified(Facts { cancelled: Some(41), ..Facts::default() });
    let right = json!({ "status": "cancelled", "booking_id": 41, "cancelled_at": "2026-12-01T09:00:00.5Z" });
    assert_eq!(judge(&cancel(false), &right), done);
    for (member, value) in [("booking_id", json!(42)), ("status", json!("ok")), ("cancelled_at", Value::Null)]
    {
        let mut reply = right.clone();
        reply[member] = value;
        assert_wrong(&judge(&cancel(false), &reply), "expected booking 41 cancelled");
    }
    let before = json!({ "status": 409, "code": "already_cancelled" }).to_string();
    assert_eq!(cancel(true).judge(409, PROBLEM, before.as_bytes()), done);
    assert!(matches!(cancel(false).judge(409, PROBLEM, before.as_bytes()), Verdict::Failed(_)));
}

#[test]
fn expects_own_bookings_newest_first_with_the_new_one() {
    let listed = |rows: &[(i64, i64)]| -> Value {
        let row = |(id, of): &(i64, i64)| json!({ "booking_id": id, "student_id": of });
        json!({ "bookings": rows.iter().map(row).collect::<Vec<Value>>() })
    };
    let expectation = Expectation::Bookings { student: 7, booked: Some(41) };
    let mut right = listed(&[(50, 7), (41, 7)]);
    right["bookings"][0]["cancelled_at"] = json!("2026-12-01T09:00:00Z");
    let facts = Facts { listed: vec![(50, true), (41, false)], ..Facts::default() };
    assert_eq!(judge(&expectation, &right), Verdict::Verified(facts));
    assert_wrong(&judge(&expectation, &listed(&[(50, 7)])), "41 is missing");
    assert_wrong(&judge(&expectation, &listed(&[(41, 7), (50, 7)])), "newest first");
    assert_wrong(&judge(&expectation, &listed(&[(50, 8), (41, 7)])), "another student than 7");
}
