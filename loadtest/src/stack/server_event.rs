//! What the keeper reports about its PostgreSQL server: one JSON object a line on its stdout, which the parent reads.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::ChildStdout;
use tokio::sync::mpsc::UnboundedSender;

use crate::terminal;

/// An event of the server.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum ServerEvent {
    /// The process runs; the server may recover.
    Started { pid: u32 },
    /// The server accepts connections.
    Ready { pid: u32 },
    /// The process has ended by itself and is started again.
    Ended {
        /// Status as `wait` returns it.
        wait_status: i32,
        /// Ends in a row, each soon after a start.
        failures: u32,
        /// Time until the next start, in milliseconds.
        delay_ms: u64,
    },
}

impl ServerEvent {
    pub(super) fn ended(status: ExitStatus, failures: u32, delay: Duration) -> Self {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Self::Ended { wait_status: status.into_raw(), failures, delay_ms }
    }

    /// Writes the event to stdout. A parent that no longer reads is no error: the keeper stops when its stdin closes.
    pub(super) fn print(&self) {
        if let Ok(line) = serde_json::to_string(self) {
            let _ = terminal::print(&(line + "\n"));
        }
    }
}

/// Passes the events of a keeper to `events`, until it ends.
pub(super) async fn forward(stdout: ChildStdout, events: UnboundedSender<ServerEvent>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(event) = serde_json::from_str(&line)
            && events.send(event).is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let killed = ExitStatus::from_raw(9);
        let ended = ServerEvent::ended(killed, 2, Duration::from_millis(200));
        for event in [ServerEvent::Started { pid: 1 }, ServerEvent::Ready { pid: 1 }, ended] {
            let line = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<ServerEvent>(&line).unwrap(), event, "{line}");
        }
    }
}
