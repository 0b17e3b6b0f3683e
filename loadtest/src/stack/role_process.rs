//! The role processes of a stack and the environment of each.

use std::path::Path;

use system::role::Role;
use tokio::process::Command;

use super::ports::Ports;
use super::postgres::without_client_variables;

/// One process of the stack that runs a role.
#[derive(Debug)]
pub(crate) struct RoleProcess {
    /// Instance name, which also names the log file.
    pub(crate) name: &'static str,
    /// The role that the process runs.
    pub(crate) role: Role,
    /// Port of the role's API and health checks.
    pub(crate) port: u16,
    /// Processes with a lower number stop first, so that a role stops after its callers and the collector receives the last
    /// spans of all roles.
    pub(crate) stop_order: u8,
    pub(crate) needs_database: bool,
    private_database: bool,
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// Settings that several roles share, addresses aside.
#[derive(Debug)]
pub(crate) struct SharedSettings<'a> {
    /// Whether the database belongs to the stack, so that the caller's variables of PostgreSQL do not apply.
    pub(crate) private_database: bool,
    pub(crate) database_url: &'a str,
    pub(crate) jwt_secret: &'a str,
    /// OTLP endpoint that receives the spans.
    pub(crate) export_to: &'a str,
    /// Worker threads of each role instead of the number that the stack chooses.
    pub(crate) worker_threads: Option<&'a str>,
}

/// Stop order of the process that owns the folder and the database; the last one.
pub(crate) const KEEPER_STOP_ORDER: u8 = 6;

/// Time for which a stopping role reports "not ready" before it stops accepting requests. Short, because all roles stop
/// together and no balancer has to react.
const DRAIN_MS: &str = "20";

/// Number of worker threads of a role, unless the environment sets it. A dozen processes share the machine and each hop
/// works for microseconds, so waking a second worker costs more than it gains.
const WORKERS: &str = "TOKIO_WORKER_THREADS";
/// CPUs per worker thread.
const CPUS_PER_WORKER: usize = 4;

/// Variables that a role does not inherit.
const NOT_INHERITED: [&str; 4] = ["DATABASE_URL", "DATABASE_URL_FILE", "JWT_SECRET", "JWT_SECRET_FILE"];

/// Returns every role process of the stack.
pub(crate) fn all(ports: &Ports, shared: &SharedSettings<'_>) -> Vec<RoleProcess> {
    let url = |port: u16| loopback(port);
    let gateway = |name, port| {
        process(name, Role::Gateway, port, 1)
            .with("JWT_SECRET", shared.jwt_secret)
            .with("CACHE_URL", url(ports.cache))
            .with("SEARCH_URL", url(ports.search))
            .with("BOOKING_URL", url(ports.booking))
    };
    let mut roles = vec![
        role(Role::Collector, ports.collector, 5)
            .with("OTLP_GRPC_LISTEN", address(ports.otlp_grpc))
            .with("OTLP_HTTP_LISTEN", address(ports.otlp_http))
            .with("COLLECTOR_QUERY_GRPC_LISTEN", address(ports.query_grpc)),
        role(Role::Queue, ports.queue, 4),
        role(Role::Cache, ports.cache, 2),
        gateway("api_gateway_1", ports.gateways[0]),
        gateway("api_gateway_2", ports.gateways[1]),
        role(Role::Balancer, ports.balancer, 0)
            .with("GATEWAY_URLS", ports.gateways.map(loopback).join(","))
            .with("CORS_ORIGINS", format!("http://localhost:{0},http://127.0.0.1:{0}", ports.frontend))
            // The stack listens on loopback only, and its load generator runs on the same machine.
            .with("TRUST_TRACEPARENT", "127.0.0.0/8,::1"),
        role(Role::Frontend, ports.frontend, 0).with("API_PORT", ports.balancer.to_string()),
        role(Role::Search, ports.search, 2).with_database(shared.database_url),
        role(Role::Booking, ports.booking, 2)
            .with_database(shared.database_url)
            .with("QUEUE_URL", url(ports.queue)),
        role(Role::Notification, ports.notification, 3)
            .with_database(shared.database_url)
            .with("QUEUE_URL", url(ports.queue)),
    ];
    for role in &mut roles {
        role.private_database = shared.private_database;
        role.environment.push(("OTEL_EXPORTER_OTLP_ENDPOINT", shared.export_to.to_owned()));
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let default = cpus.div_ceil(CPUS_PER_WORKER).to_string();
    for role in &mut roles {
        match shared.worker_threads {
            Some(given) => role.environment.push((WORKERS, given.to_owned())),
            // The collector receives the spans of all roles and answers queries meanwhile: tokio's own default.
            None if role.role == Role::Collector => {}
            None => role.environment.push((WORKERS, default.clone())),
        }
    }
    roles
}

/// Returns the process of a role that runs only once, named like its service.
fn role(role: Role, port: u16, stop_order: u8) -> RoleProcess {
    process(role.service_name(), role, port, stop_order)
}

fn process(name: &'static str, role: Role, port: u16, stop_order: u8) -> RoleProcess {
    let environment = vec![
        ("LISTEN", address(port)),
        ("SERVICE_INSTANCE_ID", name.to_owned()),
        ("STOP_WITH_STDIN", "1".to_owned()),
        ("DRAIN_MS", DRAIN_MS.to_owned()),
    ];
    RoleProcess { name, role, port, stop_order, needs_database: false, private_database: false, environment }
}

impl RoleProcess {
    /// Returns the command `workbench serve ROLE` with the process's environment added to the inherited one.
    pub(crate) fn command(&self, executable: &Path) -> Command {
        let mut command = Command::new(executable);
        command.arg("serve").arg(self.role.command());
        for variable in NOT_INHERITED {
            command.env_remove(variable);
        }
        if self.private_database {
            without_client_variables(&mut command);
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

/// Returns the URL of a port of this stack.
pub(crate) fn loopback(port: u16) -> String {
    format!("http://{}", address(port))
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
