//! OTLP/gRPC. The reply leaves when the batch is in the store; a sender that is faster than that waits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};

use super::MAX_MESSAGE;
use crate::ingest::{Ingest, Transport};
use crate::server::DRAIN_DEADLINE;

/// A peer that takes longer to send a message holds memory and gives nothing for it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages that one connection may have in flight, each of up to [`MAX_MESSAGE`].
const STREAMS_PER_CONNECTION: u32 = 64;

struct Receiver(Arc<Ingest>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let partial_success = self.0.accept(request.into_inner(), Transport::Grpc);
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

/// Serves until `shutdown`, then answers what is in flight.
pub(crate) async fn serve(
    listener: TcpListener,
    ingest: Arc<Ingest>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let service = TraceServiceServer::new(Receiver(ingest))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_MESSAGE);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = Server::builder()
        .timeout(REQUEST_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN_DEADLINE).await;
    };
    tokio::select! {
        served = serving => served.map_err(io::Error::other),
        () = overdue => Ok(()),
    }
}
