//! The only reader of the environment: variables in, typed values out, with an error that says what to set.

mod env;

use std::ops::RangeInclusive;
use std::time::Duration;

use telemetry::{Endpoint, LogFilter, Sampling};

use crate::peer::Peer;
use crate::service::Service;
use env::{Env, invalid};

/// Longer than a consumer's long poll at the queue, which would otherwise never be answered.
const REQUEST_TIMEOUT_MS: RangeInclusive<u64> = 3_000..=600_000;

/// A task's lease lasts for 30 s: what takes longer is handed out again while it is being sent.
const NOTIFICATION_DELAY_MS: RangeInclusive<u64> = 0..=20_000;

/// As many tasks as the queue hands out in one reply.
const NOTIFICATION_CONCURRENCY: RangeInclusive<usize> = 1..=1_000;

/// A setting that is absent or does not parse.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A variable without a default is not set.
    #[error("{name} is not set: {hint}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What to set it to.
        hint: &'static str,
    },
    /// A variable's value is not usable.
    #[error("{name} is not usable: {reason}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// Why, without the value: it may be a secret.
        reason: String,
    },
}

/// Whether the process's environment sets `name`.
pub fn is_set(name: &str) -> bool {
    Env::of_process().get(name).is_some()
}

/// Reads the sampler of traces from the process's environment.
pub fn sampling() -> Result<Sampling, ConfigError> {
    Env::of_process().sampling()
}

/// What any role may need; each role asks for its own part.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the role listens, `host:port`.
    pub listen: String,
    /// `service.instance.id`.
    pub instance: String,
    /// Also stop when standard input closes: a parent that is killed then leaves no child.
    pub stop_with_stdin: bool,
    /// How long readiness is refused before accepting stops.
    pub drain: Duration,
    /// Longest time one request may take.
    pub request_timeout: Duration,
    /// Peers.
    pub peers: Peers,
    /// PostgreSQL, for the roles that use it.
    pub database_url: Option<String>,
    /// Key of the tokens, for the gateways.
    pub jwt_secret: Option<String>,
    /// Balancer: origins that browsers may call from.
    pub cors_origins: Vec<String>,
    /// Frontend: the balancer's public port.
    pub api_port: u16,
    /// Gateway: how long a search may be served from the cache.
    pub search_cache_ttl: Duration,
    /// Cache: its bound.
    pub cache_max_bytes: u64,
    /// Queue: tasks that may wait.
    pub queue_capacity: usize,
    /// Notification: the simulated time of sending one.
    pub notification_delay: Duration,
    /// Notification: how many are sent at once.
    pub notification_concurrency: usize,
    telemetry: telemetry::Settings,
}

/// Base URLs of the roles that a role calls.
#[derive(Debug, Clone)]
pub struct Peers {
    /// In round-robin order.
    pub gateways: Vec<String>,
    /// The cache.
    pub cache: String,
    /// The search service.
    pub search: String,
    /// The booking service.
    pub booking: String,
    /// The task queue.
    pub queue: String,
}

impl Config {
    /// Reads the settings of `service` from the process's environment.
    pub fn from_env(service: Service) -> Result<Self, ConfigError> {
        Self::read(service, &Env::of_process())
    }

    /// The settings that an environment of `pairs` gives.
    #[cfg(test)]
    pub(crate) fn for_test(service: Service, pairs: &[(&str, &str)]) -> Self {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let find =
            move |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        Self::read(service, &Env(Box::new(find))).expect("usable settings")
    }

    fn read(service: Service, env: &Env) -> Result<Self, ConfigError> {
        Ok(Self {
            listen: env.address("LISTEN", &format!("127.0.0.1:{}", service.port()))?,
            instance: env.text("SERVICE_INSTANCE_ID", service.name()),
            stop_with_stdin: env.get("STOP_WITH_STDIN").is_some(),
            drain: env.millis("DRAIN_MS", 1000)?,
            request_timeout: Duration::from_millis(env.within(
                "REQUEST_TIMEOUT_MS",
                10_000,
                REQUEST_TIMEOUT_MS,
            )?),
            peers: Peers::read(env)?,
            database_url: env.secret("DATABASE_URL")?,
            jwt_secret: env.secret("JWT_SECRET")?,
            cors_origins: env.list(
                "CORS_ORIGINS",
                "http://localhost,http://127.0.0.1,http://localhost:8080,http://127.0.0.1:8080",
            ),
            api_port: env.number("API_PORT", Service::Balancer.port())?,
            search_cache_ttl: Duration::from_secs(env.number("SEARCH_CACHE_TTL_SECONDS", 30)?),
            cache_max_bytes: env.number("CACHE_MAX_BYTES", 32 << 20)?,
            queue_capacity: env.positive("QUEUE_CAPACITY", 100_000)?,
            notification_delay: Duration::from_millis(env.within(
                "NOTIFICATION_DELAY_MS",
                20,
                NOTIFICATION_DELAY_MS,
            )?),
            notification_concurrency: env.within("NOTIFICATION_CONCURRENCY", 16, NOTIFICATION_CONCURRENCY)?,
            telemetry: telemetry::Settings {
                otlp_endpoint: env
                    .optional_url("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")?
                    .map_or(Endpoint::Off, Endpoint::Grpc),
                log_filter: env.number("RUST_LOG", LogFilter::default())?,
                span_queue_size: env.positive("OTEL_BSP_MAX_QUEUE_SIZE", 65_536)?,
                span_batch_size: env.positive("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?,
                span_delay: env.millis("OTEL_BSP_SCHEDULE_DELAY", 200)?,
                sampling: env.sampling()?,
            },
        })
    }

    /// The telemetry of `service`. The collector exports no spans: it would trace itself without end.
    pub fn telemetry(&self, service: Service) -> telemetry::Settings {
        let mut settings = self.telemetry.clone();
        if service == Service::Collector {
            settings.otlp_endpoint = Endpoint::Off;
        }
        settings
    }

    /// The database's address, which the caller needs.
    pub fn database_url(&self) -> Result<&str, ConfigError> {
        self.database_url.as_deref().ok_or(ConfigError::Missing {
            name: "DATABASE_URL",
            hint: "set it (or DATABASE_URL_FILE) to postgres://USER:PASSWORD@HOST:PORT/DATABASE",
        })
    }

    /// The peer that the variable `name` tells of.
    pub(crate) fn peer(&self, name: &'static str, base: &str) -> Result<Peer, ConfigError> {
        self.prompt_peer(name, base, self.request_timeout)
    }

    /// A peer whose answer is not waited for longer than `deadline`.
    pub(crate) fn prompt_peer(
        &self,
        name: &'static str,
        base: &str,
        deadline: Duration,
    ) -> Result<Peer, ConfigError> {
        Peer::new(base, deadline.min(self.request_timeout)).map_err(|error| invalid(name, error))
    }

    /// The tokens' key, which the caller needs; all gateways must share it.
    pub fn jwt_secret(&self) -> Result<&str, ConfigError> {
        let secret = self.jwt_secret.as_deref().ok_or(ConfigError::Missing {
            name: "JWT_SECRET",
            hint: "set it (or JWT_SECRET_FILE) to at least 32 random bytes, the same for every gateway",
        })?;
        if secret.len() < 32 {
            return Err(ConfigError::Invalid { name: "JWT_SECRET", reason: "shorter than 32 bytes".into() });
        }
        Ok(secret)
    }
}

impl Peers {
    fn read(env: &Env) -> Result<Self, ConfigError> {
        let url = |name, service: Service| env.url(name, &format!("http://127.0.0.1:{}", service.port()));
        let gateways = env.urls("GATEWAY_URLS", "http://127.0.0.1:8001,http://127.0.0.1:8002")?;
        if gateways.is_empty() {
            return Err(ConfigError::Missing { name: "GATEWAY_URLS", hint: "name at least one gateway" });
        }
        Ok(Self {
            gateways,
            cache: url("CACHE_URL", Service::Cache)?,
            search: url("SEARCH_URL", Service::Search)?,
            booking: url("BOOKING_URL", Service::Booking)?,
            queue: url("QUEUE_URL", Service::Queue)?,
        })
    }
}

#[cfg(test)]
mod tests;
