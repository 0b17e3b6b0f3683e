//! The first connection to a database that may be starting as well.

use std::io;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;

/// Maximum duration of one attempt. A server may accept the connection and send nothing.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(100);

/// Connects to a database that may be starting. Repeats attempts that fail because no process listens yet, because PostgreSQL
/// starts or stops, or because the server does not answer within 5 s, until `wait` has passed.
///
/// # Errors
///
/// Fails with the error of the last attempt.
pub async fn connect_when_started(
    server: &PgConnectOptions,
    wait: Duration,
) -> Result<PgConnection, sqlx::Error> {
    let give_up = Instant::now() + wait;
    loop {
        let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, PgConnection::connect_with(server));
        let error = match attempt.await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "the server does not answer").into(),
        };
        if !is_starting(&error) || Instant::now() >= give_up {
            return Err(error);
        }
        tracing::warn!(%error, "the database does not accept connections yet");
        tokio::time::sleep(ATTEMPT_PAUSE).await;
    }
}

/// Returns whether the database may accept connections soon: the connection failed, or PostgreSQL reports that it is starting
/// or stopping (SQLSTATE 57P). A server that is no PostgreSQL, a wrong password and a missing database do not go away.
fn is_starting(error: &sqlx::Error) -> bool {
    let is_start = |code: String| code.starts_with("57P");
    matches!(error, sqlx::Error::Io(_)) || super::sqlstate(error).is_some_and(is_start)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Connects to `listener`, and waits up to 12 s for the database to start. Returns the error and the time until it.
    async fn fails(listener: &TcpListener) -> (sqlx::Error, Duration) {
        let server = PgConnectOptions::new().host("127.0.0.1").port(listener.local_addr().unwrap().port());
        let (started, limit) = (Instant::now(), Duration::from_secs(60));
        let connected = tokio::time::timeout(limit, connect_when_started(&server, Duration::from_secs(12)));
        (connected.await.expect("each attempt has a limit").unwrap_err(), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_sends_nothing_is_tried_until_the_wait_is_over() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (error, elapsed) = fails(&silent).await;
        assert!(error.to_string().contains("the server does not answer"), "{error}");
        assert!((12..18).contains(&elapsed.as_secs()), "{elapsed:?}");
    }

    #[tokio::test]
    async fn a_server_of_another_protocol_fails_at_once() {
        let web = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let reply = async {
            // Kept open: a connection that breaks is opened again, as that of a server that is starting.
            let mut answered = Vec::new();
            loop {
                let (mut stream, _) = web.accept().await.unwrap();
                let _ = stream.read(&mut [0; 64]).await.unwrap();
                stream.write_all(b"X\0\0\0\x04").await.unwrap();
                answered.push(stream);
            }
        };
        let (error, elapsed) = tokio::select! {
            failed = fails(&web) => failed,
            () = reply => unreachable!(),
        };
        assert!(matches!(error, sqlx::Error::Protocol(_)), "{error:?}");
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    }
}
