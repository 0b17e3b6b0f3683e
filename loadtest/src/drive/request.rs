//! Converts each action to an HTTP request and its expected reply.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use system::dataset;

use super::{Dispatcher, Session};
use crate::drive::oracle::Expectation;
use crate::measure::{Limit, RequestKind};
use crate::plan::{Action, Intrusion};

/// One request and its expected reply.
pub(super) struct Request {
    pub(super) kind: RequestKind,
    pub(super) path: String,
    pub(super) bearer: Option<String>,
    /// Why the user has no token for this request, which is not sent then.
    pub(super) failed_log_in: Option<Failure>,
    pub(super) body: Body,
    pub(super) expect: Expectation,
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
}

impl Request {
    /// Returns the log-in of a student.
    pub(super) fn log_in(student: i64) -> Self {
        credentials(RequestKind::LogIn, dataset::username(student), dataset::PASSWORD, Expectation::Token)
    }

    /// Returns the request of `session` for `action`. `booked` is the booking made earlier in the journey.
    pub(super) fn of(
        action: &Action,
        session: &Session,
        dispatcher: &Dispatcher,
        booked: Option<i64>,
    ) -> Self {
        let student = session.student;
        let request = match action {
            Action::Search { subject } => {
                let subject_name = dataset::SUBJECTS.get(*subject).copied().unwrap_or_default();
                search(RequestKind::Search, subject_name, dispatcher.oracle.tutors(*subject))
            }
            Action::Book { tutor } => {
                book(RequestKind::Book, student, *tutor, Expectation::Booked { student, tutor: *tutor })
            }
            Action::Bookings => Request {
                kind: RequestKind::Bookings,
                path: "/bookings".into(),
                bearer: None,
                failed_log_in: None,
                body: Body::None,
                expect: Expectation::Bookings { student, booked },
                by_intruder: false,
            },
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

fn credentials(kind: RequestKind, username: String, password: &str, expect: Expectation) -> Request {
    let body = Body::Form([("username", username), ("password", password.to_owned())]);
    Request {
        kind,
        path: "/token".into(),
        bearer: None,
        failed_log_in: None,
        body,
        expect,
        by_intruder: false,
    }
}

fn search(kind: RequestKind, subject: &str, expect: Expectation) -> Request {
    let path = format!("/search?subject={}", utf8_percent_encode(subject, NON_ALPHANUMERIC));
    Request { kind, path, bearer: None, failed_log_in: None, body: Body::None, expect, by_intruder: false }
}

fn book(kind: RequestKind, student: i64, tutor: i64, expect: Expectation) -> Request {
    let body = Body::Json(json!({ "student_id": student, "tutor_id": tutor }));
    Request {
        kind,
        path: "/book".into(),
        bearer: None,
        failed_log_in: None,
        body,
        expect,
        by_intruder: false,
    }
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
