//! Verifies the content of each reply, not only its status.
//!
//! Checks the bytes of the reply instead of values decoded with the services' own types: renaming a member on both sides
//! still breaks every other client. The expected replies follow from the seeded data set alone, so a wrong row in the
//! database is detected.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta};
use serde_json::{Value, json};
use system::api::Tutor;
use system::dataset;

#[cfg(test)]
mod tests;

/// Maximum number of characters of an unexpected body that a reason quotes.
const MAX_QUOTED_CHARS: usize = 160;

/// Length of a lesson.
const LESSON: TimeDelta = TimeDelta::hours(1);

/// The expected reply to a request.
#[derive(Clone, Debug)]
pub(crate) enum Expectation {
    /// 200 and a bearer token.
    Token,
    /// 200 and exactly these tutors, in this order.
    Tutors(Arc<Value>),
    /// 200 and a confirmation of this booking.
    Booked { student: i64, tutor: i64 },
    /// 200 and this student's bookings, newest first, including `booked`.
    Bookings { student: i64, booked: Option<i64> },
    /// Exactly this status and problem code.
    Refused { status: u16, code: &'static str },
}

/// Facts of a verified reply.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// Token of a log-in.
    pub(crate) token: Option<String>,
    /// Id of the new booking.
    pub(crate) booking: Option<i64>,
    /// Whether the search was answered from the cache.
    pub(crate) cached: Option<bool>,
}

/// The verdict on one reply. The texts give the expectation and the reply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Every checked detail is right.
    Verified(Facts),
    /// A reply that a client would accept although it is wrong, or a refusal for the wrong reason.
    Wrong(String),
    /// An unexpected status.
    Failed(String),
}

/// The expected replies.
pub(crate) struct Oracle {
    by_subject: Vec<Arc<Value>>,
    ids: Vec<Vec<i64>>,
    nothing: Arc<Value>,
}

impl Oracle {
    /// Creates the oracle of a system that was seeded with this number of tutors.
    pub(crate) fn new(tutors: u32) -> Self {
        let found = dataset::SUBJECTS.map(|subject| dataset::search(tutors, subject));
        Oracle {
            by_subject: found
                .iter()
                .map(|tutors| Arc::new(tutors.iter().map(on_the_wire).collect()))
                .collect(),
            ids: found.iter().map(|tutors| tutors.iter().map(|tutor| tutor.id).collect()).collect(),
            nothing: Arc::new(json!([])),
        }
    }

    /// Returns the tutor ids of each subject, in the order of [`dataset::SUBJECTS`].
    pub(crate) fn tutor_ids(&self) -> &[Vec<i64>] {
        &self.ids
    }

    /// Expects the tutors of a subject, by index; no tutors for an index beyond the catalogue.
    pub(crate) fn tutors(&self, subject: usize) -> Expectation {
        Expectation::Tutors(Arc::clone(self.by_subject.get(subject).unwrap_or(&self.nothing)))
    }

    /// Expects an empty list of tutors.
    pub(crate) fn no_tutors(&self) -> Expectation {
        Expectation::Tutors(Arc::clone(&self.nothing))
    }
}

fn on_the_wire(tutor: &Tutor) -> Value {
    json!({ "id": tutor.id, "name": tutor.name, "subject": tutor.subject, "rating": tutor.rating })
}

impl Expectation {
    /// Returns the expected status.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Expectation::Refused { status, .. } => *status,
            _ => 200,
        }
    }

    /// Returns whether a reply with this status is the refusal that the request is meant to get.
    pub(crate) fn is_refused_with(&self, status: u16) -> bool {
        matches!(self, Expectation::Refused { status: intended, .. } if *intended == status)
    }

    /// Verifies a complete reply.
    pub(crate) fn judge(&self, status: u16, content_type: &str, body: &[u8]) -> Verdict {
        let refusal = matches!(self, Expectation::Refused { .. });
        if status != self.status() {
            let why = format!("expected {}, got {status}: {}", self.status(), quote(body));
            // Accepting a malicious request is a wrong reply, not a mere failure.
            return if refusal && (200..300).contains(&status) {
                Verdict::Wrong(why)
            } else {
                Verdict::Failed(why)
            };
        }
        let media_type = if refusal { "application/problem+json" } else { "application/json" };
        if content_type.split(';').next().map(str::trim) != Some(media_type) {
            return Verdict::Wrong(format!("expected {media_type}, got {content_type:?}"));
        }
        let Ok(reply) = serde_json::from_slice::<Value>(body) else {
            return Verdict::Wrong(format!("not JSON: {}", quote(body)));
        };
        match self.check(&reply) {
            Ok(facts) => Verdict::Verified(facts),
            Err(why) => Verdict::Wrong(why),
        }
    }

    fn check(&self, reply: &Value) -> Result<Facts, String> {
        match self {
            Expectation::Token => token(reply),
            Expectation::Tutors(expected) => tutors(reply, expected),
            Expectation::Booked { student, tutor } => booked(reply, *student, *tutor),
            Expectation::Bookings { student, booked } => bookings(reply, *student, *booked),
            Expectation::Refused { status, code } => {
                let reported = (reply["code"].as_str(), reply["status"].as_u64());
                ensure(reported == (Some(*code), Some(u64::from(*status))), || {
                    format!("expected the problem {code} with status {status}, got {reply}")
                })?;
                Ok(Facts::default())
            }
        }
    }
}

fn token(reply: &Value) -> Result<Facts, String> {
    ensure(reply["token_type"] == "bearer", || {
        format!("no bearer token: token_type is {}", reply["token_type"])
    })?;
    ensure(reply["expires_in"].as_u64().is_some_and(|seconds| seconds > 0), || {
        format!("expired token: expires_in is {}", reply["expires_in"])
    })?;
    let token = reply["access_token"].as_str().filter(|token| !token.is_empty());
    ensure(token.is_some(), || "no access_token".into())?;
    Ok(Facts { token: token.map(str::to_owned), ..Facts::default() })
}

fn tutors(reply: &Value, expected: &Value) -> Result<Facts, String> {
    let cached = reply["cached"].as_bool();
    ensure(cached.is_some(), || format!("cached is {}, not a boolean", reply["cached"]))?;
    ensure(&reply["data"] == expected, || difference(&reply["data"], expected))?;
    Ok(Facts { cached, ..Facts::default() })
}

fn difference(got: &Value, expected: &Value) -> String {
    let (Some(got), Some(expected)) = (got.as_array(), expected.as_array()) else {
        return format!("data is not a list of tutors: {}", quote(got.to_string().as_bytes()));
    };
    if got.len() != expected.len() {
        return format!("expected {} tutors, got {}", expected.len(), got.len());
    }
    match got.iter().zip(expected).enumerate().find(|(_, (got, expected))| got != expected) {
        Some((place, (got, expected))) => {
            format!("tutor {} of the list: expected {expected}, got {got}", place + 1)
        }
        None => "the lists are equal".into(),
    }
}

fn booked(reply: &Value, student: i64, tutor: i64) -> Result<Facts, String> {
    let reported = (reply["status"].as_str(), reply["student_id"].as_i64(), reply["tutor_id"].as_i64());
    ensure(reported == (Some("success"), Some(student), Some(tutor)), || {
        format!("expected tutor {tutor} booked for student {student}, got {reply}")
    })?;
    let booking = reply["booking_id"].as_i64();
    ensure(booking.is_some(), || format!("no booking_id: {reply}"))?;
    let instant = |member: &str| DateTime::parse_from_rfc3339(reply[member].as_str()?).ok();
    let length = instant("starts_at").zip(instant("ends_at")).map(|(start, end)| end - start);
    ensure(length == Some(LESSON), || {
        format!("not a lesson of one hour from starts_at to ends_at: {reply}")
    })?;
    Ok(Facts { booking, ..Facts::default() })
}

fn bookings(reply: &Value, student: i64, booked: Option<i64>) -> Result<Facts, String> {
    let Some(listed) = reply["bookings"].as_array() else {
        return Err(format!("not a list of bookings: {}", quote(reply.to_string().as_bytes())));
    };
    let ids: Vec<i64> = listed.iter().filter_map(|booking| booking["booking_id"].as_i64()).collect();
    ensure(ids.len() == listed.len(), || "a booking without booking_id".into())?;
    ensure(ids.windows(2).all(|pair| pair[0] > pair[1]), || "bookings not newest first".into())?;
    let of_another = listed.iter().find(|booking| booking["student_id"].as_i64() != Some(student));
    ensure(of_another.is_none(), || {
        format!("a booking of another student than {student}: {}", of_another.unwrap_or(&Value::Null))
    })?;
    ensure(booked.is_none_or(|booking| ids.contains(&booking)), || {
        format!("booking {} is missing from the student's bookings", booked.unwrap_or_default())
    })?;
    Ok(Facts::default())
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn quote(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
