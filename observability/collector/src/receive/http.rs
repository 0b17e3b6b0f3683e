//! OTLP/HTTP: `POST /v1/traces` in protobuf or JSON, plain or compressed with gzip. Errors are a `google.rpc.Status` in the
//! encoding of the request, as OTLP requires.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use http_body::Body as _;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Code;
use tower::util::{MapRequestLayer, MapResponseLayer};
use tower_http::timeout::TimeoutLayer;

use super::accept::{AcceptError, ReceiverContext};
use super::admission::{BudgetedBody, LARGE_MESSAGE, MemoryBudget, Overloaded, RETRY_AFTER, Reservation};
use crate::ingest::{Ingest, Transport};
use crate::otlp::MAX_MESSAGE;

/// Maximum time to receive a message, which takes memory meanwhile.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyFormat {
    Protobuf,
    Json,
}

#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    message: String,
}

/// `google.rpc.Status`, without its details.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// Returns the receiver's routes. Outermost first: a late reply gets a body and is counted, the time limit applies, the body
/// reserves its bytes, and its length is limited.
pub(crate) fn router(ingest: Arc<Ingest>, budget: Arc<MemoryBudget>) -> Router {
    let (for_bodies, for_timeouts) = (Arc::clone(&budget), Arc::clone(&budget));
    let reserve = move |mut request: Request| {
        let reservation = for_bodies.reservation();
        request.extensions_mut().insert(Arc::clone(&reservation));
        request.map(|body| Body::new(BudgetedBody::new(body, reservation)))
    };
    Router::new()
        .route("/v1/traces", post(export))
        .layer(DefaultBodyLimit::max(MAX_MESSAGE))
        .layer(MapRequestLayer::new(reserve))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .layer(MapResponseLayer::new(move |response| explain_timeout(&for_timeouts, response)))
        .with_state(ReceiverContext { ingest, budget })
}

/// Turns the empty reply of the time limit into one with `Retry-After`, and counts it. Senders retry 503, but not 408.
fn explain_timeout(budget: &MemoryBudget, response: Response) -> Response {
    let is_empty = response.body().size_hint().exact() == Some(0);
    if response.status() != StatusCode::SERVICE_UNAVAILABLE || !is_empty {
        return response;
    }
    budget.count_refusal();
    let message = format!("message took longer than {} s to arrive: retry", REQUEST_TIMEOUT.as_secs());
    answer(&Refusal { status: StatusCode::SERVICE_UNAVAILABLE, message }, BodyFormat::Json)
}

async fn export(
    State(receiver): State<ReceiverContext>,
    Extension(reservation): Extension<Arc<Reservation>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let format = match format(&headers) {
        Ok(format) => format,
        Err(refusal) => return refuse(&receiver.ingest, &refusal, BodyFormat::Json),
    };
    let read = match body {
        Err(rejection) => Err(body_error(&rejection)),
        Ok(body) => read(&receiver.budget, &reservation, (headers, body), format).await,
    };
    match read {
        Ok(message) => match receiver.accept(Some(reservation), message, Transport::Http).await {
            Ok(partial_success) => reply(partial_success, format),
            Err(AcceptError::Overloaded(error)) => answer(&overloaded(&error), format),
            Err(AcceptError::Malformed(error)) => answer(&not_otlp(&error), format),
        },
        Err(refusal) => refuse(&receiver.ingest, &refusal, format),
    }
}

fn format(headers: &HeaderMap) -> Result<BodyFormat, Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    if media_type.eq_ignore_ascii_case("application/x-protobuf") {
        Ok(BodyFormat::Protobuf)
    } else if media_type.eq_ignore_ascii_case("application/json") {
        Ok(BodyFormat::Json)
    } else {
        let message = "Content-Type must be application/x-protobuf or application/json".to_owned();
        Err(Refusal { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, message })
    }
}

fn body_error(rejection: &BytesRejection) -> Refusal {
    let mut cause: Option<&dyn std::error::Error> = Some(rejection);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<Overloaded>() {
            return overloaded(error);
        }
        cause = error.source();
    }
    Refusal { status: rejection.status(), message: rejection.body_text() }
}

fn overloaded(error: &Overloaded) -> Refusal {
    Refusal { status: StatusCode::SERVICE_UNAVAILABLE, message: error.to_string() }
}

/// Decompresses a message and converts JSON to protobuf, on a blocking thread, so that it does not delay other requests.
async fn read(
    budget: &Arc<MemoryBudget>,
    reservation: &Arc<Reservation>,
    (headers, body): (HeaderMap, Bytes),
    format: BodyFormat,
) -> Result<Bytes, Refusal> {
    if format == BodyFormat::Protobuf && !headers.contains_key(header::CONTENT_ENCODING) {
        return Ok(body);
    }
    let permit = budget.decode_permit().await.map_err(|error| overloaded(&error))?;
    let (budget, reservation) = (Arc::clone(budget), Arc::clone(reservation));
    let reading = tokio::task::spawn_blocking(move || {
        // Kept until the end, even if the sender disconnects.
        let _permit = permit;
        let mut large = LargeMessagePermit { budget: &budget, permit: None };
        to_protobuf(decompress(&headers, body, &reservation, &mut large)?, format, &mut large)
    });
    reading.await.unwrap_or_else(|error| {
        tracing::error!(%error, "cannot read a message");
        let message = "internal error".to_owned();
        Err(Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, message })
    })
}

/// The permit that a message acquires as soon as it is large.
struct LargeMessagePermit<'b> {
    budget: &'b MemoryBudget,
    permit: Option<OwnedSemaphorePermit>,
}

impl LargeMessagePermit<'_> {
    /// Acquires the permit if a message of `bytes` is large. Blocks, so it must be called on a blocking thread.
    fn acquire_for(&mut self, bytes: usize) -> Result<(), Refusal> {
        if bytes > LARGE_MESSAGE && self.permit.is_none() {
            let permit = Handle::current().block_on(self.budget.large_message_permit());
            self.permit = Some(permit.map_err(|error| overloaded(&error))?);
        }
        Ok(())
    }
}

fn decompress(
    headers: &HeaderMap,
    body: Bytes,
    reservation: &Reservation,
    large: &mut LargeMessagePermit<'_>,
) -> Result<Bytes, Refusal> {
    let encoding =
        headers.get(header::CONTENT_ENCODING).map_or(b"identity".as_slice(), |value| value.as_bytes());
    if encoding.eq_ignore_ascii_case(b"identity") {
        return Ok(body);
    }
    if !encoding.eq_ignore_ascii_case(b"gzip") {
        let message = "Content-Encoding must be gzip or absent".to_owned();
        return Err(Refusal { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, message });
    }
    let mut decompressed = Vec::new();
    let mut limited = flate2::read::MultiGzDecoder::new(&*body).take(MAX_MESSAGE as u64 + 1);
    // Reserved piece by piece, since the final size is unknown.
    loop {
        decompressed.reserve_exact(LARGE_MESSAGE.max(decompressed.len() / 4));
        let piece = limited.by_ref().take(LARGE_MESSAGE as u64).read_to_end(&mut decompressed);
        let piece = piece.map_err(|error| Refusal {
            status: StatusCode::BAD_REQUEST,
            message: format!("body is not gzip: {error}"),
        })?;
        if piece == 0 {
            break;
        }
        reservation.grow(piece).map_err(|error| overloaded(&error))?;
        large.acquire_for(decompressed.len())?;
    }
    if decompressed.len() > MAX_MESSAGE {
        let message = format!("message is longer than {MAX_MESSAGE} bytes once decompressed");
        return Err(Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, message });
    }
    Ok(decompressed.into())
}

fn to_protobuf(
    body: Bytes,
    format: BodyFormat,
    large: &mut LargeMessagePermit<'_>,
) -> Result<Bytes, Refusal> {
    match format {
        BodyFormat::Protobuf => Ok(body),
        BodyFormat::Json => {
            large.acquire_for(body.len())?;
            crate::otlp::json_to_protobuf(&body).map_err(|error| not_otlp(&error))
        }
    }
}

fn not_otlp(error: &dyn std::fmt::Display) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, message: format!("not an OTLP trace export: {error}") }
}

fn reply(partial_success: Option<ExportTracePartialSuccess>, format: BodyFormat) -> Response {
    match (format, partial_success) {
        (BodyFormat::Protobuf, partial_success) => {
            let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
            ([(header::CONTENT_TYPE, "application/x-protobuf")], body).into_response()
        }
        (BodyFormat::Json, None) => axum::Json(json!({})).into_response(),
        (BodyFormat::Json, Some(ExportTracePartialSuccess { rejected_spans, error_message })) => {
            // 64-bit integers are strings in protobuf's JSON.
            let rejected = rejected_spans.to_string();
            let partial = json!({ "rejectedSpans": rejected, "errorMessage": error_message });
            axum::Json(json!({ "partialSuccess": partial })).into_response()
        }
    }
}

fn refuse(ingest: &Ingest, refusal: &Refusal, format: BodyFormat) -> Response {
    // The budget counts its own refusals.
    if refusal.status != StatusCode::SERVICE_UNAVAILABLE {
        ingest.count_refusal();
    }
    answer(refusal, format)
}

fn answer(refusal: &Refusal, format: BodyFormat) -> Response {
    let Refusal { status, message } = refusal;
    let code = match *status {
        StatusCode::SERVICE_UNAVAILABLE => Code::ResourceExhausted,
        status if status.is_server_error() => Code::Internal,
        _ => Code::InvalidArgument,
    } as i32;
    let mut response = match format {
        BodyFormat::Protobuf => {
            let body = RpcStatus { code, message: message.clone() }.encode_to_vec();
            (*status, [(header::CONTENT_TYPE, "application/x-protobuf")], body).into_response()
        }
        BodyFormat::Json => {
            (*status, axum::Json(json!({ "code": code, "message": message }))).into_response()
        }
    };
    if *status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER.as_secs().into());
    }
    response
}
