//! `workbench health`: checks whether a role is ready, for containers without a shell or curl.
//!
//! Considered: reqwest. It loads the machine's certificate authorities first, which costs more than the check itself, and
//! the check runs every few seconds beside each role. So this uses a plain socket.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

use crate::http_client::server_url;
use crate::usage::UsageError;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Fails unless `GET /health/ready` at `address` (host and port, or a URL) returns 200.
pub(crate) fn health(address: &str) -> anyhow::Result<()> {
    let address = host_and_port(address)?;
    let status = status_line(&address).with_context(|| format!("cannot reach {address}"))?;
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => bail!("{address} is not ready: {status}"),
    }
}

/// Returns the host and port of a URL or of an address without a scheme.
fn host_and_port(text: &str) -> Result<String, UsageError> {
    let expected = || UsageError(anyhow!("{text} is not an address: expected HOST:PORT"));
    let url: reqwest::Url = server_url(text).ok().and_then(|url| url.parse().ok()).ok_or_else(expected)?;
    match (url.scheme(), url.host_str(), url.port_or_known_default()) {
        ("http", Some(host), Some(port)) => Ok(format!("{host}:{port}")),
        _ => Err(expected()),
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
    fn accepts_a_url_in_place_of_an_address() {
        assert_eq!(host_and_port("http://127.0.0.1:8000/").unwrap(), "127.0.0.1:8000");
        assert_eq!(host_and_port("[::1]:8000").unwrap(), "[::1]:8000");
        for text in ["", "host:port", "https://127.0.0.1:8000"] {
            host_and_port(text).unwrap_err();
        }
    }

    #[test]
    fn rejects_a_closed_port() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        health(&closed.to_string()).unwrap_err();
    }
}
