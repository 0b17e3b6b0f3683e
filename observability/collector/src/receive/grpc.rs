//! OTLP/gRPC: the unary method Export of each signal's service. The reply is sent once the message is handled, which slows
//! down a sender that is too fast.
//!
//! tonic's server was considered: it decodes a message before the service sees it, while ingest reads the encoded one; it has
//! no snappy; and its decompression reserves no memory. Its statuses are used.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::admission::{BudgetedBody, Overloaded};
use super::encoding::{Encoding, GRPC_ENCODINGS};
use super::receiver::{Export, Format, Receiver};
use super::refusal::{REQUEST_TIMEOUT, Refusal};
use super::reply::{self, PartialSuccess};
use super::signal::Signal;
use crate::ingest::Transport;
use crate::otlp::MAX_MESSAGE;

/// Maximum number of messages in flight per connection, each of up to [`MAX_MESSAGE`].
pub(crate) const STREAMS_PER_CONNECTION: u32 = 64;

/// Bytes before a message: the compression flag and the length.
const FRAME_HEADER: usize = 5;

/// Returns the routes of OTLP's services, without a fallback for other paths.
pub(crate) fn services(receiver: Arc<Receiver>) -> Router {
    let routes = Signal::ALL.into_iter().fold(Router::new(), |routes, signal| {
        let respond = move |State(receiver): State<Arc<Receiver>>, request: Request| async move {
            respond(&receiver, Some(signal), request).await
        };
        routes.route(signal.grpc_path(), any(respond))
    });
    routes.with_state(receiver)
}

/// Returns the routes of a port that serves OTLP only.
pub(crate) fn router(receiver: Arc<Receiver>) -> Router {
    let for_unknown = Arc::clone(&receiver);
    let unknown = move |request: Request| async move { respond(&for_unknown, None, request).await };
    services(receiver).fallback(unknown)
}

async fn respond(receiver: &Arc<Receiver>, signal: Option<Signal>, request: Request) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let refusal = match timeout(REQUEST_TIMEOUT, export(receiver, signal, request, peer)).await {
        Ok(Ok(partial_success)) => return accepted(partial_success),
        Ok(Err(refusal)) => refusal,
        Err(_) => Refusal::Timeout,
    };
    receiver.record(&refusal, peer);
    refuse(&refusal)
}

async fn export(
    receiver: &Arc<Receiver>,
    signal: Option<Signal>,
    request: Request,
    peer: Option<IpAddr>,
) -> Result<Option<PartialSuccess>, Refusal> {
    let Some(signal) = signal else { return Err(Refusal::UnknownMethod(request.uri().path().to_owned())) };
    if !is_grpc(request.headers()) {
        return Err(Refusal::ContentType("application/grpc"));
    }
    let encoding = Encoding::of_grpc(request.headers())?;
    let reservation = receiver.budget.reservation();
    let (is_compressed, body) =
        message(BudgetedBody::new(request.into_body(), Arc::clone(&reservation))).await?;
    let encoding = match (is_compressed, encoding) {
        (true, None) => return Err(Refusal::NotGrpc("compressed, but without grpc-encoding")),
        (true, encoding) => encoding,
        (false, _) => None,
    };
    let transport = Transport::Grpc;
    let export = Export { signal, transport, format: Format::Protobuf, encoding, body, reservation, peer };
    receiver.export(export).await
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    // Followed by `+proto` or parameters.
    matches!(content_type.strip_prefix(b"application/grpc"), Some([] | [b'+' | b';', ..]))
}

/// Reads the only message of a request. Returns whether it is compressed.
async fn message(mut body: BudgetedBody<Body>) -> Result<(bool, Bytes), Refusal> {
    let mut received = BytesMut::new();
    let mut length = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(unread)?.into_data() else { continue };
        received.extend_from_slice(&data);
        if length.is_none()
            && let Some(&[flag, ref size @ ..]) = received.first_chunk::<FRAME_HEADER>()
        {
            let size = u32::from_be_bytes(*size) as usize;
            if size > MAX_MESSAGE {
                return Err(Refusal::TooLong);
            }
            if flag > 1 {
                return Err(Refusal::NotGrpc("unknown compression flag"));
            }
            received.reserve(size.saturating_sub(received.len() - FRAME_HEADER));
            length = Some((flag == 1, FRAME_HEADER + size));
        }
        if length.is_some_and(|(_, length)| received.len() > length) {
            return Err(Refusal::NotGrpc("more than one message"));
        }
    }
    match length {
        Some((is_compressed, length)) if received.len() == length => {
            Ok((is_compressed, received.split_off(FRAME_HEADER).freeze()))
        }
        _ => Err(Refusal::NotGrpc("the message is incomplete")),
    }
}

fn unread(error: axum::BoxError) -> Refusal {
    match error.downcast::<Overloaded>() {
        Ok(error) => Refusal::Overloaded(*error),
        Err(error) => Refusal::Unread(error.to_string()),
    }
}

fn accepted(partial_success: Option<PartialSuccess>) -> Response {
    let message = reply::protobuf(partial_success);
    let mut frame = BytesMut::with_capacity(FRAME_HEADER + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let headers = [("content-type", "application/grpc"), ("grpc-accept-encoding", GRPC_ENCODINGS)];
    (headers, Body::new(body)).into_response()
}

fn refuse(refusal: &Refusal) -> Response {
    if matches!(refusal, Refusal::ContentType(_)) {
        // Not a gRPC request: the client cannot read a gRPC status.
        return (refusal.http_status(), refusal.to_string()).into_response();
    }
    let status = match (refusal.code(), refusal.retry_after()) {
        (Code::ResourceExhausted, after @ Some(_)) => {
            let details = ErrorDetails::with_retry_info(after);
            Status::with_error_details(Code::ResourceExhausted, refusal.to_string(), details)
        }
        (code, _) => Status::new(code, refusal.to_string()),
    };
    let mut response: Response = status.into_http();
    response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static(GRPC_ENCODINGS));
    response
}
