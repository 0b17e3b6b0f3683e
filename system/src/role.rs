//! The roles of the system: their names and default ports.

use std::fmt;

/// One role of the system; `workbench serve ROLE` runs it in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Serves the page that a browser loads.
    Frontend,
    /// Public entry point: round robin over the gateways.
    Balancer,
    /// Log-in, token check, cached search, booking.
    Gateway,
    /// Values with a time to live.
    Cache,
    /// Tutors by subject.
    Search,
    /// Bookings, students and users.
    Booking,
    /// Tasks with leases.
    Queue,
    /// Sends the notifications that the tasks describe.
    Notification,
    /// Receives spans and keeps traces; implemented by the crate `collector`.
    Collector,
}

impl Role {
    /// Every role, in the order in which a request and then its spans pass through them.
    pub const ALL: [Self; 9] = [
        Self::Frontend,
        Self::Balancer,
        Self::Gateway,
        Self::Cache,
        Self::Search,
        Self::Booking,
        Self::Queue,
        Self::Notification,
        Self::Collector,
    ];

    /// Returns the `service.name` of the role's spans, which is also its service in `docker-compose.yml` (gateways
    /// add a number).
    pub const fn service_name(self) -> &'static str {
        match self {
            Self::Frontend => "frontend",
            Self::Balancer => "load_balancer",
            Self::Gateway => "api_gateway",
            Self::Cache => "cache",
            Self::Search => "search_service",
            Self::Booking => "booking_service",
            Self::Queue => "queue",
            Self::Notification => "notification_service",
            Self::Collector => "collector",
        }
    }

    /// Returns the subcommand of `workbench serve` that runs the role.
    pub const fn command(self) -> &'static str {
        match self {
            Self::Frontend => "frontend",
            Self::Balancer => "balancer",
            Self::Gateway => "gateway",
            Self::Cache => "cache",
            Self::Search => "search",
            Self::Booking => "booking",
            Self::Queue => "queue",
            Self::Notification => "notification",
            Self::Collector => "collector",
        }
    }

    /// Returns the default port. A second gateway on the same machine uses the next one.
    pub const fn port(self) -> u16 {
        match self {
            Self::Frontend => 8080,
            Self::Balancer => 8000,
            Self::Gateway => 8001,
            Self::Cache => 8010,
            Self::Search => 8011,
            Self::Booking => 8012,
            Self::Queue => 8013,
            Self::Notification => 8014,
            Self::Collector => 16686,
        }
    }

    /// Returns the default listen address: the default port on the loopback interface.
    pub fn address(self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Returns the default base URL, at the default listen address.
    pub fn url(self) -> String {
        format!("http://{}", self.address())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.command())
    }
}
