//! Each action as an HTTP request, and what its reply must be.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use system::dataset;

use super::{Load, Session};
use crate::drive::oracle::Expectation;
use crate::measure::Name;
use crate::plan::{Action, Intrusion};

/// One request, ready to be sent.
pub(super) struct Call {
    pub(super) name: Name,
    pub(super) path: String,
    pub(super) bearer: Option<String>,
    pub(super) body: Body,
    pub(super) expect: Expectation,
}

pub(super) enum Body {
    None,
    Form([(&'static str, String); 2]),
    Json(Value),
}

impl Call {
    /// Logging in as a student.
    pub(super) fn log_in(student: i64) -> Self {
        credentials(Name::LogIn, dataset::username(student), dataset::PASSWORD, Expectation::Token)
    }

    /// What `session` sends for `action`; `booked` is the journey's booking so far.
    pub(super) fn of(action: &Action, session: &Session, load: &Load, booked: Option<i64>) -> Self {
        let student = session.student;
        let call = match action {
            Action::Search { subject } => {
                let name = dataset::SUBJECTS.get(*subject).copied().unwrap_or_default();
                search(Name::Search, name, load.oracle.tutors(*subject))
            }
            Action::Book { tutor } => {
                book(Name::Book, student, *tutor, Expectation::Booked { student, tutor: *tutor })
            }
            Action::Bookings => Call {
                name: Name::Bookings,
                path: "/bookings".into(),
                bearer: None,
                body: Body::None,
                expect: Expectation::Bookings { student, booked },
            },
            Action::Intrude(intrusion) => return intrude(*intrusion, session, load),
        };
        call.bearing(session.token.to_string())
    }

    fn bearing(self, token: String) -> Self {
        Call { bearer: Some(token), ..self }
    }
}

fn credentials(name: Name, username: String, password: &str, expect: Expectation) -> Call {
    let body = Body::Form([("username", username), ("password", password.to_owned())]);
    Call { name, path: "/token".into(), bearer: None, body, expect }
}

fn search(name: Name, subject: &str, expect: Expectation) -> Call {
    let path = format!("/search?subject={}", utf8_percent_encode(subject, NON_ALPHANUMERIC));
    Call { name, path, bearer: None, body: Body::None, expect }
}

fn book(name: Name, student: i64, tutor: i64, expect: Expectation) -> Call {
    let body = Body::Json(json!({ "student_id": student, "tutor_id": tutor }));
    Call { name, path: "/book".into(), bearer: None, body, expect }
}

fn refused(status: u16, code: &'static str) -> Expectation {
    Expectation::Refused { status, code }
}

fn intrude(intrusion: Intrusion, session: &Session, load: &Load) -> Call {
    let subject = dataset::SUBJECTS.first().copied().unwrap_or_default();
    let own = dataset::username(session.student);
    match intrusion {
        Intrusion::WrongPassword => {
            credentials(Name::RefusedLogIn, own, "letmein", refused(401, "invalid_credentials"))
        }
        Intrusion::UnknownUser => credentials(
            Name::RefusedLogIn,
            "nobody".into(),
            dataset::PASSWORD,
            refused(401, "invalid_credentials"),
        ),
        Intrusion::MissingToken => search(Name::RefusedSearch, subject, refused(401, "missing_credentials")),
        Intrusion::GarbageToken => {
            search(Name::RefusedSearch, subject, refused(401, "invalid_token")).bearing("not-a-token".into())
        }
        Intrusion::UnsignedToken => search(Name::RefusedSearch, subject, refused(401, "invalid_token"))
            .bearing(unsigned_token(&own, session.student)),
        Intrusion::OtherStudent { tutor } => {
            let other = session.student % load.students + 1;
            // With a single student there is nobody else to book for but somebody who does not exist.
            let other = if other == session.student { other + 1 } else { other };
            book(Name::RefusedBook, other, tutor, refused(403, "forbidden_student"))
                .bearing(session.token.to_string())
        }
        Intrusion::SqlInSubject => search(Name::Search, "Math' OR '1'='1' --", load.oracle.no_tutors())
            .bearing(session.token.to_string()),
    }
}

/// A JWT that names no algorithm, carries no signature and expired in 2001.
fn unsigned_token(username: &str, student: i64) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "sub": username, "student_id": student, "exp": 1_000_000_000 });
    format!("{}.{}.", part(json!({ "alg": "none", "typ": "JWT" })), part(claims))
}
