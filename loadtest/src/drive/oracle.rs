//! Verifies the content of each reply, not only its status.
//!
//! Checks the bytes of the reply instead of values decoded with the services' own types: renaming a member on both sides
//! still breaks every other client. The expected replies follow from the seeded data set alone, so a wrong row in the
//! database is detected.

use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use system::api::{Slot, Tutor};
use system::dataset;

mod calendar;
#[cfg(test)]
mod tests;

/// Maximum number of characters of an unexpected body that a reason quotes.
const MAX_QUOTED_CHARS: usize = 160;
/// Media type of a problem.
const PROBLEM: &str = "application/problem+json";

/// The expected reply to a request.
#[derive(Clone, Debug)]
pub(crate) enum Expectation {
    /// 200 and a bearer token.
    Token,
    /// 200 and exactly these tutors, in this order.
    Tutors(Arc<Value>),
    /// 200 and a confirmation of this booking. Or 409: `slot_taken` for a chosen slot, `no_free_slot` for the earliest one if
    /// the calendars may be full.
    Booked { student: i64, tutor: i64, starts_at: Option<DateTime<Utc>>, may_be_full: bool },
    /// 200 and free slots of this tutor that start in `times`.
    Slots { tutor: i64, times: Range<DateTime<Utc>> },
    /// 200 and the cancellation of this booking. If an earlier request may have cancelled it, 409 `already_cancelled`.
    Cancelled { booking: i64, may_be_cancelled: bool },
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
    /// The new booking.
    pub(crate) booked: Option<Booked>,
    /// The free slots, earliest first.
    pub(crate) offered: Option<Vec<Slot>>,
    /// The listed bookings, each with whether it is cancelled.
    pub(crate) listed: Vec<(i64, bool)>,
    /// The booking that is now cancelled.
    pub(crate) cancelled: Option<i64>,
    /// Whether the search was answered from the cache.
    pub(crate) cached: Option<bool>,
}

/// A confirmed booking.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Booked {
    /// Id of the booking.
    pub(crate) booking: i64,
    /// The time of the lesson.
    pub(crate) lesson: Slot,
    /// The reply as it arrived.
    pub(crate) reply: String,
}

/// The verdict on one reply. The texts give the expectation and the reply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Every checked detail is right.
    Verified(Facts),
    /// A refusal that can be right, because the calendars may be full.
    Conflict,
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

    /// Records that the request was sent this many more times. An earlier attempt may have had its effect.
    pub(crate) fn sent_again(&mut self, times: u32) {
        if let Expectation::Cancelled { may_be_cancelled, .. } = self {
            *may_be_cancelled = times > 0;
        }
    }

    /// Verifies a complete reply.
    pub(crate) fn judge(&self, status: u16, content_type: &str, body: &[u8]) -> Verdict {
        let refusal = matches!(self, Expectation::Refused { .. });
        if self.is_conflict(status, content_type, body) {
            return Verdict::Conflict;
        }
        if let Expectation::Cancelled { booking, .. } = self
            && self.is_cancelled_before(status, body)
        {
            return Verdict::Verified(Facts { cancelled: Some(*booking), ..Facts::default() });
        }
        if status != self.status() {
            let why = format!("expected {}, got {status}: {}", self.status(), quote(body));
            // Accepting a malicious request is a wrong reply, not a mere failure.
            return if refusal && (200..300).contains(&status) {
                Verdict::Wrong(why)
            } else {
                Verdict::Failed(why)
            };
        }
        let expected = if refusal { PROBLEM } else { "application/json" };
        if media_type(content_type) != expected {
            return Verdict::Wrong(format!("expected {expected}, got {content_type:?}"));
        }
        let Ok(reply) = serde_json::from_slice::<Value>(body) else {
            return Verdict::Wrong(format!("not JSON: {}", quote(body)));
        };
        match self.check(&reply, body) {
            Ok(facts) => Verdict::Verified(facts),
            Err(why) => Verdict::Wrong(why),
        }
    }

    /// Returns whether the reply is a refusal that can be right.
    fn is_conflict(&self, status: u16, content_type: &str, body: &[u8]) -> bool {
        let Expectation::Booked { starts_at, may_be_full, .. } = self else { return false };
        if (status, media_type(content_type)) != (409, PROBLEM) {
            return false;
        }
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        match starts_at {
            Some(starts_at) => calendar::is_taken(&problem, *starts_at),
            None => *may_be_full && problem["code"] == "no_free_slot",
        }
    }

    /// Returns whether the reply says that an earlier attempt has cancelled the booking.
    fn is_cancelled_before(&self, status: u16, body: &[u8]) -> bool {
        let code =
            || serde_json::from_slice::<Value>(body).unwrap_or_default()["code"] == "already_cancelled";
        matches!(self, Expectation::Cancelled { may_be_cancelled: true, .. }) && status == 409 && code()
    }

    fn check(&self, reply: &Value, body: &[u8]) -> Result<Facts, String> {
        match self {
            Expectation::Token => token(reply),
            Expectation::Tutors(expected) => tutors(reply, expected),
            Expectation::Booked { student, tutor, starts_at, .. } => {
                calendar::booked(reply, body, (*student, *tutor, *starts_at))
            }
            Expectation::Slots { tutor, times } => calendar::slots(reply, *tutor, times),
            Expectation::Cancelled { booking, .. } => calendar::cancelled(reply, *booking),
            Expectation::Bookings { student, booked } => calendar::bookings(reply, *student, *booked),
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

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().map_or("", str::trim)
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
