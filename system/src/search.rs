//! Search: the gateways call it for the tutors of a subject and for the list of subjects, unless the cache has them.
//!
//! Each request is one query with a fixed order; the query for tutors uses an index. Answers 503 if the database
//! is not available.

use axum::extract::State;
use axum::http::Uri;
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::api::{Subject, Subjects, Tutor, Tutors};
use crate::app::{self, App, Error};
use crate::error::{Code, Result};
use crate::role::Role;
use crate::{database, extract, middleware};

/// Compares subjects without regard to case, in every language: ICU's rules do not depend on the locale of the database. The
/// expression is that of the index.
const BY_SUBJECT: &str = r#"SELECT id, name, subject, rating FROM tutors
    WHERE lower(upper(subject COLLATE "und-x-icu")) = lower(upper($1 COLLATE "und-x-icu"))
    ORDER BY rating DESC, id"#;

const SUBJECTS: &str = r#"SELECT min(subject), count(*) FROM tutors
    GROUP BY lower(upper(subject COLLATE "und-x-icu")) ORDER BY lower(upper(subject COLLATE "und-x-icu"))"#;

/// Settings of the search service.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(mut_args(app::Settings::defaults(Role::Search)))]
pub struct Settings {
    /// Database.
    #[command(flatten)]
    database: database::Settings,
    /// Process.
    #[command(flatten)]
    pub(crate) process: app::Settings,
}

/// Builds the search service. It is ready while the database answers.
pub(crate) async fn app(settings: &Settings, _shutdown: CancellationToken) -> Result<App, Error> {
    let pool = settings.database.connect(settings.process.request_timeout).await?;
    let ready = database::readiness(&pool);
    let routes = middleware::requests(router(pool), settings.process.request_timeout);
    Ok(App { ready, ..App::new(routes) })
}

fn router(pool: PgPool) -> Router {
    let router = Router::new().route("/search", get(search)).route("/subjects", get(subjects));
    middleware::problems(router).with_state(pool)
}

async fn search(State(pool): State<PgPool>, uri: Uri) -> Result<Json<Tutors>> {
    let query = extract::query(&uri)?;
    let subject = extract::value(&query, "subject").ok_or(Code::MissingSubject)?;
    // PostgreSQL's `text` cannot contain NUL.
    if subject.contains('\0') {
        return Err(Code::InvalidSubject.into());
    }
    let by_subject = || sqlx::query_as::<_, (i64, String, String, f64)>(BY_SUBJECT).bind(subject.to_owned());
    let rows = database::read(&pool, "SELECT tutors", BY_SUBJECT, by_subject).await?;
    let data =
        rows.into_iter().map(|(id, name, subject, rating)| Tutor { id, name, subject, rating }).collect();
    Ok(Json(Tutors { data }))
}

async fn subjects(State(pool): State<PgPool>) -> Result<Json<Subjects>> {
    let all = || sqlx::query_as::<_, (String, i64)>(SUBJECTS);
    let rows = database::read(&pool, "SELECT tutors", SUBJECTS, all).await?;
    let subjects = rows.into_iter().map(|(subject, tutors)| Subject { subject, tutors }).collect();
    Ok(Json(Subjects { subjects }))
}
