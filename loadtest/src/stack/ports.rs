//! The port of each role: the default, consecutive ports from a base, or free ports.
//!
//! Free ports come in blocks below the kernel's range for outgoing connections. A stack reserves its block by listening on
//! the block's last port. So neither another stack nor an outgoing connection can take a port before the role binds it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use system::role::Role;

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
    pub(crate) query_grpc: u16,
}

impl Ports {
    /// Returns the default ports.
    pub(crate) fn default_ports() -> Self {
        Self {
            frontend: Role::Frontend.port(),
            balancer: Role::Balancer.port(),
            gateways: [Role::Gateway.port(), Role::Gateway.port() + 1],
            cache: Role::Cache.port(),
            search: Role::Search.port(),
            booking: Role::Booking.port(),
            queue: Role::Queue.port(),
            notification: Role::Notification.port(),
            otlp_grpc: 4317,
            otlp_http: 4318,
            collector: Role::Collector.port(),
            query_grpc: 16685,
        }
    }

    /// Returns thirteen consecutive ports.
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
            query_grpc: base + 12,
        }
    }

    /// Fails if a port is in use or not permitted.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let named = [
            ("collector", self.collector),
            ("collector's OTLP/gRPC", self.otlp_grpc),
            ("collector's OTLP/HTTP", self.otlp_http),
            ("collector's gRPC queries", self.query_grpc),
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
            listen(port).map_err(|error| Error::Port { port, owner, error })?;
        }
        Ok(())
    }
}

/// Sixteen consecutive free ports that no other stack chooses while this value exists.
#[derive(Debug)]
pub(crate) struct Block {
    first: u16,
    _reserved: TcpListener,
}

impl Block {
    /// Reserves a block, starting the search at a random one.
    pub(crate) fn reserve() -> Result<Self, Error> {
        let count = LAST_BLOCK - FIRST_BLOCK;
        let start = rand::random_range(0..count);
        (0..count)
            .map(|step| FIRST_BLOCK + (start + step) % count)
            .find_map(|block| Self::listen_on(block * BLOCK).ok())
            .ok_or(Error::NoFreePorts)
    }

    fn listen_on(first: u16) -> io::Result<Self> {
        let reserved = listen(first + BLOCK - 1)?;
        for port in first..first + BLOCK - 1 {
            listen(port)?;
        }
        Ok(Self { first, _reserved: reserved })
    }

    /// Returns the ports of the roles in this block.
    pub(crate) fn ports(&self) -> Ports {
        Ports::from_base(self.first)
    }

    /// Returns the port of the private PostgreSQL.
    pub(crate) fn database(&self) -> u16 {
        self.first + 13
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_owner_of_a_port_in_use() {
        let block = Block::reserve().unwrap();
        let ports = block.ports();
        let _other = listen(ports.queue).unwrap();
        let error = ports.check().unwrap_err().to_string();
        assert!(
            error.contains(&format!("127.0.0.1:{} (queue): address already in use (choose", ports.queue)),
            "{error}"
        );
    }

    #[test]
    fn reserves_a_block_for_one_stack() {
        let block = Block::reserve().unwrap();
        block.ports().check().unwrap();
        assert!(Block::listen_on(block.first).is_err());
    }
}
