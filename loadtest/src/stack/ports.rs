//! Which port each role listens on: the table of the README, a row of ports from a base, or free ones.
//!
//! Free ports come in blocks below the range that the kernel hands to outgoing connections, and a stack holds
//! its block for as long as it lives by listening on the block's last port. Neither another stack nor a busy
//! client's connection can then take a port between its choice and the moment the role binds it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::Error;

const BLOCK: u16 = 16;
const FIRST_BLOCK: u16 = 10_000 / BLOCK;
const LAST_BLOCK: u16 = 32_000 / BLOCK;

/// The ports of one stack, all on the loopback address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) frontend: u16,
    pub(crate) balancer: u16,
    pub(crate) gateways: [u16; 2],
    pub(crate) cache: u16,
    pub(crate) search: u16,
    pub(crate) booking: u16,
    pub(crate) queue: u16,
    pub(crate) notification: u16,
    pub(crate) otlp_grpc: u16,
    pub(crate) otlp_http: u16,
    pub(crate) collector: u16,
}

impl Ports {
    /// The ports that every role has by default.
    pub(crate) fn table() -> Self {
        Self {
            frontend: 8080,
            balancer: 8000,
            gateways: [8001, 8002],
            cache: 8010,
            search: 8011,
            booking: 8012,
            queue: 8013,
            notification: 8014,
            otlp_grpc: 4317,
            otlp_http: 4318,
            collector: 16686,
        }
    }

    /// Twelve ports in a row.
    pub(crate) fn from_base(base: u16) -> Self {
        Self {
            frontend: base,
            balancer: base + 1,
            gateways: [base + 2, base + 3],
            cache: base + 4,
            search: base + 5,
            booking: base + 6,
            queue: base + 7,
            notification: base + 8,
            otlp_grpc: base + 9,
            otlp_http: base + 10,
            collector: base + 11,
        }
    }

    /// Fails on the first port that another process listens on, or that we may not listen on.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let named = [
            ("collector", self.collector),
            ("collector's OTLP/gRPC", self.otlp_grpc),
            ("collector's OTLP/HTTP", self.otlp_http),
            ("frontend", self.frontend),
            ("balancer", self.balancer),
            ("first gateway", self.gateways[0]),
            ("second gateway", self.gateways[1]),
            ("cache", self.cache),
            ("search", self.search),
            ("booking", self.booking),
            ("queue", self.queue),
            ("notification", self.notification),
        ];
        for (owner, port) in named {
            listen(port).map_err(|source| Error::Port { port, owner, source })?;
        }
        Ok(())
    }
}

/// Sixteen neighbouring ports that were free and that no other stack will choose while this value lives.
#[derive(Debug)]
pub(crate) struct Block {
    first: u16,
    _held: TcpListener,
}

impl Block {
    /// Tries blocks in a random order.
    pub(crate) fn reserve() -> Result<Self, Error> {
        let count = LAST_BLOCK - FIRST_BLOCK;
        let start = rand::random_range(0..count);
        (0..count)
            .map(|step| FIRST_BLOCK + (start + step) % count)
            .find_map(|block| Self::hold(block * BLOCK).ok())
            .ok_or(Error::NoFreePorts)
    }

    fn hold(first: u16) -> io::Result<Self> {
        let held = listen(first + BLOCK - 1)?;
        for port in first..first + BLOCK - 1 {
            listen(port)?;
        }
        Ok(Self { first, _held: held })
    }

    /// Where the roles go when nothing else is asked for.
    pub(crate) fn ports(&self) -> Ports {
        Ports::from_base(self.first)
    }

    /// Where the private PostgreSQL goes.
    pub(crate) fn database(&self) -> u16 {
        self.first + 12
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_its_owner() {
        let block = Block::reserve().unwrap();
        let ports = block.ports();
        let _other = listen(ports.queue).unwrap();
        let error = ports.check().unwrap_err().to_string();
        assert!(error.contains(&format!("port {} (queue)", ports.queue)), "{error}");
    }

    #[test]
    fn a_block_is_held_by_one_stack_at_a_time() {
        let block = Block::reserve().unwrap();
        block.ports().check().unwrap();
        assert!(Block::hold(block.first).is_err());
    }
}
