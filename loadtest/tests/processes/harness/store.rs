//! A storage that several queues or caches share: a real server on a free port.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{eventually, free_address};

/// A server, killed when dropped.
#[derive(Debug)]
pub(crate) struct Store {
    child: Child,
    pub(crate) address: SocketAddr,
    _folder: TempDir,
}

impl Store {
    /// A Redis without persistence.
    pub(crate) fn redis() -> Self {
        Self::start("redis-server", |command, port, folder| {
            command.args(["--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no"]);
            command.args(["--dir", folder]);
        })
    }

    /// A NATS server with JetStream.
    pub(crate) fn nats() -> Self {
        Self::start("nats-server", |command, port, folder| {
            command.args(["--addr", "127.0.0.1", "--port", port, "--jetstream", "--store_dir", folder]);
        })
    }

    fn start(program: &str, arguments: impl FnOnce(&mut Command, &str, &str)) -> Self {
        let (folder, address) = (TempDir::new().unwrap(), free_address());
        let mut command = Command::new(program);
        arguments(&mut command, &address.port().to_string(), folder.path().to_str().unwrap());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{program} is installed: {error}"));
        eventually(&format!("{program} listens"), || TcpStream::connect(address).is_ok());
        Self { child, address, _folder: folder }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
