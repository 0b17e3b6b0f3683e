//! The connection to Redis, opened again after every failure.
//!
//! redis's own `ConnectionManager` does not fit: it keeps a connection whose replies time out, so it would not recover from a
//! half-open one, and a command waits while it reconnects.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo as _, RedisError, RedisResult};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::cache::storage::Unavailable;

/// Time after a failed attempt to connect during which every operation fails at once.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// One connection that all operations share.
pub(super) struct Connection {
    client: Client,
    config: AsyncConnectionConfig,
    state: Mutex<State>,
}

/// A connection to one run of Redis.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) connection: MultiplexedConnection,
    /// The id that Redis chose when it started.
    run: Arc<str>,
}

impl Session {
    /// Returns the name of the value of `key`.
    pub(super) fn value_key(&self, key: &str) -> String {
        format!("value:{}:{key}", self.run)
    }

    /// Returns the name of the lease of `key`.
    pub(super) fn lease_key(&self, key: &str) -> String {
        format!("lease:{}:{key}", self.run)
    }
}

#[derive(Default)]
struct State {
    open: Option<Session>,
    /// Number of connections opened so far. A failure closes only the connection on which it occurred.
    opened: u64,
    retry_at: Option<Instant>,
}

impl Connection {
    pub(super) fn new(url: &str, timeout: Duration) -> RedisResult<Self> {
        let info = url.into_connection_info()?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        Ok(Self { client: Client::open(info)?, config, state: Mutex::default() })
    }

    /// Runs `operation`, whose main command is `command`, inside a CLIENT span.
    pub(super) async fn run<T>(
        &self,
        command: &'static str,
        operation: impl AsyncFnOnce(&mut Session) -> RedisResult<T>,
    ) -> Result<T, Unavailable> {
        let (mut session, number) = self.open().await?;
        let span = tracing::info_span!(
            "redis",
            otel.name = command,
            otel.kind = "client",
            db.system.name = "redis",
            db.operation.name = command,
        );
        let result = operation(&mut session).instrument(span).await;
        match result {
            Ok(value) => Ok(value),
            Err(error) => {
                self.close(number, &error).await;
                Err(Unavailable)
            }
        }
    }

    /// Returns the open session and its number. Connects if there is none.
    async fn open(&self) -> Result<(Session, u64), Unavailable> {
        let mut state = self.state.lock().await;
        if let Some(open) = &state.open {
            return Ok((open.clone(), state.opened));
        }
        if state.retry_at.is_some_and(|retry_at| Instant::now() < retry_at) {
            return Err(Unavailable);
        }
        let wait = telemetry::wait_span!("wait redis connection");
        let opened = self.connect().await;
        drop(wait);
        match opened {
            Ok(open) => {
                tracing::info!("connected to redis");
                state.open = Some(open.clone());
                state.opened += 1;
                state.retry_at = None;
                Ok((open, state.opened))
            }
            Err(error) => {
                if state.retry_at.is_none() {
                    tracing::warn!(%error, "cannot connect to redis: lookups are misses until it answers");
                }
                state.retry_at = Some(Instant::now() + RETRY_PAUSE);
                Err(Unavailable)
            }
        }
    }

    async fn connect(&self) -> RedisResult<Session> {
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&self.config).await?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let run = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        let run = run.ok_or((ErrorKind::UnexpectedReturnType, "INFO has no run_id"))?;
        Ok(Session { connection, run: run.trim().into() })
    }

    /// Closes connection `number` after `error`, unless Redis itself reported the error.
    async fn close(&self, number: u64, error: &RedisError) {
        tracing::warn!(%error, "an operation of redis failed");
        if matches!(error.kind(), ErrorKind::Server(_)) {
            return;
        }
        let mut state = self.state.lock().await;
        if state.opened == number {
            state.open = None;
        }
    }
}
