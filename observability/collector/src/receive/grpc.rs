//! OTLP/gRPC. The reply is sent once the message is stored, which slows down a sender that is too fast.
//!
//! Ingest reads the encoded message. A service generated from OTLP's definition would decode it first, so there is none.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::Service;

use super::accept::{AcceptError, ReceiverContext};
use super::admission::{BudgetedBody, MemoryBudget, Overloaded, RETRY_AFTER, Reservation};
use crate::ingest::{Ingest, Transport};
use crate::otlp::{BytesCodec, MAX_MESSAGE};
use telemetry::server::DRAIN_DEADLINE;

/// Maximum time to receive a message, which takes memory meanwhile.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of messages in flight per connection, each of up to [`MAX_MESSAGE`].
const STREAMS_PER_CONNECTION: u32 = 64;

/// Bytes before a message: the compression flag and the length.
const FRAME_HEADER: usize = 5;

/// OTLP's trace service.
#[derive(Debug, Clone)]
pub(crate) struct TraceService(ReceiverContext);

impl TraceService {
    /// Returns a service for any server of gRPC.
    pub(crate) fn new(ingest: Arc<Ingest>, budget: Arc<MemoryBudget>) -> Self {
        Self(ReceiverContext { ingest, budget })
    }
}

impl NamedService for TraceService {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl Service<http::Request<Body>> for TraceService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        let reservation = self.0.budget.reservation();
        let mut request = request
            .map(|body| Body::new(BudgetedBody::new(body, Arc::clone(&reservation)).map_err(body_error)));
        request.extensions_mut().insert(reservation);
        Box::pin(async move {
            if request.uri().path().rsplit('/').next() != Some("Export") {
                return Ok(Status::unimplemented("unknown method: TraceService has only Export").into_http());
            }
            if request.headers().get("grpc-encoding").is_some_and(|encoding| encoding != "identity") {
                request = match collected(request, &service.0.budget).await {
                    Ok(request) => request,
                    Err(status) => return Ok(final_refusal(&service.0.ingest, status.into_http())),
                };
            }
            let mut grpc = Grpc::new(BytesCodec)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(MAX_MESSAGE);
            let ingest = Arc::clone(&service.0.ingest);
            Ok(final_refusal(&ingest, grpc.unary(service, request).await))
        })
    }
}

impl UnaryService<Bytes> for TraceService {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let receiver = self.0.clone();
        Box::pin(async move {
            let (_, mut extensions, message) = request.into_parts();
            let reservation = extensions.remove::<Arc<Reservation>>();
            if let (Some(_permit), Some(reservation)) = (extensions.remove::<DecodePermit>(), &reservation) {
                reservation.grow(message.len()).map_err(|error| overloaded(&error))?;
            }
            let accepted = receiver.accept(reservation, message, Transport::Grpc).await;
            let reply = |partial_success| {
                Response::new(ExportTraceServiceResponse { partial_success }.encode_to_vec().into())
            };
            accepted.map(reply).map_err(|error| match error {
                AcceptError::Overloaded(error) => overloaded(&error),
                AcceptError::Malformed(_) => Status::invalid_argument(error.to_string()),
            })
        })
    }
}

/// The permit of a compressed message, held until it is decompressed and its full size is reserved.
#[derive(Debug, Clone)]
struct DecodePermit(#[expect(dead_code, reason = "freed when dropped")] Arc<OwnedSemaphorePermit>);

/// Collects a compressed message and then waits for a permit to decompress it: its full size is unknown, and a slow sender
/// must not hold the permit.
async fn collected(
    request: http::Request<Body>,
    budget: &MemoryBudget,
) -> Result<http::Request<Body>, Status> {
    let (mut head, body) = request.into_parts();
    let compressed =
        Limited::new(body, FRAME_HEADER + MAX_MESSAGE).collect().await.map_err(collect_error)?.to_bytes();
    let permit = budget.decode_permit().await.map_err(|error| overloaded(&error))?;
    head.extensions.insert(DecodePermit(Arc::new(permit)));
    Ok(http::Request::from_parts(head, Body::new(Full::new(compressed))))
}

/// Returns the status that tonic has for a message that is too long.
fn collect_error(error: axum::BoxError) -> Status {
    match error.downcast::<Status>() {
        Ok(status) => *status,
        Err(error) if error.is::<LengthLimitError>() => {
            Status::out_of_range(format!("message is longer than {MAX_MESSAGE} bytes"))
        }
        Err(error) => Status::from_error(error),
    }
}

/// Turns final errors into INVALID_ARGUMENT and counts them. tonic answers OUT_OF_RANGE to a message that is too long, and
/// RESOURCE_EXHAUSTED to one that is too long once decompressed; senders would retry both.
fn final_refusal(ingest: &Ingest, response: http::Response<Body>) -> http::Response<Body> {
    let status = Status::from_header_map(response.headers());
    let is_final = |status: &Status| match status.code() {
        Code::OutOfRange | Code::Internal => true,
        Code::ResourceExhausted => status.details().is_empty(),
        _ => false,
    };
    match status.filter(is_final) {
        Some(status) => {
            ingest.count_refusal();
            Status::invalid_argument(status.message()).into_http()
        }
        None => response,
    }
}

/// Returns the status for an error of the body.
fn body_error(error: axum::BoxError) -> Status {
    match error.downcast::<Overloaded>() {
        Ok(error) => overloaded(&error),
        Err(error) => Status::from_error(error),
    }
}

/// Returns OTLP's status for an overloaded receiver: senders retry later.
fn overloaded(error: &Overloaded) -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::ResourceExhausted, error.to_string(), details)
}

/// Serves until `shutdown`, then completes the requests in flight.
pub(crate) async fn serve(
    listener: TcpListener,
    ingest: Arc<Ingest>,
    budget: Arc<MemoryBudget>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = Server::builder()
        .timeout(REQUEST_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .add_service(TraceService::new(ingest, budget))
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
