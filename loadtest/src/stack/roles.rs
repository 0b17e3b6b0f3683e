//! Which roles a stack runs, and what each is told by its environment.

use std::path::Path;

use tokio::process::Command;

use super::ports::Ports;

/// One process of the request path.
#[derive(Debug)]
pub(crate) struct Role {
    /// Its instance name; names its log file too.
    pub(crate) name: &'static str,
    /// What `workbench serve` calls it.
    pub(crate) serve: &'static str,
    /// Where it listens, and answers for its health.
    pub(crate) port: u16,
    /// Lower depths stop first: nobody then calls a role that is gone, and the collector sees everyone's last spans.
    pub(crate) depth: u8,
    pub(crate) needs_database: bool,
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// What the roles are told besides each other's addresses.
#[derive(Debug)]
pub(crate) struct SharedSettings<'a> {
    pub(crate) database_url: &'a str,
    pub(crate) jwt_secret: &'a str,
    /// Where the spans go.
    pub(crate) export_to: &'a str,
    /// Worker threads of each role instead of the number that the stack chooses.
    pub(crate) worker_threads: Option<&'a str>,
}

/// The depth of the process that keeps the folder and the database.
pub(crate) const KEEPER_DEPTH: u8 = 6;

/// How long a role answers "not ready" before it stops accepting. Nobody balances on it when all stop together.
const DRAIN_MS: &str = "20";

/// How many threads a role of the request path works with, unless the environment says otherwise. A dozen processes
/// share the machine and each hop's work is microseconds: to wake a second worker costs more than it brings.
const WORKERS: &str = "TOKIO_WORKER_THREADS";
const CORES_A_WORKER: usize = 4;

/// What a role does not inherit from whoever started the stack.
const PRIVATE: [&str; 4] = ["DATABASE_URL", "DATABASE_URL_FILE", "JWT_SECRET", "JWT_SECRET_FILE"];

/// Every role of the stack.
pub(crate) fn all(ports: &Ports, around: &SharedSettings<'_>) -> Vec<Role> {
    let url = |port: u16| loopback(port);
    let gateway = |name, port| {
        role(name, "gateway", port, 1)
            .with("JWT_SECRET", around.jwt_secret)
            .with("CACHE_URL", url(ports.cache))
            .with("SEARCH_URL", url(ports.search))
            .with("BOOKING_URL", url(ports.booking))
    };
    let mut roles = vec![
        role("collector", "collector", ports.collector, 5)
            .with("OTLP_GRPC_LISTEN", address(ports.otlp_grpc))
            .with("OTLP_HTTP_LISTEN", address(ports.otlp_http)),
        role("queue", "queue", ports.queue, 4),
        role("cache", "cache", ports.cache, 2),
        gateway("api_gateway_1", ports.gateways[0]),
        gateway("api_gateway_2", ports.gateways[1]),
        role("load_balancer", "balancer", ports.balancer, 0)
            .with("GATEWAY_URLS", ports.gateways.map(loopback).join(","))
            .with("CORS_ORIGINS", format!("http://localhost:{0},http://127.0.0.1:{0}", ports.frontend)),
        role("frontend", "frontend", ports.frontend, 0).with("API_PORT", ports.balancer.to_string()),
        role("search_service", "search", ports.search, 2).with_database(around.database_url),
        role("booking_service", "booking", ports.booking, 2)
            .with_database(around.database_url)
            .with("QUEUE_URL", url(ports.queue)),
        role("notification_service", "notification", ports.notification, 3)
            .with_database(around.database_url)
            .with("QUEUE_URL", url(ports.queue)),
    ];
    for role in &mut roles {
        role.environment.push(("OTEL_EXPORTER_OTLP_ENDPOINT", around.export_to.to_owned()));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let chosen = cores.div_ceil(CORES_A_WORKER).to_string();
    for role in &mut roles {
        match around.worker_threads {
            Some(given) => role.environment.push((WORKERS, given.to_owned())),
            // The collector receives the spans of all roles and answers queries meanwhile: tokio's own default.
            None if role.serve == "collector" => {}
            None => role.environment.push((WORKERS, chosen.clone())),
        }
    }
    roles
}

fn role(name: &'static str, serve: &'static str, port: u16, depth: u8) -> Role {
    let environment = vec![
        ("LISTEN", address(port)),
        ("SERVICE_INSTANCE_ID", name.to_owned()),
        ("STOP_WITH_STDIN", "1".to_owned()),
        ("DRAIN_MS", DRAIN_MS.to_owned()),
    ];
    Role { name, serve, port, depth, needs_database: false, environment }
}

impl Role {
    /// `workbench serve ROLE` with this environment on top of the inherited one.
    pub(crate) fn command(&self, executable: &Path) -> Command {
        let mut command = Command::new(executable);
        command.arg("serve").arg(self.serve);
        for variable in PRIVATE {
            command.env_remove(variable);
        }
        command.envs(self.environment.iter().map(|(variable, value)| (variable, value)));
        command
    }

    fn with(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((variable, value.into()));
        self
    }

    fn with_database(mut self, database_url: &str) -> Self {
        self.needs_database = true;
        self.with("DATABASE_URL", database_url)
    }
}

/// The URL of a port of this stack.
pub(crate) fn loopback(port: u16) -> String {
    format!("http://{}", address(port))
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
