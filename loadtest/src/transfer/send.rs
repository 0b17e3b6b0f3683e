//! Sends one OTLP/HTTP request and retries while the receiver is busy.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::request::TraceRequest;
use super::retry::{RETRY_TIMEOUT, RetryDelays, parse_retry_after};
use crate::http_client;
use crate::usage::UsageError;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum number of bytes of a reply that an error quotes.
const MAX_QUOTED_BYTES: usize = 300;

/// An OTLP/HTTP receiver.
#[derive(Clone)]
pub(super) struct Receiver {
    url: String,
    http: reqwest::Client,
}

/// Result of an accepted request.
#[derive(Debug, Default)]
pub(super) struct SendResult {
    pub(super) spans: usize,
    pub(super) rejected: usize,
    /// The receiver's reason for rejecting spans.
    pub(super) reason: String,
}

/// `ExportTraceServiceResponse`
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reply {
    partial_success: Option<PartialSuccess>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialSuccess {
    rejected_spans: Option<JsonInteger>,
    error_message: Option<String>,
}

/// A 64-bit integer. Protobuf's JSON encodes it as a string, some receivers as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum JsonInteger {
    Number(usize),
    Text(String),
}

impl Receiver {
    /// Creates the receiver from its URL, with or without the path `/v1/traces`.
    pub(super) fn at(url: &str) -> anyhow::Result<Self> {
        let base = url.trim_end_matches('/');
        let url = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
        Ok(Self { url, http: http_client::builder().timeout(TIMEOUT).build()? })
    }

    /// Sends the request. Fails if the receiver does not accept it.
    pub(super) async fn send(self, TraceRequest { body, spans }: TraceRequest) -> anyhow::Result<SendResult> {
        let body = reqwest::Body::from(body);
        let request = self.http.post(&self.url).header(CONTENT_TYPE, "application/json").body(body);
        let mut delays = RetryDelays::from(Instant::now());
        loop {
            let again = request.try_clone().context("cannot repeat the request")?;
            let reply = again.send().await.map_err(|error| self.no_reply(error))?;
            let status = reply.status();
            if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                return self.result(reply, spans).await;
            }
            let requested = parse_retry_after(reply.headers(), chrono::Utc::now());
            let Some(delay) = delays.delay(Instant::now(), requested) else {
                let requested = requested.map(|delay| format!(", retry after {} s", delay.as_secs()));
                bail!(
                    "{} is busy: status {status}{}; gave up within {} s",
                    self.url,
                    requested.unwrap_or_default(),
                    RETRY_TIMEOUT.as_secs()
                );
            };
            tokio::time::sleep(delay).await;
        }
    }

    async fn result(&self, reply: Response, spans: usize) -> anyhow::Result<SendResult> {
        let status = reply.status();
        let text = reply.text().await.with_context(|| format!("the connection to {} ended", self.url))?;
        if !status.is_success() {
            bail!("{} returned {status}: {}", self.url, &text[..text.floor_char_boundary(MAX_QUOTED_BYTES)]);
        }
        let not_otlp = || format!("{} is not an OTLP/HTTP receiver (set the address with --otlp)", self.url);
        let reply = if text.is_empty() {
            Reply::default()
        } else {
            serde_json::from_str(&text).with_context(not_otlp)?
        };
        let partial = reply.partial_success.unwrap_or_default();
        let rejected = match partial.rejected_spans {
            None => 0,
            Some(JsonInteger::Number(number)) => number,
            Some(JsonInteger::Text(text)) => text.parse().with_context(not_otlp)?,
        };
        Ok(SendResult { spans, rejected, reason: partial.error_message.unwrap_or_default() })
    }

    fn no_reply(&self, error: reqwest::Error) -> anyhow::Error {
        if error.is_connect() || error.is_builder() {
            let error = anyhow::Error::new(error);
            return UsageError(
                error.context(format!("no OTLP receiver at {} (set the address with --otlp)", self.url)),
            )
            .into();
        }
        anyhow::Error::new(error).context(format!("{} does not reply", self.url))
    }
}
