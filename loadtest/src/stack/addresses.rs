//! The addresses of a stack: as a table, as one JSON object, and in a file.
//!
//! What is printed does not contain the database's password; the file does, and only its owner can read it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::data_set::DataSet;
use super::database_url::masked;
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
    /// OTLP/gRPC endpoint of the stack's spans, for those of the load generator.
    #[serde(skip)]
    load_otlp: String,
    /// Size of the data set, from which the load generator computes the expected replies.
    #[serde(skip)]
    data: DataSet,
}

/// One process of the stack.
#[derive(Debug, Serialize)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) log: PathBuf,
}

impl Addresses {
    pub(super) fn new(
        ports: &Ports,
        database_url: &str,
        folder: &Path,
        processes: &[ChildProcess],
        (load_otlp, data): (String, DataSet),
    ) -> Self {
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
            load_otlp,
            data,
        }
    }

    /// Writes all addresses, the database's password included, to a file in the stack's folder.
    pub(super) fn write(&self) -> io::Result<()> {
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(self.file())?;
        file.write_all(&serde_json::to_vec(self)?)
    }

    /// Returns the path of the file that [`Addresses::write`] writes.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("addresses.json")
    }

    /// Returns the addresses as JSON, without the database's password.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        let mut value = serde_json::to_value(self)?;
        value["database_url"] = masked(&self.database_url).into();
        Ok(value.to_string())
    }

    /// Returns the command that loads this stack.
    fn load_command(&self) -> String {
        let program = std::env::args().next().unwrap_or_else(|| "workbench".into());
        let mut words = vec![program, "load".into()];
        for (flag, value) in
            [("--target", &self.balancer), ("--collector", &self.collector), ("--otlp", &self.load_otlp)]
        {
            words.extend([flag.to_owned(), value.clone()]);
        }
        for (flag, number) in [("--tutors", self.data.tutors), ("--students", self.data.students)] {
            words.extend([flag.to_owned(), number.to_string()]);
        }
        words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }

    /// Returns a shell pattern that matches all log files.
    pub(crate) fn logs(&self) -> String {
        self.folder.join("*.log").display().to_string()
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = &self.gateways;
        let database_url = masked(&self.database_url);
        let password = if database_url == self.database_url {
            String::new()
        } else {
            format!("password in {}", self.file().display())
        };
        for (what, address, hint) in [
            (
                "frontend",
                self.frontend.as_str(),
                "page for students: log in as student1, password \"password\"",
            ),
            ("API", &self.balancer, "POST /token, GET /search?subject=Math, POST /book, GET /bookings"),
            ("traces", &self.collector, "pages of the collector: traces, latency, dependencies"),
            (
                "Jaeger API",
                &self.collector,
                "/api/services, /api/traces/{id}, as served by Jaeger's query service",
            ),
            ("gateways", first, second),
            ("cache", &self.cache, ""),
            ("search", &self.search, ""),
            ("booking", &self.booking, ""),
            ("queue", &self.queue, ""),
            ("notification", &self.notification, ""),
            ("OTLP/gRPC", &self.otlp_grpc, "receives spans"),
            ("OTLP/HTTP", &self.otlp_http, "receives spans"),
            ("Jaeger gRPC", &self.query_grpc, "query services, and the storage of a Jaeger"),
            ("database", &database_url, &password),
        ] {
            writeln!(f, "{}", format!("  {what:<13} {address:<25} {hint}").trim_end())?;
        }
        writeln!(f, "  {:<13} tail -F {}", "logs", self.logs())?;
        write!(f, "\nTo load the system, run:\n\n  {}", self.load_command())
    }
}

/// Returns `word` quoted for a shell, if necessary.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_words_for_a_shell() {
        assert_eq!(quoted("http://127.0.0.1:8000"), "http://127.0.0.1:8000");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("/home/o'neil/my tools/workbench"), r"'/home/o'\''neil/my tools/workbench'");
    }
}
