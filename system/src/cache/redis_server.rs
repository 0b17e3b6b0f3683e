//! A real `redis-server` for tests.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server on a free port, killed when dropped. It writes a snapshot only for `SAVE`.
#[derive(Debug)]
pub(crate) struct RedisServer {
    port: u16,
    child: Child,
    folder: PathBuf,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("workbench-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self { port, child: spawn(port, &folder), folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the server again after [`Self::kill`], on the same port, with its snapshot if there is one.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(self.port, &self.folder);
    }

    /// Sends an inline command and returns the first line of its reply.
    pub(crate) fn call(&self, command: &str) -> String {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        write!(connection, "{command}\r\n").unwrap();
        let mut reply = String::new();
        BufReader::new(connection).read_line(&mut reply).unwrap();
        reply.trim_end().to_owned()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Starts a server and waits until it accepts connections.
fn spawn(port: u16, folder: &Path) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(folder);
    let mut child = command.stdout(Stdio::null()).spawn().expect("redis-server is installed");
    let give_up = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(child.try_wait().unwrap().is_none(), "redis-server ended");
        assert!(Instant::now() < give_up, "redis-server does not listen on port {port}");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}
