//! A real NATS server with JetStream, in a temporary folder.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::Client;
use crate::queue::CancellationToken;
use crate::queue::limits::Limits;
use crate::queue::nats::NatsQueue;

pub(super) struct NatsServer {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl NatsServer {
    /// Starts a server on a port that it chooses.
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = spawn(folder.path(), -1);
        let ports = folder.path().join(format!("nats-server_{}.ports", process.id()));
        let port = eventually("the server writes its port", async || {
            let text = std::fs::read_to_string(&ports).ok()?;
            let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
            ports["nats"][0].as_str()?.rsplit_once(':')?.1.parse().ok()
        });
        let port = port.await;
        Self { folder, port, process }
    }

    /// Kills the server, as a crash would.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts the server again, on the same port and with the same files.
    pub(super) fn restart(&mut self) {
        self.process = spawn(self.folder.path(), i32::from(self.port));
    }

    /// Stops the process, as a machine that hangs would: its connections remain.
    pub(super) async fn stop(&self) {
        self.signal("-STOP");
        let process = self.process.id().to_string();
        eventually("the server is stopped", async || {
            let state = Command::new("ps").args(["-o", "state=", "-p", &process]).output().unwrap();
            state.stdout.starts_with(b"T").then_some(())
        })
        .await;
    }

    /// Continues the process after [`Self::stop`].
    pub(super) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Returns a queue on the server.
    pub(super) async fn queue(&self, limits: Limits) -> NatsQueue {
        let address = format!("nats://127.0.0.1:{}", self.port).parse().unwrap();
        NatsQueue::open(address, limits, CancellationToken::new()).await.unwrap()
    }

    /// Returns a client of another queue process on the server, when it is ready.
    pub(super) async fn client(&self, limits: Limits) -> Client {
        let queue = self.queue(limits).await;
        let ready = queue.readiness();
        eventually("the queue is ready", async || ready().await.then_some(())).await;
        Client::of(queue)
    }

    pub(super) async fn jetstream(&self) -> Context {
        jetstream::new(async_nats::connect(format!("127.0.0.1:{}", self.port)).await.unwrap())
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _killed = self.process.kill();
        let _ended = self.process.wait();
    }
}

fn spawn(folder: &Path, port: i32) -> Child {
    // Debian installs it where only root's PATH leads.
    let installed = Path::new("/usr/sbin/nats-server");
    let program = if installed.exists() { installed } else { Path::new("nats-server") };
    let mut command = Command::new(program);
    command.args(["--jetstream", "--addr", "127.0.0.1", "--port", &port.to_string()]);
    command.arg("--store_dir").arg(folder).arg("--ports_file_dir").arg(folder);
    command.arg("--log").arg(folder.join("log"));
    command.spawn().expect("nats-server is not installed: apt-get install nats-server")
}

/// Waits until `condition` returns a value, for up to 20 s.
pub(super) async fn eventually<T>(what: &str, condition: impl AsyncFn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: not within 20 s");
        sleep(Duration::from_millis(20)).await;
    }
}
