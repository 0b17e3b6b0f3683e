//! `workbench health`: checks whether a role is ready, for containers without a shell or curl.
//!
//! Considered: reqwest. It loads the machine's certificate authorities first, which costs more than the check itself, and
//! the check runs every few seconds beside each role. So this uses a plain socket.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, bail};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Fails unless `GET /health/ready` at `address` (host and port) returns 200.
pub(crate) fn health(address: &str) -> anyhow::Result<()> {
    let status = status_line(address).with_context(|| format!("cannot reach {address}"))?;
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => bail!("{address} is not ready: {status}"),
    }
}

/// Returns the status line of the reply.
fn status_line(address: &str) -> anyhow::Result<String> {
    let address = address.to_socket_addrs()?.next().context("unknown host")?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut reply = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut reply).context("no reply")?;
    Ok(String::from_utf8_lossy(&reply).lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Returns the outcome for a server that replies with this status, and the request line it received.
    fn outcome(status: &'static str) -> (anyhow::Result<()>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let request: Vec<String> = BufReader::new(&stream)
                .lines()
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty())
                .collect();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
            request[0].clone()
        });
        let outcome = health(&address);
        (outcome, server.join().unwrap())
    }

    #[test]
    fn accepts_a_ready_role() {
        let (outcome, request) = outcome("200 OK");
        assert_eq!(request, "GET /health/ready HTTP/1.1");
        outcome.unwrap();
    }

    #[test]
    fn rejects_a_role_that_is_not_ready() {
        let error = outcome("503 Service Unavailable").0.unwrap_err().to_string();
        assert!(error.ends_with("is not ready: HTTP/1.1 503 Service Unavailable"), "{error}");
    }

    #[test]
    fn rejects_a_closed_port() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        health(&closed.to_string()).unwrap_err();
    }
}
