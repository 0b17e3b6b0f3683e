//! One request to OTLP/HTTP, until it is taken, refused, or there is no patience left.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::request::TraceRequest;
use super::retry::{RETRY_TIMEOUT, RetryDelays, retry_after};
use crate::usage::UsageError;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes that are shown of what a receiver says.
const MAX_QUOTED_BYTES: usize = 300;

/// Where to.
#[derive(Clone)]
pub(super) struct Receiver {
    url: String,
    http: reqwest::Client,
}

/// What became of a request that was taken.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    pub(super) spans: usize,
    pub(super) rejected: usize,
    /// Why some were rejected.
    pub(super) why: String,
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
    rejected_spans: JsonInteger,
    error_message: String,
}

/// 64-bit integers are texts in protobuf's JSON; not everybody knows.
#[derive(Deserialize)]
#[serde(untagged)]
enum JsonInteger {
    Number(usize),
    Text(String),
}

impl Default for JsonInteger {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Receiver {
    /// With or without the path that OTLP/HTTP has for traces.
    pub(super) fn at(url: &str) -> anyhow::Result<Self> {
        let base = url.trim_end_matches('/');
        let url = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
        Ok(Self { url, http: reqwest::Client::builder().timeout(TIMEOUT).build()? })
    }

    /// Fails when it is not taken.
    pub(super) async fn send(self, TraceRequest { body, spans }: TraceRequest) -> anyhow::Result<Delivery> {
        let body = reqwest::Body::from(body);
        let request = self.http.post(&self.url).header(CONTENT_TYPE, "application/json").body(body);
        let mut patience = RetryDelays::from(Instant::now());
        loop {
            let again = request.try_clone().context("a request that cannot be repeated")?;
            let reply = again.send().await.map_err(|error| self.unanswered(error))?;
            let status = reply.status();
            if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                return self.taken(reply, spans).await;
            }
            let asked_for = retry_after(reply.headers(), chrono::Utc::now());
            let Some(pause) = patience.pause(Instant::now(), asked_for) else {
                let asked_for = asked_for.map(|pause| format!(", to come again in {} s", pause.as_secs()));
                bail!(
                    "{} has no room: it answers {status}{}; given up after {} s at most",
                    self.url,
                    asked_for.unwrap_or_default(),
                    RETRY_TIMEOUT.as_secs()
                );
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn taken(&self, reply: Response, spans: usize) -> anyhow::Result<Delivery> {
        let status = reply.status();
        let said = reply.text().await.with_context(|| format!("{} broke off", self.url))?;
        if !status.is_success() {
            bail!("{} answers {status}: {}", self.url, &said[..said.floor_char_boundary(MAX_QUOTED_BYTES)]);
        }
        let strange = || format!("{} does not answer as OTLP/HTTP does; --otlp says where it is", self.url);
        let reply = if said.is_empty() {
            Reply::default()
        } else {
            serde_json::from_str(&said).with_context(strange)?
        };
        let partial = reply.partial_success.unwrap_or_default();
        let rejected = match partial.rejected_spans {
            JsonInteger::Number(number) => number,
            JsonInteger::Text(text) => text.parse().with_context(strange)?,
        };
        Ok(Delivery { spans, rejected, why: partial.error_message })
    }

    fn unanswered(&self, error: reqwest::Error) -> anyhow::Error {
        if error.is_connect() || error.is_builder() {
            let error = anyhow::Error::new(error);
            return UsageError(
                error.context(format!("nobody takes OTLP at {}; --otlp says where", self.url)),
            )
            .into();
        }
        anyhow::Error::new(error).context(format!("{} does not answer", self.url))
    }
}
