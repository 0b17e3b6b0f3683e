//! The addresses of a stack: as a table, as one JSON object, and in a file.
//!
//! What is printed does not contain the database's password; the file does, and only its owner can read it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::data_set::DataSet;
use super::database_url::masked;
use super::ports::Ports;
use super::role_process::loopback;

/// Name of the file in the stack's folder.
pub(crate) const FILE: &str = "addresses.json";

/// URLs, log files and process ids of a running stack.
#[derive(Debug, Serialize)]
pub(crate) struct Addresses {
    pub(crate) frontend: String,
    pub(crate) balancer: String,
    pub(crate) gateways: Vec<String>,
    pub(crate) cache: Urls,
    pub(crate) search: Urls,
    pub(crate) booking: Urls,
    pub(crate) queue: Urls,
    pub(crate) notification: Urls,
    pub(crate) collector: String,
    pub(crate) otlp_grpc: String,
    pub(crate) otlp_http: String,
    pub(crate) query_grpc: String,
    pub(crate) database_url: String,
    pub(crate) folder: PathBuf,
    /// Start of the stack, in milliseconds since 1970.
    started_at_ms: i64,
    pub(crate) processes: BTreeMap<String, StackProcess>,
    /// OTLP/gRPC endpoint of the stack's spans, for those of the load generator.
    #[serde(skip)]
    load_otlp: String,
    /// Size of the data set, from which the load generator computes the expected replies.
    #[serde(skip)]
    data: DataSet,
}

/// The URLs of a role's processes: a string if there is one, otherwise a list.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Urls {
    One(String),
    Several(Vec<String>),
}

impl Urls {
    fn of(ports: &[u16]) -> Self {
        match ports {
            [port] => Self::One(loopback(*port)),
            ports => Self::Several(ports.iter().copied().map(loopback).collect()),
        }
    }

    fn all(&self) -> &[String] {
        match self {
            Self::One(url) => std::slice::from_ref(url),
            Self::Several(urls) => urls,
        }
    }
}

/// One process of a stack.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StackProcess {
    /// Process id; `null` while the process waits to be started again.
    pub(crate) pid: Option<u32>,
    /// Name of the role, `database` or `keeper`.
    pub(crate) role: String,
    /// Port of its API and health checks, or that of PostgreSQL.
    pub(crate) port: Option<u16>,
    pub(crate) log: PathBuf,
    /// Number of starts after the first one.
    pub(crate) restarts: u32,
}

/// What the stack's own part of [`Addresses`] consists of, addresses of roles aside.
#[derive(Debug)]
pub(super) struct Particulars<'a> {
    pub(super) database_url: &'a str,
    pub(super) folder: &'a Path,
    pub(super) started_at_ms: i64,
    pub(super) processes: BTreeMap<String, StackProcess>,
    pub(super) load_otlp: &'a str,
    pub(super) data: DataSet,
}

impl Addresses {
    pub(super) fn new(ports: &Ports, own: Particulars<'_>) -> Self {
        Self {
            frontend: loopback(ports.frontend),
            balancer: loopback(ports.balancer),
            gateways: ports.gateways.iter().copied().map(loopback).collect(),
            cache: Urls::of(&ports.cache),
            search: Urls::of(&ports.search),
            booking: Urls::of(&ports.booking),
            queue: Urls::of(&ports.queue),
            notification: Urls::of(&ports.notification),
            collector: loopback(ports.collector),
            otlp_grpc: loopback(ports.otlp_grpc),
            otlp_http: loopback(ports.otlp_http),
            query_grpc: loopback(ports.query_grpc),
            database_url: own.database_url.to_owned(),
            folder: own.folder.to_owned(),
            started_at_ms: own.started_at_ms,
            processes: own.processes,
            load_otlp: own.load_otlp.to_owned(),
            data: own.data,
        }
    }

    /// Writes all addresses, the database's password included, to a file in the stack's folder. A reader sees the earlier file
    /// or this one. Only the owner can read it.
    pub(super) fn write(&self) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(&self.folder)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.persist(self.file())?;
        Ok(())
    }

    /// Returns the path of the file that [`Addresses::write`] writes.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join(FILE)
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
        ] {
            row(f, what, address, hint)?;
        }
        for (role, urls) in [
            ("gateways", self.gateways.as_slice()),
            ("cache", self.cache.all()),
            ("search", self.search.all()),
            ("booking", self.booking.all()),
            ("queue", self.queue.all()),
            ("notification", self.notification.all()),
        ] {
            for (what, url) in std::iter::once(role).chain(std::iter::repeat("")).zip(urls) {
                row(f, what, url, "")?;
            }
        }
        for (what, address, hint) in [
            ("OTLP/gRPC", self.otlp_grpc.as_str(), "receives spans"),
            ("OTLP/HTTP", &self.otlp_http, "receives spans"),
            ("Jaeger gRPC", &self.query_grpc, "query services, and the storage of a Jaeger"),
            ("database", &database_url, &password),
        ] {
            row(f, what, address, hint)?;
        }
        writeln!(f, "  {:<13} tail -F {}", "logs", self.logs())?;
        write!(f, "\nTo load the system, run:\n\n  {}", self.load_command())
    }
}

/// Writes one line of the table.
fn row(f: &mut fmt::Formatter<'_>, what: &str, address: &str, hint: &str) -> fmt::Result {
    writeln!(f, "{}", format!("  {what:<13} {address:<25} {hint}").trim_end())
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
    fn one_url_is_a_string_and_several_are_a_list() {
        let json = |ports: &[u16]| serde_json::to_string(&Urls::of(ports)).unwrap();
        assert_eq!(json(&[8013]), r#""http://127.0.0.1:8013""#);
        assert_eq!(json(&[8013, 9000]), r#"["http://127.0.0.1:8013","http://127.0.0.1:9000"]"#);
    }

    #[test]
    fn quotes_words_for_a_shell() {
        assert_eq!(quoted("http://127.0.0.1:8000"), "http://127.0.0.1:8000");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("/home/o'neil/my tools/workbench"), r"'/home/o'\''neil/my tools/workbench'");
    }
}
