//! Is this reply right? Not only: is it 2xx.
//!
//! Judges the bytes on the wire, not values decoded by the types that the services encoded them with: a member
//! renamed on both sides is still a broken promise to every other client. The right answers follow from the
//! seeded data set alone, so a wrong row in the database cannot make a wrong answer look right.

use std::sync::Arc;

use serde_json::{Value, json};
use system::api::Tutor;
use system::dataset;

#[cfg(test)]
mod tests;

/// How much of an unexpected body a reason quotes.
const QUOTED: usize = 160;

/// What a request must be answered with.
#[derive(Clone, Debug)]
pub(crate) enum Expectation {
    /// 200 and a bearer token.
    Token,
    /// 200 and exactly these tutors in this order.
    Tutors(Arc<Value>),
    /// 200 and a confirmation of this booking.
    Booked { student: i64, tutor: i64 },
    /// 200 and this student's bookings, newest first, this one among them.
    Bookings { student: i64, booked: Option<i64> },
    /// This status and problem code, and nothing else.
    Refused { status: u16, code: &'static str },
}

/// What a right reply said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// The token, after logging in.
    pub(crate) token: Option<String>,
    /// The id of the new booking.
    pub(crate) booking: Option<i64>,
    /// Whether a search was answered from the cache.
    pub(crate) cached: Option<bool>,
}

/// The judgement of one reply. The texts say what was expected and what came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Right in every detail that is checked.
    Verified(Facts),
    /// An answer that a client would take for a right one, or a refusal for the wrong reason.
    Wrong(String),
    /// Not an answer to this request: an unexpected status.
    Failed(String),
}

/// The right answers.
pub(crate) struct Oracle {
    by_subject: Vec<Arc<Value>>,
    ids: Vec<Vec<i64>>,
    nothing: Arc<Value>,
}

impl Oracle {
    /// Of a system that was seeded with this many tutors.
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

    /// Tutor ids of each subject, in the order of [`dataset::SUBJECTS`].
    pub(crate) fn tutor_ids(&self) -> &[Vec<i64>] {
        &self.ids
    }

    /// The tutors of a subject, by its index; none of an index beyond the catalogue.
    pub(crate) fn tutors(&self, subject: usize) -> Expectation {
        Expectation::Tutors(Arc::clone(self.by_subject.get(subject).unwrap_or(&self.nothing)))
    }

    /// No tutors at all.
    pub(crate) fn no_tutors(&self) -> Expectation {
        Expectation::Tutors(Arc::clone(&self.nothing))
    }
}

fn on_the_wire(tutor: &Tutor) -> Value {
    json!({ "id": tutor.id, "name": tutor.name, "subject": tutor.subject, "rating": tutor.rating })
}

impl Expectation {
    /// The only status that can be right.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Expectation::Refused { status, .. } => *status,
            _ => 200,
        }
    }

    /// Judges a complete reply.
    pub(crate) fn judge(&self, status: u16, content_type: &str, body: &[u8]) -> Verdict {
        let refusal = matches!(self, Expectation::Refused { .. });
        if status != self.status() {
            let why = format!("expected {}, got {status}: {}", self.status(), quote(body));
            // Letting an intruder in is the worst of wrong answers, not a mere failure.
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
                let said = (reply["code"].as_str(), reply["status"].as_u64());
                ensure(said == (Some(*code), Some(u64::from(*status))), || {
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
        format!("a token that has expired: expires_in is {}", reply["expires_in"])
    })?;
    let token = reply["access_token"].as_str().filter(|token| !token.is_empty());
    ensure(token.is_some(), || "no access_token".into())?;
    Ok(Facts { token: token.map(str::to_owned), ..Facts::default() })
}

fn tutors(reply: &Value, expected: &Value) -> Result<Facts, String> {
    let cached = reply["cached"].as_bool();
    ensure(cached.is_some(), || format!("cached is {}, not a truth value", reply["cached"]))?;
    ensure(&reply["data"] == expected, || difference(&reply["data"], expected))?;
    Ok(Facts { cached, ..Facts::default() })
}

fn difference(got: &Value, expected: &Value) -> String {
    let (Some(got), Some(expected)) = (got.as_array(), expected.as_array()) else {
        return format!("data is no list of tutors: {}", quote(got.to_string().as_bytes()));
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
    let said = (reply["status"].as_str(), reply["student_id"].as_i64(), reply["tutor_id"].as_i64());
    ensure(said == (Some("success"), Some(student), Some(tutor)), || {
        format!("expected tutor {tutor} booked for student {student}, got {reply}")
    })?;
    let booking = reply["booking_id"].as_i64();
    ensure(booking.is_some(), || format!("no booking_id: {reply}"))?;
    Ok(Facts { booking, ..Facts::default() })
}

fn bookings(reply: &Value, student: i64, booked: Option<i64>) -> Result<Facts, String> {
    let Some(listed) = reply["bookings"].as_array() else {
        return Err(format!("no list of bookings: {}", quote(reply.to_string().as_bytes())));
    };
    let ids: Vec<i64> = listed.iter().filter_map(|booking| booking["booking_id"].as_i64()).collect();
    ensure(ids.len() == listed.len(), || "a booking without booking_id".into())?;
    ensure(ids.windows(2).all(|pair| pair[0] > pair[1]), || "bookings not newest first".into())?;
    let stranger = listed.iter().find(|booking| booking["student_id"].as_i64() != Some(student));
    ensure(stranger.is_none(), || {
        format!("a booking that is not of student {student}: {}", stranger.unwrap_or(&Value::Null))
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
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
