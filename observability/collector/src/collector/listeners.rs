//! The sockets that a collector serves, bound by its caller.

use tokio::net::TcpListener;

use super::{Error, Settings};

/// The sockets that a collector serves.
#[derive(Debug)]
pub struct Listeners {
    /// OTLP/gRPC receiver.
    pub grpc: TcpListener,
    /// OTLP/HTTP receiver.
    pub http: TcpListener,
    /// Pages, query API, health and metrics.
    pub query: TcpListener,
    /// Jaeger's gRPC query and storage services.
    pub query_grpc: TcpListener,
}

impl Listeners {
    /// Binds the addresses of `settings`.
    pub async fn bind(settings: &Settings) -> Result<Self, Error> {
        Ok(Self {
            grpc: bind("OTLP_GRPC_LISTEN", &settings.otlp_grpc_listen).await?,
            http: bind("OTLP_HTTP_LISTEN", &settings.otlp_http_listen).await?,
            query: bind("LISTEN", &settings.listen).await?,
            query_grpc: bind("COLLECTOR_QUERY_GRPC_LISTEN", &settings.query_grpc_listen).await?,
        })
    }
}

async fn bind(variable: &'static str, address: &str) -> Result<TcpListener, Error> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| Error::Listen { variable, address: address.to_owned(), source })
}
