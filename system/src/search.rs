//! Search: the gateways call it for the tutors of a subject that the cache does not have.
//!
//! Answers with one indexed query, in a fixed order. Answers 503 if the database is not available.

use axum::extract::State;
use axum::http::Uri;
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::api::{Tutor, Tutors};
use crate::app::{self, App, Error};
use crate::error::{Code, Result};
use crate::role::Role;
use crate::{database, extract, middleware};

const BY_SUBJECT: &str =
    "SELECT id, name, subject, rating FROM tutors WHERE subject = $1 ORDER BY rating DESC, id";

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
    let pool = settings.database.connect().await?;
    let ready = database::readiness(&pool);
    let routes = middleware::requests(router(pool), settings.process.request_timeout);
    Ok(App { ready, ..App::new(routes) })
}

fn router(pool: PgPool) -> Router {
    middleware::problems(Router::new().route("/search", get(search))).with_state(pool)
}

async fn search(State(pool): State<PgPool>, uri: Uri) -> Result<Json<Tutors>> {
    let query = extract::query(&uri)?;
    let subject = extract::value(&query, "subject").ok_or(Code::MissingSubject)?;
    // PostgreSQL's `text` cannot contain NUL.
    if subject.contains('\0') {
        return Err(Code::InvalidSubject.into());
    }
    let mut connection = database::acquire(&pool).await?;
    let rows =
        sqlx::query_as::<_, (i64, String, String, f64)>(BY_SUBJECT).bind(subject).fetch_all(&mut *connection);
    let rows = database::query("SELECT tutors", BY_SUBJECT, rows)
        .await
        .map_err(|error| database::problem(&error))?;
    let data =
        rows.into_iter().map(|(id, name, subject, rating)| Tutor { id, name, subject, rating }).collect();
    Ok(Json(Tutors { data }))
}
