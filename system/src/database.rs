//! PostgreSQL: the pool, the schema, and the spans around waiting and asking.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Postgres};

use crate::config::ConfigError;
use crate::error::{Code, Problem};
use crate::service::{Error, Readiness};

/// Enough to keep two cores busy; more only queue inside PostgreSQL, where nobody sees them.
const MAX_CONNECTIONS: u32 = 8;

/// Longest wait for a connection: beyond it the request would time out anyway.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait at start for a database that is itself starting.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Connects, waiting for a database that is still starting, and brings the schema up to date.
pub async fn connect(url: &str) -> Result<PgPool, Error> {
    // Asking the server "are you there?" before each use would cost more than most queries. A connection that died is
    // noticed at its next use, which answers 503, and is replaced.
    let options = PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false);
    let server = PgConnectOptions::from_str(url).map_err(|error| ConfigError::Invalid {
        name: "DATABASE_URL",
        reason: format!("not a URL such as postgres://USER:PASSWORD@HOST:PORT/DATABASE ({error})"),
    })?;
    let give_up = tokio::time::Instant::now() + START_TIMEOUT;
    let pool = loop {
        match options.clone().connect_with(server.clone()).await {
            Ok(pool) => break pool,
            Err(error) if !is_starting(&error) || tokio::time::Instant::now() >= give_up => {
                return Err(error.into());
            }
            Err(error) => {
                tracing::warn!(%error, "the database does not answer yet");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    };
    // Several roles start at once; sqlx holds an advisory lock, so that one migrates and the others wait.
    sqlx::migrate!().run(&pool).await?;
    Ok(pool)
}

/// Nobody listens yet, or PostgreSQL says itself that it is starting or stopping.
fn is_starting(error: &sqlx::Error) -> bool {
    match error.as_database_error() {
        Some(refusal) => refusal.code().is_some_and(|code| code.starts_with("57P")),
        None => !matches!(error, sqlx::Error::Configuration(_)),
    }
}

/// Ready while the database answers.
pub(crate) fn readiness(pool: &PgPool) -> Readiness {
    let pool = pool.clone();
    std::sync::Arc::new(move || {
        let pool = pool.clone();
        Box::pin(async move { sqlx::query("SELECT 1").execute(&pool).await.is_ok() })
    })
}

/// Takes a connection from the pool, inside a span of the wait.
pub(crate) async fn acquire(pool: &PgPool) -> Result<PoolConnection<Postgres>, Problem> {
    telemetry::database::acquire(pool.acquire()).await.map_err(|error| problem(&error))
}

/// Runs one statement inside a CLIENT span. `summary` is its low-cardinality name, such as `SELECT tutors`.
pub(crate) async fn query<T>(
    summary: &'static str,
    text: &'static str,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    telemetry::database::query(summary, text, sqlstate, statement).await
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// A database error as the caller may see it: a broken constraint is theirs, all else is ours.
pub(crate) fn problem(error: &sqlx::Error) -> Problem {
    if let Some(constraint) = error.as_database_error().and_then(|error| error.constraint()) {
        match constraint {
            "bookings_student_fkey" => return Code::StudentNotFound.into(),
            "bookings_tutor_fkey" => return Code::TutorNotFound.into(),
            _ => {}
        }
    }
    // Classes 57P (the server stops, or ends the session) and 08 (the connection), as PostgreSQL's appendix A lists them.
    let ended = sqlstate(error).is_some_and(|code| code.starts_with("57P") || code.starts_with("08"));
    if ended || matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_)) {
        tracing::error!(%error, "the database is not reachable");
        return Code::Unavailable.into();
    }
    Problem::internal(error)
}
