//! The closed set of reasons to refuse a request, their statuses in HTTP and gRPC, and their counts.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use axum::http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use telemetry::throttle::Throttle;
use tonic::Code;

use super::admission::{Overloaded, RETRY_AFTER};
use super::signal::Signal;
use crate::otlp::MAX_MESSAGE;

/// Maximum time to receive and handle a message, which takes memory meanwhile.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum bytes of the start and of the end of a text from outside that a refusal repeats.
const MAX_START: usize = 160;
const MAX_END: usize = 93;

/// A message was not accepted. Nothing of it is stored, except after a timeout while a large message is handled: handling
/// continues, and spans that are sent again are duplicates (see [`crate::store`]).
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Refusal {
    #[error("not an OTLP {signal} export: {}", abridged(.error))]
    NotOtlp { signal: Signal, error: String },
    #[error("body is not {encoding}: {}", abridged(.error))]
    NotEncoded { encoding: &'static str, error: String },
    #[error("not a gRPC message: {0}")]
    NotGrpc(&'static str),
    #[error("cannot read the body: {}", abridged(.0))]
    Unread(String),
    #[error("encoding {:?} is not supported: use one of {accepted}", abridged(.encoding))]
    Encoding { encoding: String, accepted: &'static str },
    #[error("Content-Type must be {0}")]
    ContentType(&'static str),
    #[error("message is longer than {MAX_MESSAGE} bytes")]
    TooLong,
    #[error("message is longer than {MAX_MESSAGE} bytes once decompressed")]
    TooLongDecompressed,
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error("message took longer than {} s to arrive: retry", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    #[error(
        "no OTLP receiver at {:?}: send to /v1/traces, /v1/metrics, /v1/logs or /v1development/profiles",
        abridged(.0)
    )]
    UnknownPath(String),
    #[error("no method {}: use Export of the trace, metrics, logs or profiles service", abridged(.0))]
    UnknownMethod(String),
    #[error("allowed methods: POST")]
    NotPost,
    #[error("internal error")]
    Internal,
}

/// Label of a refusal in `/metrics` and in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Invalid,
    Encoding,
    ContentType,
    TooLarge,
    Overloaded,
    Timeout,
    UnknownPath,
    Method,
    Internal,
    /// A query, refused because too many others are being answered.
    QueryBusy,
}

impl Refusal {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::NotOtlp { .. } | Self::NotEncoded { .. } | Self::NotGrpc(_) | Self::Unread(_) => {
                Reason::Invalid
            }
            Self::Encoding { .. } => Reason::Encoding,
            Self::ContentType(_) => Reason::ContentType,
            Self::TooLong | Self::TooLongDecompressed => Reason::TooLarge,
            Self::Overloaded(_) => Reason::Overloaded,
            Self::Timeout => Reason::Timeout,
            Self::UnknownPath(_) | Self::UnknownMethod(_) => Reason::UnknownPath,
            Self::NotPost => Reason::Method,
            Self::Internal => Reason::Internal,
        }
    }

    /// Returns the time after which a sender may retry; `None` for a refusal that is final.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded(_) | Self::Timeout => Some(RETRY_AFTER),
            _ => None,
        }
    }

    pub(super) fn http_status(&self) -> StatusCode {
        match self.reason() {
            Reason::Invalid => StatusCode::BAD_REQUEST,
            Reason::Encoding | Reason::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            // Senders retry 503, but not 408.
            Reason::Overloaded | Reason::Timeout | Reason::QueryBusy => StatusCode::SERVICE_UNAVAILABLE,
            Reason::UnknownPath => StatusCode::NOT_FOUND,
            Reason::Method => StatusCode::METHOD_NOT_ALLOWED,
            Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the gRPC code, which is also in the bodies of OTLP/HTTP. Senders retry RESOURCE_EXHAUSTED, with a delay, but
    /// none of the other codes.
    pub(super) fn code(&self) -> Code {
        match self.reason() {
            Reason::Encoding | Reason::UnknownPath | Reason::Method => Code::Unimplemented,
            Reason::Overloaded | Reason::Timeout | Reason::QueryBusy => Code::ResourceExhausted,
            Reason::Internal => Code::Internal,
            Reason::Invalid | Reason::ContentType | Reason::TooLarge => Code::InvalidArgument,
        }
    }
}

impl Reason {
    const ALL: [Self; 10] = [
        Self::Invalid,
        Self::Encoding,
        Self::ContentType,
        Self::TooLarge,
        Self::Overloaded,
        Self::Timeout,
        Self::UnknownPath,
        Self::Method,
        Self::Internal,
        Self::QueryBusy,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Encoding => "encoding",
            Self::ContentType => "content_type",
            Self::TooLarge => "too_large",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::UnknownPath => "unknown_path",
            Self::Method => "method",
            Self::Internal => "internal",
            Self::QueryBusy => "query_busy",
        }
    }
}

/// Returns a text that may contain all of a message, in up to 256 bytes. The end of a parser's error says what was expected
/// and where.
fn abridged(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_START + MAX_END {
        return text.into();
    }
    let start = &text[..text.floor_char_boundary(MAX_START)];
    let end = &text[text.ceil_char_boundary(text.len() - MAX_END)..];
    format!("{start}…{end}").into()
}

/// Counts refusals by reason, and logs the first of each reason and then at most one a minute.
#[derive(Debug, Default)]
pub(crate) struct Refusals([Refused; Reason::ALL.len()]);

#[derive(Debug, Default)]
struct Refused {
    count: Counter,
    log: Throttle,
}

impl Refusals {
    /// Counts a refusal. `detail` explains it in the log.
    pub(crate) fn record(&self, reason: Reason, detail: &str, peer: Option<IpAddr>) {
        let refused = &self.0[reason as usize];
        refused.count.inc();
        if let Some(count) = refused.log.admit() {
            let (reason, peer) = (reason.as_str(), peer.map(tracing::field::display));
            tracing::warn!(reason, count, peer, detail, "requests refused");
        }
    }

    /// Returns the number of refusals since the start, by reason.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reason::ALL.into_iter().map(|reason| (reason.as_str(), self.0[reason as usize].count.get()))
    }
}
