//! PostgreSQL: the settings, the pool, the schema, and the spans of waits and statements.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::query::QueryAs;
use sqlx::{Connection as _, FromRow, PgConnection, PgPool, Postgres, Transaction};

mod client_variables;
mod start;

use crate::app::{Error, Readiness};
use crate::error::{Code, Problem};
use crate::settings::{self, Secret};

pub use client_variables::ClientVariables;
pub use start::connect_when_started;

/// Connections of one role. Enough to keep two cores busy; with more, statements would queue inside PostgreSQL, where no
/// span shows the wait.
const MAX_CONNECTIONS: u32 = 8;

/// Idle time after which a connection is tested before it is used. A test before each use would cost more than most
/// statements.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(1);

/// Maximum wait at start for a database that is starting as well.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum wait of a statement for one lock. A transaction of a stopped process waits for at most two locks and is then idle;
/// with [`MAX_IDLE_IN_TRANSACTION`], it holds its own locks for at most 5 s.
const MAX_LOCK_WAIT: Duration = Duration::from_secs(2);

/// Maximum time between two statements of a transaction. Less than [`MAX_LOCK_WAIT`], so that those that wait for a process
/// that stopped inside its transaction get the lock.
const MAX_IDLE_IN_TRANSACTION: Duration = Duration::from_secs(1);

/// Interval at which PostgreSQL checks, while it executes a statement, whether the client is still connected.
const CONNECTION_CHECK_INTERVAL: Duration = Duration::from_secs(1);

const LIMIT_SESSION: &str = "SELECT set_config('lock_timeout', $1, false),
    set_config('statement_timeout', $2, false),
    set_config('idle_in_transaction_session_timeout', $3, false),
    set_config('client_connection_check_interval', $4, false)";

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
    /// Variables of PostgreSQL's clients.
    #[command(flatten)]
    variables: ClientVariables,
}

impl Settings {
    /// Connects to the database, as [`connect`] does, with the timeouts of a role whose requests take at most `request`.
    pub(crate) async fn connect(&self, request: Duration) -> Result<PgPool, Error> {
        let (value, file) = (self.database_url.as_ref(), self.database_url_file.as_deref());
        let url = settings::secret("DATABASE_URL", value, file, URL_HINT)?;
        let opened = open(url.expose(), &Timeouts::within(request)).await;
        opened.map_err(|error| self.variables.explain(url.expose(), error))
    }
}

/// Maximum durations of the steps of a statement. Zero means no limit, as in PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Timeouts {
    /// Wait for a pooled connection.
    acquire: Duration,
    /// Wait of a statement for one lock (`lock_timeout`).
    lock: Duration,
    /// Execution of a statement, locks included (`statement_timeout`).
    statement: Duration,
    /// Pause between two statements of a transaction (`idle_in_transaction_session_timeout`).
    idle_in_transaction: Duration,
    /// Interval between two checks of the connection (`client_connection_check_interval`).
    connection_check: Duration,
}

impl Timeouts {
    /// Returns the timeouts of a request that takes at most `request`: together they are shorter, so that the caller gets a
    /// 503 that names the cause and not a 504, and a locked table does not hold every connection.
    fn within(request: Duration) -> Self {
        Self {
            acquire: request.mul_f64(0.3),
            lock: request.mul_f64(0.3).min(MAX_LOCK_WAIT),
            statement: request.mul_f64(0.5),
            idle_in_transaction: MAX_IDLE_IN_TRANSACTION,
            connection_check: CONNECTION_CHECK_INTERVAL,
        }
    }

    /// Returns the timeouts of a tool, whose statements may take as long as they need.
    fn of_a_tool() -> Self {
        Self {
            acquire: START_TIMEOUT,
            lock: Duration::ZERO,
            statement: Duration::ZERO,
            idle_in_transaction: Duration::ZERO,
            connection_check: Duration::ZERO,
        }
    }
}

/// Connects and brings the schema up to date. Waits up to 30 s for a database that is starting.
///
/// # Errors
///
/// Fails if `url` is invalid, if the database refuses the connection or if it does not start in time.
pub async fn connect(url: &str) -> Result<PgPool, Error> {
    open(url, &Timeouts::of_a_tool()).await
}

async fn open(url: &str, timeouts: &Timeouts) -> Result<PgPool, Error> {
    let server = connect_options(url)?;
    let mut connection = connect_when_started(&server, START_TIMEOUT).await?;
    // Several roles start together: sqlx holds an advisory lock, so one of them migrates and the others wait.
    // Outside the pool, because a migration may take longer than a request.
    sqlx::migrate!().run(&mut connection).await?;
    connection.close().await?;
    Ok(pool(timeouts).connect_with(server).await?)
}

fn pool(timeouts: &Timeouts) -> PgPoolOptions {
    let Timeouts { lock, statement, idle_in_transaction, connection_check, .. } = *timeouts;
    PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(timeouts.acquire)
        .test_before_acquire(false)
        .before_acquire(|connection, pooled| {
            Box::pin(async move {
                if pooled.idle_for >= TEST_AFTER_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |connection, _| {
            Box::pin(async move {
                // In milliseconds, the unit of all four settings.
                let limits = [lock, statement, idle_in_transaction, connection_check];
                let set = limits
                    .iter()
                    .fold(sqlx::query(LIMIT_SESSION), |set, limit| set.bind(limit.as_millis().to_string()));
                set.execute(connection).await.map(|_| ())
            })
        })
}

/// Parses the URL of a database.
///
/// # Errors
///
/// Fails if `url` is not one of PostgreSQL. The error does not contain the URL, which has a password.
pub fn connect_options(url: &str) -> Result<PgConnectOptions, Error> {
    // sqlx accepts any scheme, and its errors quote parts of the URL.
    let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let options = PgConnectOptions::from_str(url).ok().filter(|_| is_postgres);
    let invalid = || settings::Error::Invalid {
        name: "DATABASE_URL",
        reason: "must be a URL such as postgres://USER:PASSWORD@HOST:PORT/DATABASE".into(),
    };
    Ok(options.ok_or_else(invalid)?)
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

/// Reads the rows of `statement`, whose SQL is `text`. Repeats the read once if the connection was lost, because the server may
/// have closed it while it was idle.
pub(crate) async fn read<T>(
    pool: &PgPool,
    summary: &'static str,
    text: &'static str,
    statement: impl Fn() -> QueryAs<'static, Postgres, T, PgArguments>,
) -> Result<Vec<T>, Problem>
where
    T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let mut connection = acquire(pool).await?;
    let result = match query(summary, text, statement().fetch_all(&mut *connection)).await {
        Err(error) if is_lost(&error) => {
            tracing::warn!(%error, "database connection lost: repeating the read");
            drop(connection);
            let mut connection = acquire_tested(pool).await?;
            query(summary, text, statement().fetch_all(&mut *connection)).await
        }
        result => result,
    };
    result.map_err(|error| problem(&error))
}

/// Takes a connection that responds to a ping, and closes those that do not: a server that closed one connection has probably
/// closed others.
pub(crate) async fn acquire_tested(pool: &PgPool) -> Result<PoolConnection<Postgres>, Problem> {
    for _ in 0..MAX_CONNECTIONS {
        let mut connection = acquire(pool).await?;
        if connection.ping().await.is_ok() {
            return Ok(connection);
        }
        // An error only means that the server has closed the connection.
        let _ = connection.close().await;
    }
    acquire(pool).await
}

/// Begins a transaction.
pub(crate) async fn begin(connection: &mut PgConnection) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    query("BEGIN", "BEGIN", connection.begin()).await
}

/// Commits a transaction. After an error, it is not known whether it was committed.
pub(crate) async fn commit(transaction: Transaction<'_, Postgres>) -> Result<(), sqlx::Error> {
    query("COMMIT", "COMMIT", transaction.commit()).await
}

/// Rolls a transaction back at once; dropping it would do so when the connection is next used.
pub(crate) async fn rollback(transaction: Transaction<'_, Postgres>) -> Result<(), sqlx::Error> {
    query("ROLLBACK", "ROLLBACK", transaction.rollback()).await
}

/// Returns whether the connection failed, or the server ended it. SQLSTATE 57P: the server is stopping or ended the session;
/// 08: connection errors; 25P03: the transaction was idle for too long. See the PostgreSQL documentation, appendix A.
fn is_lost(error: &sqlx::Error) -> bool {
    let is_end = |code: &String| code.starts_with("57P") || code.starts_with("08") || code == "25P03";
    sqlstate(error).as_ref().is_some_and(is_end) || matches!(error, sqlx::Error::Io(_))
}

/// Returns whether the error ended the transaction without a commit, and another attempt may succeed: the connection was lost, or
/// a lock was not granted in time. Not for the error of a `COMMIT`, which may have succeeded.
pub(crate) fn is_interruption(error: &sqlx::Error) -> bool {
    is_lost(error) || sqlstate(error).is_some_and(|code| code == "55P03")
}

/// Returns whether another transaction was in the way: 23P01 for an exclusion constraint, 40P01 for a deadlock.
pub(crate) fn is_conflict(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|code| code == "23P01" || code == "40P01")
}

/// Returns whether a timeout of the session ended the statement: 55P03 for a lock, 57014 for the statement.
fn is_timeout(error: &sqlx::Error) -> bool {
    sqlstate(error).is_some_and(|code| code == "55P03" || code == "57014")
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

/// Converts a database error into a problem: 503 for a failed connection, a timeout or a deadlock, otherwise 500.
pub(crate) fn problem(error: &sqlx::Error) -> Problem {
    if is_timeout(error) || is_conflict(error) {
        tracing::error!(%error, "database statement waited for too long");
        return Code::Unavailable.into();
    }
    if is_lost(error) || matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) {
        tracing::error!(%error, "database connection failed");
        return Code::Unavailable.into();
    }
    Problem::internal(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeouts_of_a_request_are_shorter_than_the_request() {
        for request in [3_000, 10_000, 600_000].map(Duration::from_millis) {
            let Timeouts { acquire, lock, statement, .. } = Timeouts::within(request);
            assert!(acquire + statement < request && lock < statement, "{request:?}");
        }
    }

    #[test]
    fn a_transaction_of_a_stopped_process_holds_its_locks_for_at_most_five_seconds() {
        for request in [3_000, 10_000, 600_000].map(Duration::from_millis) {
            let Timeouts { lock, idle_in_transaction, .. } = Timeouts::within(request);
            assert!(2 * lock + idle_in_transaction <= Duration::from_secs(5), "{request:?}");
        }
    }
}
