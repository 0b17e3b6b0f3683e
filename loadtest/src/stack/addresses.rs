//! The addresses of a stack, as a table or as one JSON object.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::ports::Ports;
use super::process::ChildProcess;
use super::role_process::loopback;

/// URLs, log files and process ids of a running stack.
#[derive(Debug, Serialize)]
pub(crate) struct Addresses {
    pub(crate) frontend: String,
    pub(crate) balancer: String,
    pub(crate) gateways: [String; 2],
    pub(crate) cache: String,
    pub(crate) search: String,
    pub(crate) booking: String,
    pub(crate) queue: String,
    pub(crate) notification: String,
    pub(crate) collector: String,
    pub(crate) otlp_grpc: String,
    pub(crate) otlp_http: String,
    pub(crate) query_grpc: String,
    pub(crate) database_url: String,
    pub(crate) folder: PathBuf,
    pub(crate) processes: BTreeMap<&'static str, Running>,
}

/// One process of the stack.
#[derive(Debug, Serialize)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) log: PathBuf,
}

impl Addresses {
    pub(super) fn new(ports: &Ports, database_url: &str, folder: &Path, processes: &[ChildProcess]) -> Self {
        let running =
            |process: &ChildProcess| (process.name, Running { pid: process.pid, log: process.log.clone() });
        Self {
            frontend: loopback(ports.frontend),
            balancer: loopback(ports.balancer),
            gateways: ports.gateways.map(loopback),
            cache: loopback(ports.cache),
            search: loopback(ports.search),
            booking: loopback(ports.booking),
            queue: loopback(ports.queue),
            notification: loopback(ports.notification),
            collector: loopback(ports.collector),
            otlp_grpc: loopback(ports.otlp_grpc),
            otlp_http: loopback(ports.otlp_http),
            query_grpc: loopback(ports.query_grpc),
            database_url: database_url.to_owned(),
            folder: folder.to_owned(),
            processes: processes.iter().map(running).collect(),
        }
    }

    /// Returns a shell pattern that matches all log files.
    pub(crate) fn logs(&self) -> String {
        self.folder.join("*.log").display().to_string()
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = &self.gateways;
        for (what, address, hint) in [
            ("frontend", self.frontend.as_str(), "log in as student1, password \"password\""),
            ("API", &self.balancer, "POST /token, GET /search?subject=Math, POST /book, GET /bookings"),
            ("gateways", first, second),
            ("cache", &self.cache, ""),
            ("search", &self.search, ""),
            ("booking", &self.booking, ""),
            ("queue", &self.queue, ""),
            ("notification", &self.notification, ""),
            ("traces", &self.collector, "Jaeger's query API: /api/services, /api/traces/{id}"),
            ("OTLP/gRPC", &self.otlp_grpc, ""),
            ("OTLP/HTTP", &self.otlp_http, ""),
            ("Jaeger gRPC", &self.query_grpc, "query services, and the storage of a Jaeger"),
            ("database", &self.database_url, ""),
        ] {
            writeln!(f, "{}", format!("  {what:<13} {address:<25} {hint}").trim_end())?;
        }
        write!(f, "  {:<13} tail -F {}", "logs", self.logs())
    }
}
