//! OTLP/HTTP: `POST /v1/traces` in protobuf or JSON, plain or gzip. Errors are a `google.rpc.Status` in the
//! request's own encoding, as OTLP asks.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use serde_json::json;
use tonic::Code;
use tower_http::timeout::TimeoutLayer;

use super::MAX_MESSAGE;
use crate::ingest::{Ingest, Transport};

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
    Router::new()
        .route("/v1/traces", post(export))
        .layer(DefaultBodyLimit::max(MAX_MESSAGE))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
        .with_state(ingest)
}

async fn export(
    State(ingest): State<Arc<Ingest>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let format = match format(&headers) {
        Ok(format) => format,
        Err(refusal) => return refuse(&ingest, &refusal, Format::Json),
    };
    let read = match body {
        Err(rejection) => Err(Refusal { status: rejection.status(), message: rejection.body_text() }),
        Ok(body) => read(headers, body, format).await,
    };
    match read {
        Ok(request) => reply(ingest.accept(request, Transport::Http), format),
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

/// Decompresses and decodes apart from the runtime's own threads: megabytes of JSON would hold others up.
async fn read(headers: HeaderMap, body: Bytes, format: Format) -> Result<ExportTraceServiceRequest, Refusal> {
    let reading = tokio::task::spawn_blocking(move || decode(&inflate(&headers, body)?, format));
    reading.await.unwrap_or_else(|error| {
        Err(Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, message: error.to_string() })
    })
}

fn inflate(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Refusal> {
    let encoding =
        headers.get(header::CONTENT_ENCODING).map_or(b"identity".as_slice(), |value| value.as_bytes());
    if encoding.eq_ignore_ascii_case(b"identity") {
        return Ok(body);
    }
    if !encoding.eq_ignore_ascii_case(b"gzip") {
        let message = "Content-Encoding must be gzip or absent".to_owned();
        return Err(Refusal { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, message });
    }
    let mut inflated = Vec::with_capacity(body.len().saturating_mul(4).min(MAX_MESSAGE));
    let mut limited = flate2::read::MultiGzDecoder::new(&*body).take(MAX_MESSAGE as u64 + 1);
    limited.read_to_end(&mut inflated).map_err(|error| Refusal {
        status: StatusCode::BAD_REQUEST,
        message: format!("not gzip: {error}"),
    })?;
    if inflated.len() > MAX_MESSAGE {
        let message = format!("longer than {MAX_MESSAGE} bytes once decompressed");
        return Err(Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, message });
    }
    Ok(inflated.into())
}

fn decode(body: &[u8], format: Format) -> Result<ExportTraceServiceRequest, Refusal> {
    let refusal = |error: &dyn std::fmt::Display| Refusal {
        status: StatusCode::BAD_REQUEST,
        message: format!("not an OTLP trace export: {error}"),
    };
    match format {
        Format::Protobuf => ExportTraceServiceRequest::decode(body).map_err(|error| refusal(&error)),
        Format::Json => serde_json::from_slice(body).map_err(|error| refusal(&error)),
    }
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
    ingest.count_refusal();
    let code = if refusal.status.is_server_error() { Code::Internal } else { Code::InvalidArgument } as i32;
    let Refusal { status, message } = refusal;
    match format {
        Format::Protobuf => {
            let body = RpcStatus { code, message: message.clone() }.encode_to_vec();
            (*status, [(header::CONTENT_TYPE, "application/x-protobuf")], body).into_response()
        }
        Format::Json => (*status, axum::Json(json!({ "code": code, "message": message }))).into_response(),
    }
}
