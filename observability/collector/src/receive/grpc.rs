//! OTLP/gRPC. The reply leaves when the message is in the store; a sender that is faster than that waits.
//!
//! The message comes to [`Ingest`] as it is on the wire: there is no service generated from OTLP's definition, which
//! would decode it first.

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

use super::admission::{Held, NoRoom, Paying, RETRY_AFTER, Room};
use super::admit::{NotTaken, take};
use crate::ingest::{Ingest, Transport};
use crate::otlp::{BytesCodec, MAX_MESSAGE};
use telemetry::server::DRAIN_DEADLINE;

/// A peer that takes longer to send a message holds memory and gives nothing for it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages that one connection may have in flight, each of up to [`MAX_MESSAGE`].
const STREAMS_PER_CONNECTION: u32 = 64;

/// Before a message: whether it is packed, and how long it is.
const FRAME: usize = 5;

/// OTLP's trace service.
#[derive(Clone)]
struct Receiver(Arc<Ingest>);

impl NamedService for Receiver {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl Service<http::Request<Body>> for Receiver {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let receiver = self.clone();
        let held = self.0.room.hold();
        let mut request =
            request.map(|body| Body::new(Paying::new(body, Arc::clone(&held)).map_err(refusal)));
        request.extensions_mut().insert(held);
        Box::pin(async move {
            if request.uri().path().rsplit('/').next() != Some("Export") {
                return Ok(Status::unimplemented("TraceService has Export alone").into_http());
            }
            if request.headers().get("grpc-encoding").is_some_and(|encoding| encoding != "identity") {
                request = match whole(request, &receiver.0.room).await {
                    Ok(request) => request,
                    Err(status) => return Ok(refused_for_good(&receiver.0, status.into_http())),
                };
            }
            let mut grpc = Grpc::new(BytesCodec)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(MAX_MESSAGE);
            let ingest = Arc::clone(&receiver.0);
            Ok(refused_for_good(&ingest, grpc.unary(receiver, request).await))
        })
    }
}

impl UnaryService<Bytes> for Receiver {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let ingest = Arc::clone(&self.0);
        Box::pin(async move {
            let (_, mut extensions, message) = request.into_parts();
            let held = extensions.remove::<Arc<Held>>();
            if let (Some(_unpacked), Some(held)) = (extensions.remove::<Unpacking>(), &held) {
                held.take(message.len()).map_err(|why| no_room(&why))?;
            }
            let taken = take(&ingest, held, message, Transport::Grpc).await;
            let reply = |partial_success| {
                Response::new(ExportTraceServiceResponse { partial_success }.encode_to_vec().into())
            };
            taken.map(reply).map_err(|why| match why {
                NotTaken::NoRoom(why) => no_room(&why),
                NotTaken::Malformed(_) => Status::invalid_argument(why.to_string()),
            })
        })
    }
}

/// A packed message keeps its turn until it is unpacked and has paid for what it is then.
#[derive(Debug, Clone)]
struct Unpacking(#[expect(dead_code, reason = "freed when dropped")] Arc<OwnedSemaphorePermit>);

/// A packed message, when all of it is here and its turn has come: nobody knows how long it will be, and a slow sender must
/// not have that turn.
async fn whole(request: http::Request<Body>, room: &Room) -> Result<http::Request<Body>, Status> {
    let (mut head, body) = request.into_parts();
    let packed = Limited::new(body, FRAME + MAX_MESSAGE).collect().await.map_err(uncollected)?.to_bytes();
    let turn = room.reader().await.map_err(|why| no_room(&why))?;
    head.extensions.insert(Unpacking(Arc::new(turn)));
    Ok(http::Request::from_parts(head, Body::new(Full::new(packed))))
}

/// Like tonic of a message that is too long.
fn uncollected(error: axum::BoxError) -> Status {
    match error.downcast::<Status>() {
        Ok(status) => *status,
        Err(error) if error.is::<LengthLimitError>() => {
            Status::out_of_range(format!("longer than {MAX_MESSAGE} bytes"))
        }
        Err(error) => Status::from_error(error),
    }
}

/// tonic says OUT_OF_RANGE of a message that is too long, or RESOURCE_EXHAUSTED of one that is so once unpacked, and senders
/// would try it again. Counts it, too.
fn refused_for_good(ingest: &Ingest, response: http::Response<Body>) -> http::Response<Body> {
    let status = Status::from_header_map(response.headers());
    let for_good = |status: &Status| match status.code() {
        Code::OutOfRange | Code::Internal => true,
        Code::ResourceExhausted => status.details().is_empty(),
        _ => false,
    };
    match status.filter(for_good) {
        Some(status) => {
            ingest.count_refusal();
            Status::invalid_argument(status.message()).into_http()
        }
        None => response,
    }
}

/// Why no more of a message is read.
fn refusal(error: axum::BoxError) -> Status {
    match error.downcast::<NoRoom>() {
        Ok(error) => no_room(&error),
        Err(error) => Status::from_error(error),
    }
}

/// What OTLP asks of a receiver that is overloaded: senders try again after a while.
fn no_room(error: &NoRoom) -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::ResourceExhausted, error.to_string(), details)
}

/// Serves until `shutdown`, then answers what is in flight.
pub(crate) async fn serve(
    listener: TcpListener,
    ingest: Arc<Ingest>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = Server::builder()
        .timeout(REQUEST_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .add_service(Receiver(ingest))
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
