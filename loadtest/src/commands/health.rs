//! `workbench health`: is the role at this address ready? For health checks where there is neither a shell nor curl.
//!
//! Runs every few seconds beside each role, so it asks over a bare socket: an HTTP client would read the machine's
//! certificate authorities first, which costs more than the role's answer.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, bail};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Fails unless `GET /health/ready` at `address` (host and port) is answered with 200.
pub(crate) fn health(address: &str) -> anyhow::Result<()> {
    let status = ask(address).with_context(|| format!("asking {address}"))?;
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => bail!("{address} is not ready: {status}"),
    }
}

/// The status line of the reply.
fn ask(address: &str) -> anyhow::Result<String> {
    let address = address.to_socket_addrs()?.next().context("no such host")?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut reply = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut reply).context("waiting for the answer")?;
    Ok(String::from_utf8_lossy(&reply).lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// The outcome at a server that answers once with this status line, and what it was asked.
    fn outcome(status: &'static str) -> (anyhow::Result<()>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let asked: Vec<String> = BufReader::new(&stream)
                .lines()
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty())
                .collect();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
            asked[0].clone()
        });
        let outcome = health(&address);
        (outcome, server.join().unwrap())
    }

    #[test]
    fn a_ready_role_is_healthy() {
        let (outcome, asked) = outcome("200 OK");
        assert_eq!(asked, "GET /health/ready HTTP/1.1");
        outcome.unwrap();
    }

    #[test]
    fn a_role_that_is_not_ready_is_not() {
        let error = outcome("503 Service Unavailable").0.unwrap_err().to_string();
        assert!(error.ends_with("is not ready: HTTP/1.1 503 Service Unavailable"), "{error}");
    }

    #[test]
    fn neither_is_one_that_nobody_answers_for() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        health(&closed.to_string()).unwrap_err();
    }
}
