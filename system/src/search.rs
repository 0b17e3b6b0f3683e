//! Search: the gateways ask it for the tutors of one subject when the cache cannot answer.
//!
//! Promises an answer in one indexed query, in a fixed order. Fails with 503 when the database is gone.

use axum::extract::State;
use axum::http::Uri;
use axum::routing::get;
use axum::{Json, Router};
use sqlx::PgPool;
use telemetry::server;

use crate::api::{Tutor, Tutors};
use crate::config::Config;
use crate::error::{Code, Result};
use crate::service::{Error, Role};
use crate::{database, extract, fallback};

const BY_SUBJECT: &str =
    "SELECT id, name, subject, rating FROM tutors WHERE subject = $1 ORDER BY rating DESC, id";

pub(crate) async fn role(config: &Config) -> Result<Role, Error> {
    let pool = database::connect(config.database_url()?).await?;
    let ready = database::readiness(&pool);
    let routes = fallback::bounded(router(pool), config.request_timeout);
    Ok(Role { routes: server::traced(routes), ready })
}

/// Search's routes.
fn router(pool: PgPool) -> Router {
    fallback::problems(Router::new().route("/search", get(search))).with_state(pool)
}

async fn search(State(pool): State<PgPool>, uri: Uri) -> Result<Json<Tutors>> {
    let query = extract::query(&uri)?;
    let subject = extract::first(&query, "subject").ok_or(Code::MissingSubject)?;
    // PostgreSQL's text holds no NUL.
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
