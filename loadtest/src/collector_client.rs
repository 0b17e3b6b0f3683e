//! Client of the collector's workbench API.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use collector::latency;
use collector::ledger::Ledger;
use collector::trace::{Kind, TraceGroup, TraceId};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Maximum number of ids per ledger request.
const LEDGER_CHUNK: usize = 10_000;
/// Maximum number of ids per request for traces.
const TRACES_CHUNK: usize = 500;
/// Interval between two requests for the same figures; longer than the exporters' batch interval of 200 ms.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(300);
/// Maximum wait for the spans of the warm-up. A system with other load is never at rest.
const AT_REST_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of the request for all traces.
const ALL_TRACES_TIMEOUT: Duration = Duration::from_secs(300);

/// A collector's API at one base URL.
#[derive(Clone)]
pub(crate) struct CollectorClient {
    base: String,
    http: reqwest::Client,
}

/// Duration histogram and error count of each operation at one instant.
pub(crate) type HopHistograms = HashMap<(String, String, Kind), (Histogram<u64>, u64)>;

#[derive(Deserialize)]
struct Hops {
    hops: Vec<latency::Hop>,
}

#[derive(Serialize)]
struct Ids<'a> {
    traces: &'a [TraceId],
}

impl CollectorClient {
    /// Creates the client.
    pub(crate) fn new(base: &str, http: reqwest::Client) -> Self {
        CollectorClient { base: base.trim_end_matches('/').to_owned(), http }
    }

    /// Returns the histograms of all spans since the collector started.
    pub(crate) async fn hops(&self) -> anyhow::Result<HopHistograms> {
        self.hops_at("").await
    }

    /// Returns the histograms of the spans of a trace group since it was registered.
    pub(crate) async fn group_hops(&self, group: TraceGroup) -> anyhow::Result<HopHistograms> {
        self.hops_at(&format!("&group={group}")).await
    }

    async fn hops_at(&self, group: &str) -> anyhow::Result<HopHistograms> {
        let url = format!("{}/api/workbench/hops?histograms=true{group}", self.base);
        let reply = self.http.get(&url).send().await?.error_for_status()?.json::<Hops>().await;
        let hops = reply.with_context(|| format!("{url} is not a collector's API"))?.hops;
        hops.into_iter()
            .map(|hop| Ok(((hop.service.clone(), hop.operation.clone(), hop.kind), decode(&hop)?)))
            .collect()
    }

    /// Registers trace groups, whose spans the collector then counts apart.
    pub(crate) async fn register(&self, groups: &[TraceGroup]) -> anyhow::Result<()> {
        let url = format!("{}/api/workbench/groups", self.base);
        self.http.post(&url).json(&json!({ "groups": groups })).send().await?.error_for_status()?;
        Ok(())
    }

    /// Waits until two consecutive reads return equal counts, so that the spans of the warm-up have arrived.
    pub(crate) async fn wait_for_rest(&self) -> anyhow::Result<()> {
        let count = |hops: &HopHistograms| hops.values().map(|(histogram, _)| histogram.len()).sum::<u64>();
        let deadline = Instant::now() + AT_REST_TIMEOUT;
        let mut last = count(&self.hops().await?);
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = count(&self.hops().await?);
            if now == last || Instant::now() > deadline {
                return Ok(());
            }
            last = now;
        }
    }

    /// Returns the current ledger of these traces.
    pub(crate) async fn ledger(&self, expected: &[TraceId]) -> anyhow::Result<Ledger> {
        let url = format!("{}/api/workbench/ledger", self.base);
        let mut sum = Ledger::default();
        for traces in expected.chunks(LEDGER_CHUNK) {
            let reply = self.http.post(&url).json(&Ids { traces }).send().await?.error_for_status()?;
            sum.merge(reply.json().await?);
        }
        Ok(sum)
    }

    /// Returns the collector's state without its traces, as JSON.
    pub(crate) async fn state(&self) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}/api/workbench/state", self.base);
        Ok(self.http.get(&url).send().await?.error_for_status()?.bytes().await?.into())
    }

    /// Streams all traces, one line of OTLP JSON each.
    pub(crate) async fn all_traces(&self) -> anyhow::Result<reqwest::Response> {
        let url = format!("{}/api/workbench/traces", self.base);
        Ok(self.http.get(&url).timeout(ALL_TRACES_TIMEOUT).send().await?.error_for_status()?)
    }

    /// Returns those of the traces that the collector still has, one line of OTLP JSON each.
    pub(crate) async fn traces(&self, ids: &[TraceId]) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}/api/workbench/traces", self.base);
        let mut lines = Vec::new();
        for traces in ids.chunks(TRACES_CHUNK) {
            let reply =
                self.http.post(&url).json(&json!({ "traces": traces })).send().await?.error_for_status()?;
            lines.extend_from_slice(&reply.bytes().await?);
            if lines.last().is_some_and(|byte| *byte != b'\n') {
                lines.push(b'\n');
            }
        }
        Ok(lines)
    }
}

fn decode(hop: &latency::Hop) -> anyhow::Result<(Histogram<u64>, u64)> {
    let encoded = hop.histogram.as_deref().context("missing histogram")?;
    let bytes = STANDARD.decode(encoded).context("histogram is not base64")?;
    let mut histogram: Histogram<u64> = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| anyhow::anyhow!("cannot decode a histogram: {error:?}"))?;
    // A decoded histogram has the range of its values; adding another one may need more.
    histogram.auto(true);
    Ok((histogram, hop.errors))
}
