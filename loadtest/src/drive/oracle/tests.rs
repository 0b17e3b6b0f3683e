//! Correct replies are verified; every kind of wrong reply is detected.

use super::*;

mod calendar;

const JSON: &str = "application/json";

fn math() -> (Expectation, Value) {
    let oracle = Oracle::new(1000);
    let subject = dataset::SUBJECTS.iter().position(|subject| *subject == "Math").unwrap();
    let Expectation::Tutors(expected) = oracle.tutors(subject) else { panic!("not tutors") };
    (Expectation::Tutors(Arc::clone(&expected)), json!({ "cached": true, "data": *expected }))
}

fn judge(expectation: &Expectation, reply: &Value) -> Verdict {
    expectation.judge(200, JSON, reply.to_string().as_bytes())
}

#[track_caller]
fn assert_wrong(verdict: &Verdict, part: &str) {
    assert!(matches!(verdict, Verdict::Wrong(why) if why.contains(part)), "{verdict:?}");
}

#[test]
fn verifies_the_right_tutors() {
    let (expectation, reply) = math();
    let cached = Facts { cached: Some(true), ..Facts::default() };
    assert_eq!(judge(&expectation, &reply), Verdict::Verified(cached));
}

#[test]
fn expects_tutors_by_rating_then_id() {
    let (_, reply) = math();
    let tutors = reply["data"].as_array().unwrap();
    assert!(tutors.len() > 1, "the catalogue has several tutors of Math");
    assert!(
        tutors.iter().any(|tutor| tutor["id"] == 1 && tutor["name"] == "Alice" && tutor["rating"] == 4.9)
    );
    let order: Vec<(f64, i64)> =
        tutors.iter().map(|t| (-t["rating"].as_f64().unwrap(), t["id"].as_i64().unwrap())).collect();
    assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{order:?}");
}

#[test]
fn rejects_a_changed_field_a_missing_tutor_and_another_order() {
    let (expectation, right) = math();
    for field in ["id", "name", "subject", "rating"] {
        let mut reply = right.clone();
        reply["data"][1][field] = json!("changed");
        assert_wrong(&judge(&expectation, &reply), "tutor 2");
    }
    let mut fewer = right.clone();
    fewer["data"].as_array_mut().unwrap().pop();
    assert_wrong(&judge(&expectation, &fewer), "tutors, got");
    let mut swapped = right.clone();
    swapped["data"].as_array_mut().unwrap().swap(0, 1);
    assert_wrong(&judge(&expectation, &swapped), "tutor 1");
    let mut extra = right.clone();
    extra["data"][0]["password"] = json!("leaked");
    assert_wrong(&judge(&expectation, &extra), "leaked");
    let mut vague = right;
    vague["cached"] = json!("yes");
    assert_wrong(&judge(&expectation, &vague), "cached");
}

#[test]
fn expects_an_empty_list_for_an_unknown_subject() {
    let nothing = Oracle::new(10).no_tutors();
    assert!(matches!(judge(&nothing, &json!({ "cached": false, "data": [] })), Verdict::Verified(_)));
    assert_wrong(&judge(&nothing, &json!({ "cached": false, "data": null })), "not a list");
}

#[test]
fn verifies_a_refusal_by_status_and_code() {
    let expectation = Expectation::Refused { status: 401, code: "invalid_token" };
    let problem = |code: &str| json!({ "status": 401, "code": code }).to_string();
    assert!(matches!(
        expectation.judge(401, PROBLEM, problem("invalid_token").as_bytes()),
        Verdict::Verified(_)
    ));
    assert_wrong(
        &expectation.judge(401, PROBLEM, problem("token_expired").as_bytes()),
        "expected the problem",
    );
    assert_wrong(&expectation.judge(401, JSON, problem("invalid_token").as_bytes()), "problem+json");
    assert_wrong(&expectation.judge(200, JSON, b"{}"), "expected 401, got 200");
    assert!(matches!(expectation.judge(500, PROBLEM, b"{}"), Verdict::Failed(_)));
}

#[test]
fn quotes_a_limited_part_of_an_unexpected_body() {
    let long = "ü".repeat(10_000);
    let Verdict::Failed(why) = Expectation::Token.judge(503, PROBLEM, long.as_bytes()) else {
        panic!("not a failure")
    };
    assert!(why.starts_with("expected 200, got 503: ü") && why.chars().count() < 250, "{why}");
}

#[test]
fn rejects_a_missing_or_expired_token() {
    let right = json!({ "access_token": "a.b.c", "token_type": "bearer", "expires_in": 3600 });
    assert!(matches!(judge(&Expectation::Token, &right), Verdict::Verified(Facts { token: Some(_), .. })));
    for (member, value) in
        [("access_token", json!("")), ("token_type", json!("mac")), ("expires_in", json!(0))]
    {
        let mut reply = right.clone();
        reply[member] = value;
        assert!(matches!(judge(&Expectation::Token, &reply), Verdict::Wrong(_)), "{member}");
    }
    assert_wrong(&Expectation::Token.judge(200, JSON, b"<html>"), "not JSON");
}
