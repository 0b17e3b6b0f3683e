//! OTLP/HTTP: `POST /v1/traces` in protobuf or JSON, plain or gzip. Errors are a `google.rpc.Status` in the
//! request's own encoding, as OTLP asks.

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

use super::admission::Room;
use super::admission::{Held, LIGHT, NoRoom, Paying, RETRY_AFTER};
use super::admit::{NotTaken, take};
use crate::ingest::{Ingest, Transport};
use crate::otlp::MAX_MESSAGE;

/// A peer that takes longer to send a message holds memory and gives nothing for it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Protobuf,
    Json,
}

#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    message: String,
}

/// `google.rpc.Status`, as far as it is used.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

pub(crate) fn router(ingest: Arc<Ingest>) -> Router {
    let (room, for_slow) = (Arc::clone(&ingest.room), Arc::clone(&ingest.room));
    let pay = move |mut request: Request| {
        let held = room.hold();
        request.extensions_mut().insert(Arc::clone(&held));
        request.map(|body| Body::new(Paying::new(body, held)))
    };
    Router::new()
        .route("/v1/traces", post(export))
        .layer(DefaultBodyLimit::max(MAX_MESSAGE))
        .layer(MapRequestLayer::new(pay))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .layer(MapResponseLayer::new(move |response| told_too_slow(&for_slow, response)))
        .with_state(ingest)
}

/// The time limit's empty answer becomes one that senders try again after, which they do not after 408; and counts.
fn told_too_slow(room: &Room, response: Response) -> Response {
    let is_empty = response.body().size_hint().exact() == Some(0);
    if response.status() != StatusCode::SERVICE_UNAVAILABLE || !is_empty {
        return response;
    }
    room.refused.inc();
    let message = format!("it took longer than {} s to come; send it again", REQUEST_TIMEOUT.as_secs());
    answer(&Refusal { status: StatusCode::SERVICE_UNAVAILABLE, message }, Format::Json)
}

async fn export(
    State(ingest): State<Arc<Ingest>>,
    Extension(held): Extension<Arc<Held>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let format = match format(&headers) {
        Ok(format) => format,
        Err(refusal) => return refuse(&ingest, &refusal, Format::Json),
    };
    let read = match body {
        Err(rejection) => Err(unread(&rejection)),
        Ok(body) => read(&ingest.room, &held, (headers, body), format).await,
    };
    match read {
        Ok(message) => match take(&ingest, Some(held), message, Transport::Http).await {
            Ok(partial_success) => reply(partial_success, format),
            Err(NotTaken::NoRoom(why)) => answer(&no_room(&why), format),
            Err(NotTaken::Malformed(why)) => answer(&not_otlp(&why), format),
        },
        Err(refusal) => refuse(&ingest, &refusal, format),
    }
}

fn format(headers: &HeaderMap) -> Result<Format, Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    if media_type.eq_ignore_ascii_case("application/x-protobuf") {
        Ok(Format::Protobuf)
    } else if media_type.eq_ignore_ascii_case("application/json") {
        Ok(Format::Json)
    } else {
        let message = "Content-Type must be application/x-protobuf or application/json".to_owned();
        Err(Refusal { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, message })
    }
}

fn unread(rejection: &BytesRejection) -> Refusal {
    let mut cause: Option<&dyn std::error::Error> = Some(rejection);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<NoRoom>() {
            return no_room(error);
        }
        cause = error.source();
    }
    Refusal { status: rejection.status(), message: rejection.body_text() }
}

fn no_room(error: &NoRoom) -> Refusal {
    Refusal { status: StatusCode::SERVICE_UNAVAILABLE, message: error.to_string() }
}

/// Decompresses, and turns JSON into protobuf, apart from the runtime's own threads: megabytes would hold others up.
async fn read(
    room: &Arc<Room>,
    held: &Arc<Held>,
    (headers, body): (HeaderMap, Bytes),
    format: Format,
) -> Result<Bytes, Refusal> {
    if format == Format::Protobuf && !headers.contains_key(header::CONTENT_ENCODING) {
        return Ok(body);
    }
    let reader = room.reader().await.map_err(|error| no_room(&error))?;
    let (room, held) = (Arc::clone(room), Arc::clone(held));
    let reading = tokio::task::spawn_blocking(move || {
        // Held until the work is done, though its sender may have gone away long before.
        let _reader = reader;
        let mut place = Place { room: &room, taken: None };
        encoded(inflate(&headers, body, &held, &mut place)?, format, &mut place)
    });
    reading.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a message could not be read");
        let message = "internal error".to_owned();
        Err(Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, message })
    })
}

/// What a message takes as soon as it is large.
struct Place<'r> {
    room: &'r Room,
    taken: Option<OwnedSemaphorePermit>,
}

impl Place<'_> {
    /// For a message of so many bytes. Called on a thread for work that blocks.
    fn take_for(&mut self, bytes: usize) -> Result<(), Refusal> {
        if bytes > LIGHT && self.taken.is_none() {
            let place = Handle::current().block_on(self.room.place());
            self.taken = Some(place.map_err(|error| no_room(&error))?);
        }
        Ok(())
    }
}

fn inflate(headers: &HeaderMap, body: Bytes, held: &Held, place: &mut Place<'_>) -> Result<Bytes, Refusal> {
    let encoding =
        headers.get(header::CONTENT_ENCODING).map_or(b"identity".as_slice(), |value| value.as_bytes());
    if encoding.eq_ignore_ascii_case(b"identity") {
        return Ok(body);
    }
    if !encoding.eq_ignore_ascii_case(b"gzip") {
        let message = "Content-Encoding must be gzip or absent".to_owned();
        return Err(Refusal { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, message });
    }
    let mut inflated = Vec::new();
    let mut limited = flate2::read::MultiGzDecoder::new(&*body).take(MAX_MESSAGE as u64 + 1);
    // Paid for bit by bit, for nobody knows how long it will be.
    loop {
        inflated.reserve_exact(LIGHT.max(inflated.len() / 4));
        let piece = limited.by_ref().take(LIGHT as u64).read_to_end(&mut inflated);
        let piece = piece.map_err(|error| Refusal {
            status: StatusCode::BAD_REQUEST,
            message: format!("not gzip: {error}"),
        })?;
        if piece == 0 {
            break;
        }
        held.take(piece).map_err(|error| no_room(&error))?;
        place.take_for(inflated.len())?;
    }
    if inflated.len() > MAX_MESSAGE {
        let message = format!("longer than {MAX_MESSAGE} bytes once decompressed");
        return Err(Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, message });
    }
    Ok(inflated.into())
}

fn encoded(body: Bytes, format: Format, place: &mut Place<'_>) -> Result<Bytes, Refusal> {
    match format {
        Format::Protobuf => Ok(body),
        Format::Json => {
            place.take_for(body.len())?;
            crate::otlp::json_to_protobuf(&body).map_err(|error| not_otlp(&error))
        }
    }
}

fn not_otlp(why: &dyn std::fmt::Display) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, message: format!("not an OTLP trace export: {why}") }
}

fn reply(partial_success: Option<ExportTracePartialSuccess>, format: Format) -> Response {
    match (format, partial_success) {
        (Format::Protobuf, partial_success) => {
            let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
            ([(header::CONTENT_TYPE, "application/x-protobuf")], body).into_response()
        }
        (Format::Json, None) => axum::Json(json!({})).into_response(),
        (Format::Json, Some(ExportTracePartialSuccess { rejected_spans, error_message })) => {
            // 64-bit integers are strings in protobuf's JSON.
            let rejected = rejected_spans.to_string();
            let partial = json!({ "rejectedSpans": rejected, "errorMessage": error_message });
            axum::Json(json!({ "partialSuccess": partial })).into_response()
        }
    }
}

fn refuse(ingest: &Ingest, refusal: &Refusal, format: Format) -> Response {
    // What found no room was counted then.
    if refusal.status != StatusCode::SERVICE_UNAVAILABLE {
        ingest.count_refusal();
    }
    answer(refusal, format)
}

fn answer(refusal: &Refusal, format: Format) -> Response {
    let Refusal { status, message } = refusal;
    let code = match *status {
        StatusCode::SERVICE_UNAVAILABLE => Code::ResourceExhausted,
        status if status.is_server_error() => Code::Internal,
        _ => Code::InvalidArgument,
    } as i32;
    let mut response = match format {
        Format::Protobuf => {
            let body = RpcStatus { code, message: message.clone() }.encode_to_vec();
            (*status, [(header::CONTENT_TYPE, "application/x-protobuf")], body).into_response()
        }
        Format::Json => (*status, axum::Json(json!({ "code": code, "message": message }))).into_response(),
    };
    if *status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER.as_secs().into());
    }
    response
}
