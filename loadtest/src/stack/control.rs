//! Requests of `workbench restart` to the process that runs the stack: lines in a named pipe in the stack's folder.
//!
//! Considered: a Unix socket, whose path is limited to about 100 bytes, which a folder for temporary files may exceed; and a
//! signal to a process id from a file, which may belong to another process by then.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::unix::pipe;

/// Name of the pipe in the stack's folder. Only the folder's owner can write to it.
const NAME: &str = "control";

/// The request to restart the process `pid` of `instance`. `None` if it has ended and waits to be started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RestartRequest {
    pub(crate) instance: String,
    pub(crate) pid: Option<u32>,
}

impl RestartRequest {
    fn line(&self) -> String {
        format!("restart {} {}\n", self.instance, self.pid.unwrap_or_default())
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (command, instance, pid) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
        let request = Self { instance: instance.to_owned(), pid: (pid > 0).then_some(pid) };
        (command == "restart").then_some(request)
    }
}

/// The read end, which the process that runs the stack holds.
#[derive(Debug)]
pub(crate) struct Requests {
    lines: Lines<BufReader<pipe::Receiver>>,
    // Without a writer the pipe would be at its end.
    _writer: pipe::Sender,
}

impl Requests {
    /// Creates the pipe in `folder`.
    pub(crate) fn listen(folder: &Path) -> io::Result<Self> {
        let path = folder.join(NAME);
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let reader = pipe::OpenOptions::new().open_receiver(&path)?;
        let writer = pipe::OpenOptions::new().open_sender(&path)?;
        Ok(Self { lines: BufReader::new(reader).lines(), _writer: writer })
    }

    /// Returns the next request. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> RestartRequest {
        loop {
            match self.lines.next_line().await {
                Ok(Some(line)) => {
                    if let Some(request) = RestartRequest::parse(&line) {
                        return request;
                    }
                }
                // The pipe has failed, so that there are no more requests.
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }
    }
}

/// The write end.
#[derive(Debug)]
pub(crate) struct Control(File);

impl Control {
    /// Opens the pipe in `folder`. `None` if no process runs the stack.
    pub(crate) fn open(folder: &Path) -> io::Result<Option<Self>> {
        let flags = OFlag::O_NONBLOCK.bits();
        match OpenOptions::new().write(true).custom_flags(flags).open(folder.join(NAME)) {
            Ok(file) => Ok(Some(Self(file))),
            // Nobody reads.
            Err(error) if error.raw_os_error() == Some(Errno::ENXIO as i32) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends the request. It is shorter than the size up to which a write to a pipe is atomic.
    pub(crate) fn send(&mut self, request: &RestartRequest) -> io::Result<()> {
        self.0.write_all(request.line().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_arrive_in_order_and_a_stack_that_does_not_run_is_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let mut requests = Requests::listen(folder.path()).unwrap();
        let mut control = Control::open(folder.path()).unwrap().expect("a reader");
        let request = |instance: &str, pid| RestartRequest { instance: instance.into(), pid };
        let sent = [request("queue", Some(17)), request("api_gateway_1", None)];
        control.0.write_all(b"nonsense\nrestart queue x\n").unwrap();
        for request in &sent {
            control.send(request).unwrap();
        }
        drop(control);
        assert_eq!([requests.next().await, requests.next().await], sent);
        drop(requests);
        assert!(Control::open(folder.path()).unwrap().is_none());
    }
}
