//! One role in a process of its own.

use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::Signal;

use super::{eventually, free_address, pid_of, send_signal, workbench};

/// `workbench serve ROLE`, killed when dropped.
#[derive(Debug)]
pub(crate) struct RoleProcess {
    child: Child,
}

impl RoleProcess {
    /// Starts the role; `change` sets its arguments and environment, `LISTEN` included.
    pub(super) fn spawn(role: &str, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = workbench();
        command.args(["serve", role]).stdin(Stdio::null()).stdout(Stdio::null());
        change(&mut command);
        Self { child: command.spawn().unwrap() }
    }

    /// Starts the role on a free port, waits until it accepts connections, and returns it with its address.
    pub(crate) fn start(role: &str, change: impl FnOnce(&mut Command)) -> (Self, String) {
        let address = free_address().to_string();
        (Self::start_at(role, &address, change), address)
    }

    /// Starts the role on this address and waits until it accepts connections.
    pub(crate) fn start_at(role: &str, address: &str, change: impl FnOnce(&mut Command)) -> Self {
        let process = Self::spawn(role, |command| {
            command.env("LISTEN", address);
            change(command);
        });
        eventually(&format!("{role} listens"), || TcpStream::connect(address).is_ok());
        process
    }

    pub(crate) fn pid(&self) -> i32 {
        pid_of(&self.child)
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        send_signal(pid_of(&self.child), Signal::SIGTERM);
        self.child.wait().unwrap()
    }
}

impl Drop for RoleProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
