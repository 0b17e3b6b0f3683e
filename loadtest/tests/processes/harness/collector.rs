//! A collector that does not belong to a stack.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use super::{RoleProcess, eventually, free_address, get_blocking};

/// A ready collector, killed when dropped.
#[derive(Debug)]
pub(crate) struct Collector {
    _process: RoleProcess,
    listen: [SocketAddr; 4],
    /// Base URL of the pages and query APIs.
    pub(crate) query: String,
    /// OTLP/gRPC endpoint.
    pub(crate) otlp_grpc: String,
    /// OTLP/HTTP endpoint.
    pub(crate) otlp_http: String,
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// `change` adds arguments or environment, such as a smaller store.
    pub(crate) fn start_with(change: impl FnOnce(&mut Command)) -> Self {
        Self::start_at([free_address(), free_address(), free_address(), free_address()], change)
    }

    fn start_at(listen: [SocketAddr; 4], change: impl FnOnce(&mut Command)) -> Self {
        let process = RoleProcess::spawn("collector", |command| {
            command
                .env("LISTEN", listen[0].to_string())
                .env("OTLP_GRPC_LISTEN", listen[1].to_string())
                .env("OTLP_HTTP_LISTEN", listen[2].to_string())
                .env("COLLECTOR_QUERY_GRPC_LISTEN", listen[3].to_string());
            change(command);
        });
        let [query, otlp_grpc, otlp_http, _] = listen.map(|address| format!("http://{address}"));
        let collector = Self { _process: process, listen, query, otlp_grpc, otlp_http };
        eventually("the collector is ready", || collector.get("/health/ready").is_some());
        collector
    }

    /// Kills the process and starts an empty collector on the same addresses.
    pub(crate) fn kill_and_restart(self) -> Self {
        let listen = self.listen;
        drop(self);
        Self::start_at(listen, |_| {})
    }

    /// The body of a GET, or `None` when the status is not 2xx.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        get_blocking(&format!("{}{path}", self.query))
    }

    /// A trace in Jaeger's JSON.
    pub(crate) fn trace(&self, id: &str) -> Value {
        let body = self.get(&format!("/api/traces/{id}")).unwrap_or_else(|| panic!("no trace {id}"));
        serde_json::from_str(&body).unwrap()
    }
}
