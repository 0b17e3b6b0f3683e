//! The role processes of a stack and the environment of each.

use std::path::Path;

use system::role::Role;
use tokio::process::Command;

use super::ports::Ports;
use super::postgres::without_client_variables;
use super::scale::Storages;

/// One process of the stack that runs a role.
#[derive(Clone, Debug)]
pub(crate) struct RoleProcess {
    /// Instance name, which also names the log file: the name of the service, with a number if it is not the first one.
    /// Gateways have a number in any case.
    pub(crate) name: String,
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
    /// Storages of the queue and the cache.
    pub(crate) storages: &'a Storages,
}

/// Stop order of the process that owns the folder and the database; the last one.
pub(crate) const KEEPER_STOP_ORDER: u8 = 6;

/// Time for which a stopping role reports "not ready" before it stops accepting requests. Short, because its callers have no
/// other process to go to.
const DRAIN_MS: &str = "20";
/// The same for a role with several processes. Longer than the interval at which the balancer probes (200 ms), so that a
/// restart of one process fails no request.
const DRAIN_OF_SEVERAL_MS: &str = "300";

/// Number of worker threads of a role, unless the environment sets it. A dozen processes share the machine and each hop
/// works for microseconds, so waking a second worker costs more than it gains.
const WORKERS: &str = "TOKIO_WORKER_THREADS";
/// CPUs per worker thread.
const CPUS_PER_WORKER: usize = 4;

/// Variables that a role does not inherit.
const NOT_INHERITED: [&str; 4] = ["DATABASE_URL", "DATABASE_URL_FILE", "JWT_SECRET", "JWT_SECRET_FILE"];

/// Returns every role process of the stack.
pub(crate) fn all(ports: &Ports, shared: &SharedSettings<'_>) -> Vec<RoleProcess> {
    let database = shared.database_url;
    let queue = given("QUEUE_BACKEND", shared.storages.queue.as_deref());
    let cache = given("CACHE_BACKEND", shared.storages.cache.as_deref());
    let gateway = [
        ("JWT_SECRET", shared.jwt_secret.to_owned()),
        ("CACHE_URL", urls(&ports.cache)),
        ("SEARCH_URL", urls(&ports.search)),
        ("BOOKING_URL", urls(&ports.booking)),
    ];
    let mut roles = vec![
        single(Role::Collector, ports.collector, 5)
            .with("OTLP_GRPC_LISTEN", address(ports.otlp_grpc))
            .with("OTLP_HTTP_LISTEN", address(ports.otlp_http))
            .with("COLLECTOR_QUERY_GRPC_LISTEN", address(ports.query_grpc)),
        single(Role::Balancer, ports.balancer, 0)
            .with("GATEWAY_URLS", urls(&ports.gateways))
            .with("CORS_ORIGINS", format!("http://localhost:{0},http://127.0.0.1:{0}", ports.frontend))
            // The stack listens on loopback only, and its load generator runs on the same machine.
            .with("TRUST_TRACEPARENT", "127.0.0.0/8,::1"),
        single(Role::Frontend, ports.frontend, 0).with("API_PORT", ports.balancer.to_string()),
    ];
    roles.extend(processes(Role::Queue, &ports.queue, 4).map(|role| role.with_all(&queue)));
    roles.extend(processes(Role::Cache, &ports.cache, 2).map(|role| role.with_all(&cache)));
    roles.extend(processes(Role::Gateway, &ports.gateways, 1).map(|role| role.with_all(&gateway)));
    roles.extend(processes(Role::Search, &ports.search, 2).map(|role| role.with_database(database)));
    roles.extend(processes(Role::Booking, &ports.booking, 2).map(|role| {
        let role = role.with_database(database).with("CACHE_URL", urls(&ports.cache));
        role.with("QUEUE_URL", urls(&ports.queue))
    }));
    roles.extend(
        processes(Role::Notification, &ports.notification, 3)
            .map(|role| role.with_database(database).with("QUEUE_URL", urls(&ports.queue))),
    );
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let default = cpus.div_ceil(CPUS_PER_WORKER).to_string();
    for role in &mut roles {
        role.private_database = shared.private_database;
        role.environment.push(("OTEL_EXPORTER_OTLP_ENDPOINT", shared.export_to.to_owned()));
        match shared.worker_threads {
            Some(given) => role.environment.push((WORKERS, given.to_owned())),
            // The collector receives the spans of all roles and answers queries meanwhile: tokio's own default.
            None if role.role == Role::Collector => {}
            None => role.environment.push((WORKERS, default.clone())),
        }
    }
    roles
}

/// Returns the process of a role that runs once.
fn single(role: Role, port: u16, stop_order: u8) -> RoleProcess {
    process(role, 0, port, stop_order, DRAIN_MS)
}

/// Returns the processes of a role, one for each port.
fn processes(role: Role, ports: &[u16], stop_order: u8) -> impl Iterator<Item = RoleProcess> {
    let drain_ms = if ports.len() > 1 { DRAIN_OF_SEVERAL_MS } else { DRAIN_MS };
    ports.iter().enumerate().map(move |(index, port)| process(role, index, *port, stop_order, drain_ms))
}

fn process(role: Role, index: usize, port: u16, stop_order: u8, drain_ms: &str) -> RoleProcess {
    let service = role.service_name();
    let name = match (role, index) {
        (Role::Gateway, _) | (_, 1..) => format!("{service}_{}", index + 1),
        (_, 0) => service.to_owned(),
    };
    let environment = vec![
        ("LISTEN", address(port)),
        ("SERVICE_INSTANCE_ID", name.clone()),
        ("STOP_WITH_STDIN", "1".to_owned()),
        ("DRAIN_MS", drain_ms.to_owned()),
    ];
    RoleProcess { name, role, port, stop_order, needs_database: false, private_database: false, environment }
}

/// Returns the setting if it has a value; otherwise the role's default applies.
fn given(variable: &'static str, value: Option<&str>) -> Vec<(&'static str, String)> {
    value.map(|value| (variable, value.to_owned())).into_iter().collect()
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

    fn with_all(mut self, settings: &[(&'static str, String)]) -> Self {
        self.environment.extend_from_slice(settings);
        self
    }

    fn with_database(mut self, database_url: &str) -> Self {
        self.needs_database = true;
        self.with("DATABASE_URL", database_url)
    }
}

/// Returns the URLs of ports of this stack, separated by commas.
fn urls(ports: &[u16]) -> String {
    ports.iter().map(|port| loopback(*port)).collect::<Vec<_>>().join(",")
}

/// Returns the URL of a port of this stack.
pub(crate) fn loopback(port: u16) -> String {
    format!("http://{}", address(port))
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
