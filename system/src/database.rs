//! PostgreSQL: the settings, the pool, the schema, and the spans of waits and statements.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Postgres};

use crate::app::{Error, Readiness};
use crate::error::{Code, Problem};
use crate::settings::{self, Secret};

/// Connections of one role. Enough to keep two cores busy; with more, statements would queue inside PostgreSQL, where no
/// span shows the wait.
const MAX_CONNECTIONS: u32 = 8;

/// Maximum wait for a pooled connection. Below the default request timeout, so that the caller gets a 503 and not a 504.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum wait at start for a database that is starting as well.
const START_TIMEOUT: Duration = Duration::from_secs(30);

const URL_HINT: &str = "set it (or DATABASE_URL_FILE) to postgres://USER:PASSWORD@HOST:PORT/DATABASE";

/// Settings of the roles that use PostgreSQL.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Database")]
pub struct Settings {
    /// URL of the database, postgres://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<Secret>,
    /// File that contains the URL of the database; takes precedence over --database-url
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    database_url_file: Option<PathBuf>,
}

impl Settings {
    /// Connects to the database, as [`connect`] does.
    pub(crate) async fn connect(&self) -> Result<PgPool, Error> {
        let (value, file) = (self.database_url.as_ref(), self.database_url_file.as_deref());
        connect(settings::secret("DATABASE_URL", value, file, URL_HINT)?.expose()).await
    }
}

/// Connects and brings the schema up to date. Waits up to 30 s for a database that is starting.
///
/// # Errors
///
/// Fails if `url` is invalid, if the database refuses the connection or if it does not start in time.
pub async fn connect(url: &str) -> Result<PgPool, Error> {
    // A test before each use would cost more than most statements. The next use of a broken
    // connection fails and is answered with 503; the pool then replaces the connection.
    let options = PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false);
    // sqlx accepts any scheme, and its errors quote parts of the URL, which is a secret.
    let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let server = PgConnectOptions::from_str(url).ok().filter(|_| is_postgres);
    let server = server.ok_or_else(|| settings::Error::Invalid {
        name: "DATABASE_URL",
        reason: "must be a URL such as postgres://USER:PASSWORD@HOST:PORT/DATABASE".into(),
    })?;
    let give_up = tokio::time::Instant::now() + START_TIMEOUT;
    let pool = loop {
        match options.clone().connect_with(server.clone()).await {
            Ok(pool) => break pool,
            Err(error) if !is_starting(&error) || tokio::time::Instant::now() >= give_up => {
                return Err(error.into());
            }
            Err(error) => {
                tracing::warn!(%error, "the database does not accept connections yet");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    };
    // Several roles start together: sqlx holds an advisory lock, so one of them migrates and the others wait.
    sqlx::migrate!().run(&pool).await?;
    Ok(pool)
}

/// Returns whether the database may accept connections soon: no process listens yet, or PostgreSQL reports that it is
/// starting or stopping (SQLSTATE 57P).
fn is_starting(error: &sqlx::Error) -> bool {
    match error.as_database_error() {
        Some(error) => error.code().is_some_and(|code| code.starts_with("57P")),
        None => !matches!(error, sqlx::Error::Configuration(_)),
    }
}

/// Returns the readiness check of a role that is ready while the database answers.
pub(crate) fn readiness(pool: &PgPool) -> Readiness {
    let pool = pool.clone();
    std::sync::Arc::new(move || {
        let pool = pool.clone();
        Box::pin(async move { sqlx::query("SELECT 1").execute(&pool).await.is_ok() })
    })
}

/// Takes a connection from the pool. The wait for it is a span of its own.
pub(crate) async fn acquire(pool: &PgPool) -> Result<PoolConnection<Postgres>, Problem> {
    telemetry::database::acquire(pool.acquire()).await.map_err(|error| problem(&error))
}

/// Runs one statement in a CLIENT span. `summary` is the span's name, such as `SELECT tutors`.
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

/// Converts a database error into a problem: 404 for a violated foreign key, 503 for a failed connection, otherwise 500.
pub(crate) fn problem(error: &sqlx::Error) -> Problem {
    if let Some(constraint) = error.as_database_error().and_then(|error| error.constraint()) {
        match constraint {
            "bookings_student_fkey" => return Code::StudentNotFound.into(),
            "bookings_tutor_fkey" => return Code::TutorNotFound.into(),
            _ => {}
        }
    }
    // 57P: the server is stopping or ended the session. 08: connection errors. PostgreSQL documentation, appendix A.
    let ended = sqlstate(error).is_some_and(|code| code.starts_with("57P") || code.starts_with("08"));
    if ended || matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_)) {
        tracing::error!(%error, "database connection failed");
        return Code::Unavailable.into();
    }
    Problem::internal(error)
}
