//! The database of a stack: readiness and data of a private one, checks of one that runs already.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use sqlx::Connection as _;
use system::app;
use system::database::{ClientVariables, connect_options, connect_when_started};
use tokio::process::Command;
use tokio::time::Instant;

use super::database_url::masked;
use super::error::{Error, io};
use super::postgres::{Cluster, ready_server, without_client_variables};
use super::{DataSet, QUOTED_LOG_LINES, START_TIMEOUT, seed};

/// Maximum wait for a given database that does not accept connections yet.
const GIVEN_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Checks that the database at `url` accepts connections. Waits about 5 s for one that is starting.
pub(super) async fn check(url: &str, variables: &ClientVariables) -> Result<(), Error> {
    let failed = |error| given(url, variables, error);
    let options = connect_options(url).map_err(failed)?;
    let connected = connect_when_started(&options, GIVEN_TIMEOUT).await;
    let closed = async { connected?.close().await };
    closed.await.map_err(|error| failed(app::Error::Database(error)))
}

/// Writes the data set to the database at `url`.
pub(super) async fn seed_given(url: &str, variables: &ClientVariables, data: DataSet) -> Result<(), Error> {
    seed(url, data).await.map_err(|error| given(url, variables, error))
}

fn given(url: &str, variables: &ClientVariables, error: app::Error) -> Error {
    Error::Database { url: masked(url), source: Box::new(variables.explain(url, error)) }
}

/// Waits until the private server accepts connections. It does not connect, because sqlx would apply the caller's variables
/// of PostgreSQL.
pub(super) async fn ready(cluster: &Cluster) -> Result<(), Error> {
    let deadline = Instant::now() + START_TIMEOUT;
    while ready_server(&cluster.folder).is_none() {
        if Instant::now() > deadline {
            return Err(io("PostgreSQL does not accept connections")(std::io::ErrorKind::TimedOut.into()));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Writes the data set to the private database, in a process without the caller's variables of PostgreSQL.
pub(super) async fn seed_private(executable: &Path, cluster: &Cluster, data: DataSet) -> Result<(), Error> {
    let mut command = Command::new(executable);
    command.args(["seed", "--tutors", &data.tutors.to_string(), "--students", &data.students.to_string()]);
    command.env("DATABASE_URL", cluster.url()).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    without_client_variables(&mut command);
    let output = command.output().await.map_err(io("cannot start `workbench seed`"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    Err(Error::Seed { log: lines[lines.len().saturating_sub(QUOTED_LOG_LINES)..].join("\n") })
}
