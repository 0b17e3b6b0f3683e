//! The port of each role: the default, consecutive ports from a base, or free ports.
//!
//! Free ports come in blocks below the kernel's range for outgoing connections. A stack reserves its block by listening on
//! the block's last port. So neither another stack nor an outgoing connection can take a port before the role binds it, or
//! while the role is restarted.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use system::role::Role;

use super::error::Error;
use super::scale::Scale;

const BLOCK: u16 = 16;
const FIRST_BLOCK: u16 = 10_000 / BLOCK;
const LAST_BLOCK: u16 = 32_000 / BLOCK;

/// The ports of one stack, all on the loopback address. A role that can run in several processes has a port for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) frontend: u16,
    pub(crate) balancer: u16,
    pub(crate) gateways: Vec<u16>,
    pub(crate) cache: Vec<u16>,
    pub(crate) search: Vec<u16>,
    pub(crate) booking: Vec<u16>,
    pub(crate) queue: Vec<u16>,
    pub(crate) notification: Vec<u16>,
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
            gateways: vec![Role::Gateway.port(), Role::Gateway.port() + 1],
            cache: vec![Role::Cache.port()],
            search: vec![Role::Search.port()],
            booking: vec![Role::Booking.port()],
            queue: vec![Role::Queue.port()],
            notification: vec![Role::Notification.port()],
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
            gateways: vec![base + 2, base + 3],
            cache: vec![base + 4],
            search: vec![base + 5],
            booking: vec![base + 6],
            queue: vec![base + 7],
            notification: vec![base + 8],
            otlp_grpc: base + 9,
            otlp_http: base + 10,
            collector: base + 11,
            query_grpc: base + 12,
        }
    }

    /// Returns the ports of as many processes as `scale` has. Further ports are those of `free`.
    pub(crate) fn scaled(mut self, scale: &Scale, free: &mut FreePorts) -> Result<Self, Error> {
        for (role, ports) in [
            (Role::Gateway, &mut self.gateways),
            (Role::Cache, &mut self.cache),
            (Role::Search, &mut self.search),
            (Role::Booking, &mut self.booking),
            (Role::Queue, &mut self.queue),
            (Role::Notification, &mut self.notification),
        ] {
            ports.truncate(scale.of(role));
            while ports.len() < scale.of(role) {
                ports.push(free.further()?);
            }
        }
        Ok(self)
    }

    /// Fails if a port is in use or not permitted.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (owner, ports) in [
            ("collector", &[self.collector][..]),
            ("collector's OTLP/gRPC", &[self.otlp_grpc]),
            ("collector's OTLP/HTTP", &[self.otlp_http]),
            ("collector's gRPC queries", &[self.query_grpc]),
            ("frontend", &[self.frontend]),
            ("balancer", &[self.balancer]),
            ("gateway", &self.gateways),
            ("cache", &self.cache),
            ("search", &self.search),
            ("booking", &self.booking),
            ("queue", &self.queue),
            ("notification", &self.notification),
        ] {
            for port in ports.iter().copied() {
                listen(port).map_err(|error| Error::Port { port, owner, error })?;
            }
        }
        Ok(())
    }
}

/// Free ports that no other stack chooses while this value exists.
#[derive(Debug)]
pub(crate) struct FreePorts {
    /// The block of the database, and of the roles if they use free ports.
    first: Block,
    /// Blocks of further processes.
    blocks: Vec<Block>,
    /// Ports of these blocks that have no process yet.
    unused: Vec<u16>,
}

impl FreePorts {
    /// Reserves the first block.
    pub(crate) fn reserve() -> Result<Self, Error> {
        Ok(Self { first: Block::reserve()?, blocks: Vec::new(), unused: Vec::new() })
    }

    /// Returns a free port for each process of a stack that is not scaled.
    pub(crate) fn ports(&self) -> Ports {
        Ports::from_base(self.first.first)
    }

    /// Returns the port of the private PostgreSQL.
    pub(crate) fn database(&self) -> u16 {
        self.first.first + 13
    }

    /// Returns a port for one more process.
    fn further(&mut self) -> Result<u16, Error> {
        if self.unused.is_empty() {
            let block = Block::reserve()?;
            self.unused.extend((block.first..block.first + BLOCK - 1).rev());
            self.blocks.push(block);
        }
        self.unused.pop().ok_or(Error::NoFreePorts)
    }
}

/// Sixteen consecutive free ports, the last of which reserves the others.
#[derive(Debug)]
struct Block {
    first: u16,
    _reserved: TcpListener,
}

impl Block {
    /// Reserves a block, starting the search at a random one.
    fn reserve() -> Result<Self, Error> {
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
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_the_owner_of_a_port_in_use() {
        let ports = FreePorts::reserve().unwrap().ports();
        let port = ports.queue[0];
        let _other = listen(port).unwrap();
        let error = ports.check().unwrap_err().to_string();
        assert!(
            error.contains(&format!("127.0.0.1:{port} (queue): address already in use (choose")),
            "{error}"
        );
    }

    #[test]
    fn reserves_a_block_for_one_stack() {
        let block = Block::reserve().unwrap();
        Ports::from_base(block.first).check().unwrap();
        assert!(Block::listen_on(block.first).is_err());
    }

    #[test]
    fn each_process_has_a_port_of_its_own() {
        let scale = Scale::new(&["gateway=16", "booking=3", "search=1"].map(|count| count.parse().unwrap()));
        let mut free = FreePorts::reserve().unwrap();
        let ports = Ports::default_ports().scaled(&scale, &mut free).unwrap();
        assert_eq!((ports.gateways[..2].to_owned(), ports.booking[0]), (vec![8001, 8002], 8012));
        assert_eq!((ports.gateways.len(), ports.booking.len(), &ports.search), (16, 3, &vec![8011]));
        let all: BTreeSet<u16> = ports.gateways.iter().chain(&ports.booking).copied().collect();
        assert_eq!(all.len(), 19);
        let one = Scale::new(&["gateway=1".parse().unwrap()]);
        assert_eq!(Ports::from_base(9000).scaled(&one, &mut free).unwrap().gateways, [9002]);
    }
}
