//! Converts each action to an HTTP request and its expected reply.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SecondsFormat, SubsecRound as _, TimeDelta, Utc};
use collector::trace::TraceId;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use system::api::Slot;
use system::dataset;

use super::journey_state::JourneyState;
use super::{Dispatcher, Session};
use crate::drive::oracle::Expectation;
use crate::measure::{Limit, RequestKind};
use crate::plan::{Action, Intrusion};

/// Length of the time in which a user looks for a slot.
const LOOK_AHEAD: TimeDelta = TimeDelta::days(2);
/// A slot that starts sooner is not booked: a request that waits would ask for a lesson in the past.
const LATEST_ARRIVAL: TimeDelta = TimeDelta::minutes(2);

/// One request and its expected reply.
pub(super) struct Request {
    pub(super) kind: RequestKind,
    pub(super) path: String,
    pub(super) bearer: Option<String>,
    /// Why the user has no token for this request, which is not sent then.
    pub(super) failed_log_in: Option<Failure>,
    pub(super) body: Body,
    pub(super) expect: Expectation,
    /// Value of the header `Idempotency-Key`.
    pub(super) key: Option<String>,
    /// Start of the lesson to book, if the request chooses it.
    pub(super) starts_at: Option<DateTime<Utc>>,
    /// The confirmation that an earlier request with this key got, and its trace.
    pub(super) first_reply: Option<(String, TraceId)>,
    /// Id of the booking that the request cancels.
    pub(super) cancels: Option<i64>,
    /// Whether an intruder sends it.
    pub(super) by_intruder: bool,
}

/// Why a request has no verified reply.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The expectation and the reply.
    pub(super) why: Arc<str>,
    /// The limit of the generator's own process that is the cause.
    pub(super) limit: Option<Limit>,
}

pub(super) enum Body {
    None,
    Form([(&'static str, String); 2]),
    Json(Value),
    /// Without a body, and with the method DELETE.
    Delete,
}

impl Request {
    /// Returns the log-in of a student.
    pub(super) fn log_in(student: i64) -> Self {
        credentials(RequestKind::LogIn, dataset::username(student), dataset::PASSWORD, Expectation::Token)
    }

    /// Returns the request of `session` for `action`. `state` is what the journey has seen; a request to book has `key`.
    pub(super) fn of(
        action: &Action,
        session: &Session,
        dispatcher: &Dispatcher,
        state: &JourneyState,
        key: String,
    ) -> Self {
        let student = session.student;
        let request = match action {
            Action::Search { subject } => {
                let subject_name = dataset::SUBJECTS.get(*subject).copied().unwrap_or_default();
                search(RequestKind::Search, subject_name, dispatcher.oracle.tutors(*subject))
            }
            Action::Slots { tutor } => slots(*tutor),
            Action::Book { tutor } => keyed(student, *tutor, None, key, dispatcher),
            Action::BookSlot { tutor, rank } => {
                keyed(student, *tutor, chosen(&state.offered, *rank), key, dispatcher)
            }
            Action::Repeat { tutor } => {
                let first = state.request.clone();
                let starts_at = first.as_ref().and_then(|first| first.starts_at);
                let (key, first_reply) = first.map_or((key, None), |first| (first.key, first.reply));
                let request = keyed(student, *tutor, starts_at, key, dispatcher);
                Request { kind: RequestKind::RepeatedBook, first_reply, ..request }
            }
            Action::Cancel => cancel(state.booked),
            Action::Bookings => {
                let expect = Expectation::Bookings { student, booked: state.booked };
                request(RequestKind::Bookings, "/bookings".into(), Body::None, expect)
            }
            Action::Intrude(intrusion) => {
                return Request { by_intruder: true, ..intrude(*intrusion, session, dispatcher) };
            }
        };
        request.with_token_of(session)
    }

    fn with_token_of(self, session: &Session) -> Self {
        match &session.token {
            Ok(token) => self.with_token(token.to_string()),
            Err(failure) => Request { failed_log_in: Some(failure.clone()), ..self },
        }
    }

    fn with_token(self, token: String) -> Self {
        Request { bearer: Some(token), ..self }
    }
}

fn request(kind: RequestKind, path: String, body: Body, expect: Expectation) -> Request {
    Request {
        kind,
        path,
        bearer: None,
        failed_log_in: None,
        body,
        expect,
        key: None,
        starts_at: None,
        first_reply: None,
        cancels: None,
        by_intruder: false,
    }
}

fn credentials(kind: RequestKind, username: String, password: &str, expect: Expectation) -> Request {
    let body = Body::Form([("username", username), ("password", password.to_owned())]);
    request(kind, "/token".into(), body, expect)
}

fn search(kind: RequestKind, subject: &str, expect: Expectation) -> Request {
    let path = format!("/search?subject={}", utf8_percent_encode(subject, NON_ALPHANUMERIC));
    request(kind, path, Body::None, expect)
}

/// Returns the request for the free slots of a tutor in the next two days.
fn slots(tutor: i64) -> Request {
    let from = Utc::now().trunc_subsecs(0);
    let times = from..from + LOOK_AHEAD;
    let [start, end] = [times.start, times.end].map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    let path = format!("/tutors/{tutor}/slots?from={start}&to={end}");
    request(RequestKind::Slots, path, Body::None, Expectation::Slots { tutor, times })
}

/// Returns the request to book a tutor, at a time if it was chosen, with an idempotency key.
fn keyed(
    student: i64,
    tutor: i64,
    starts_at: Option<DateTime<Utc>>,
    key: String,
    dispatcher: &Dispatcher,
) -> Request {
    let may_be_full = dispatcher.may_be_full();
    let expect = Expectation::Booked { student, tutor, starts_at, may_be_full };
    let mut request = book(RequestKind::Book, student, tutor, expect);
    if let (Some(starts_at), Body::Json(body)) = (starts_at, &mut request.body) {
        body["starts_at"] = starts_at.to_rfc3339_opts(SecondsFormat::Secs, true).into();
    }
    Request { key: Some(key), starts_at, ..request }
}

/// Returns the start of the slot of this rank; of none, if all of them may have begun when the request arrives.
fn chosen(offered: &[Slot], rank: usize) -> Option<DateTime<Utc>> {
    let soon = Utc::now() + LATEST_ARRIVAL;
    let later = &offered[offered.partition_point(|slot| slot.starts_at <= soon)..];
    later.get(rank % later.len().max(1)).map(|slot| slot.starts_at)
}

/// Returns the request to cancel a booking. One that was not made cannot be cancelled.
fn cancel(booking: Option<i64>) -> Request {
    let expect = match booking {
        Some(booking) => Expectation::Cancelled { booking, may_be_cancelled: false },
        None => refused(404, "not_found"),
    };
    let path = format!("/bookings/{}", booking.unwrap_or_default());
    Request { cancels: booking, ..request(RequestKind::Cancel, path, Body::Delete, expect) }
}

fn book(kind: RequestKind, student: i64, tutor: i64, expect: Expectation) -> Request {
    let body = Body::Json(json!({ "student_id": student, "tutor_id": tutor }));
    request(kind, "/book".into(), body, expect)
}

fn refused(status: u16, code: &'static str) -> Expectation {
    Expectation::Refused { status, code }
}

fn intrude(intrusion: Intrusion, session: &Session, dispatcher: &Dispatcher) -> Request {
    let subject = dataset::SUBJECTS.first().copied().unwrap_or_default();
    let own = dataset::username(session.student);
    match intrusion {
        Intrusion::WrongPassword => {
            credentials(RequestKind::RefusedLogIn, own, "letmein", refused(401, "invalid_credentials"))
        }
        Intrusion::UnknownUser => credentials(
            RequestKind::RefusedLogIn,
            "nobody".into(),
            dataset::PASSWORD,
            refused(401, "invalid_credentials"),
        ),
        Intrusion::MissingToken => {
            search(RequestKind::RefusedSearch, subject, refused(401, "missing_credentials"))
        }
        Intrusion::GarbageToken => search(RequestKind::RefusedSearch, subject, refused(401, "invalid_token"))
            .with_token("not-a-token".into()),
        Intrusion::UnsignedToken => {
            search(RequestKind::RefusedSearch, subject, refused(401, "invalid_token"))
                .with_token(unsigned_token(&own, session.student))
        }
        Intrusion::OtherStudent { tutor } => {
            let other = session.student % dispatcher.students + 1;
            // With a single student, the other one does not exist.
            let other = if other == session.student { other + 1 } else { other };
            book(RequestKind::RefusedBook, other, tutor, refused(403, "forbidden_student"))
                .with_token_of(session)
        }
        Intrusion::SqlInSubject => {
            search(RequestKind::Search, "Math' OR '1'='1' --", dispatcher.oracle.no_tutors())
                .with_token_of(session)
        }
    }
}

/// Returns a JWT with `alg: none`, without a signature, that expired in 2001.
fn unsigned_token(username: &str, student: i64) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "sub": username, "student_id": student, "exp": 1_000_000_000 });
    format!("{}.{}.", part(json!({ "alg": "none", "typ": "JWT" })), part(claims))
}
