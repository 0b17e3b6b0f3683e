//! The collector's workbench API, as the load generator uses it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use collector::latency;
use collector::ledger::Ledger;
use collector::trace::{Kind, TraceId};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Ids in one ledger call.
const LEDGER_CHUNK: usize = 10_000;
/// Ids in one call for traces.
const TRACES_CHUNK: usize = 500;
/// Interval between two requests for the same figures; longer than the exporters' batch interval of 200 ms.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(300);
/// The longest wait for the spans of the warm-up; a system that others load as well is never at rest.
const AT_REST_WITHIN: Duration = Duration::from_secs(3);
/// The longest wait for everything that the collector keeps.
const ALL_TRACES_WITHIN: Duration = Duration::from_secs(300);
/// Losses told in detail.
const EXAMPLES: usize = 20;

/// One collector.
#[derive(Clone)]
pub(crate) struct CollectorClient {
    base: String,
    http: reqwest::Client,
}

/// What the histograms were at one moment.
pub(crate) type Snapshot = HashMap<(String, String, Kind), (Histogram<u64>, u64)>;

#[derive(Deserialize)]
struct Hops {
    hops: Vec<latency::Hop>,
}

#[derive(Serialize)]
struct Ids<'a> {
    traces: &'a [TraceId],
}

impl CollectorClient {
    /// At this base URL.
    pub(crate) fn new(base: &str, http: reqwest::Client) -> Self {
        CollectorClient { base: base.trim_end_matches('/').to_owned(), http }
    }

    /// Every operation's spans since the collector started.
    pub(crate) async fn hops(&self) -> anyhow::Result<Snapshot> {
        let url = format!("{}/api/workbench/hops?histograms=true", self.base);
        let reply = self.http.get(&url).send().await?.error_for_status()?.json::<Hops>().await;
        let hops = reply.with_context(|| format!("{url} does not answer as a collector does"))?.hops;
        hops.into_iter()
            .map(|hop| Ok(((hop.service.clone(), hop.operation.clone(), hop.kind), decode(&hop)?)))
            .collect()
    }

    /// The histograms once the spans of the warm-up are in: when two looks in a row see the same.
    pub(crate) async fn hops_at_rest(&self) -> anyhow::Result<Snapshot> {
        let deadline = Instant::now() + AT_REST_WITHIN;
        let mut last = self.hops().await?;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = self.hops().await?;
            let count = |hops: &Snapshot| hops.values().map(|(histogram, _)| histogram.len()).sum::<u64>();
            if count(&now) == count(&last) || Instant::now() > deadline {
                return Ok(now);
            }
            last = now;
        }
    }

    /// Which rows these traces stand in, now.
    pub(crate) async fn ledger(&self, expected: &[TraceId]) -> anyhow::Result<Ledger> {
        let url = format!("{}/api/workbench/ledger", self.base);
        let mut sum = Ledger::default();
        for traces in expected.chunks(LEDGER_CHUNK) {
            let reply = self.http.post(&url).json(&Ids { traces }).send().await?.error_for_status()?;
            let part: Ledger = reply.json().await?;
            sum.expected += part.expected;
            sum.complete += part.complete;
            sum.dropped_by_exporter += part.dropped_by_exporter;
            sum.evicted += part.evicted;
            for (reason, count) in part.evicted_by_reason {
                *sum.evicted_by_reason.entry(reason).or_default() += count;
            }
            sum.orphaned += part.orphaned;
            sum.missing += part.missing;
            sum.examples.extend(part.examples);
            sum.examples.truncate(EXAMPLES);
        }
        Ok(sum)
    }

    /// What it knows beside its traces, as it gives it.
    pub(crate) async fn state(&self) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}/api/workbench/state", self.base);
        Ok(self.http.get(&url).send().await?.error_for_status()?.bytes().await?.into())
    }

    /// Every trace that it keeps, a line of OTLP JSON each, as they arrive.
    pub(crate) async fn all_traces(&self) -> anyhow::Result<reqwest::Response> {
        let url = format!("{}/api/workbench/traces", self.base);
        Ok(self.http.get(&url).timeout(ALL_TRACES_WITHIN).send().await?.error_for_status()?)
    }

    /// The traces of these ids that the collector still has: one line of OTLP JSON each.
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
    let encoded = hop.histogram.as_deref().context("a hop without a histogram")?;
    let bytes = STANDARD.decode(encoded).context("a histogram that is not base64")?;
    let histogram = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| anyhow::anyhow!("a histogram that does not decode: {error:?}"))?;
    Ok((histogram, hop.errors))
}
