//! The collector's workbench API, as the load generator uses it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use collector::latency::{self, Summary};
use collector::trace::{Kind, TraceId};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::schema::{Hop, Ledger, Loss};
use crate::measure::Measured;

/// Ids in one ledger call.
const LEDGER_CHUNK: usize = 10_000;
/// Ids in one call for traces.
const TRACES_CHUNK: usize = 500;
/// Between two looks: longer than a batch of spans takes to leave.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// The longest wait for the spans of the warm-up; a system that others load as well is never at rest.
const AT_REST_WITHIN: Duration = Duration::from_secs(3);
/// Nothing more is waited for once the ledger has stood still for this long: batches leave every 200 ms.
const STANDS_STILL: Duration = Duration::from_secs(5);
/// The longest wait in all.
const DEADLINE: Duration = Duration::from_secs(60);
/// The longest wait for everything that the collector keeps.
const ALL_TRACES_WITHIN: Duration = Duration::from_secs(300);
/// Losses told in detail.
const EXAMPLES: usize = 20;

/// One collector.
#[derive(Clone)]
pub(crate) struct Collector {
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

impl Collector {
    /// At this base URL.
    pub(crate) fn new(base: &str, http: reqwest::Client) -> Self {
        Collector { base: base.trim_end_matches('/').to_owned(), http }
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
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.hops().await?;
            let count = |hops: &Snapshot| hops.values().map(|(histogram, _)| histogram.len()).sum::<u64>();
            if count(&now) == count(&last) || Instant::now() > deadline {
                return Ok(now);
            }
            last = now;
        }
    }

    /// The ledger of these traces, as soon as it is complete, stands still, or the deadline has passed.
    pub(crate) async fn settled_ledger(&self, measured: &Measured, progress: impl Fn(&Ledger)) -> Ledger {
        let expected: Vec<TraceId> = measured.samples.iter().filter(|s| s.sampled).map(|s| s.trace).collect();
        let sampled_out = (measured.samples.len() - expected.len()) as u64;
        let started = Instant::now();
        let (mut last, mut changed) = (Ledger::default(), started);
        loop {
            let ledger = self.ledger(&expected).await.unwrap_or_else(|error| unanswered(&expected, &error));
            progress(&ledger);
            let settled = ledger.complete + ledger.dropped_by_exporter + ledger.evicted == ledger.expected;
            if ledger != last {
                (last, changed) = (ledger, Instant::now());
            }
            if settled || changed.elapsed() > STANDS_STILL || started.elapsed() > DEADLINE {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        last.expected += sampled_out;
        last.sampled_out = sampled_out;
        last
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

/// A collector that does not answer has lost everything, for all that can be known.
fn unanswered(expected: &[TraceId], error: &anyhow::Error) -> Ledger {
    let loss = |trace: &TraceId| Loss {
        trace_id: trace.to_string(),
        row: "missing".into(),
        why: format!("the collector does not answer: {error:#}"),
    };
    Ledger {
        expected: expected.len() as u64,
        missing: expected.len() as u64,
        examples: expected.first().map(loss).into_iter().collect(),
        ..Ledger::default()
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

/// What happened between two snapshots, unsorted and without self times.
pub(crate) fn difference(before: &Snapshot, after: Snapshot) -> Vec<Hop> {
    let mut hops = Vec::new();
    for ((service, operation, kind), (mut histogram, mut errors)) in after {
        if let Some((was, errors_were)) = before.get(&(service.clone(), operation.clone(), kind)) {
            let mut rest = histogram.clone();
            // A collector that was restarted in between has fewer spans now than then: all of them are new.
            if rest.subtract(was).is_ok() {
                histogram = rest;
                errors = errors.saturating_sub(*errors_were);
            }
        }
        if !histogram.is_empty() {
            let latency_us = Summary::of(&histogram);
            hops.push(Hop {
                service,
                operation,
                kind,
                count: histogram.len(),
                errors,
                latency_us,
                self_us: None,
            });
        }
    }
    hops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::histogram;

    fn snapshot(values: &[u64], errors: u64) -> Snapshot {
        let histogram = histogram(values.iter().copied());
        HashMap::from([(("cache".into(), "GET /get/{key}".into(), Kind::Server), (histogram, errors))])
    }

    #[test]
    fn only_what_came_after_the_first_snapshot_counts() {
        let hops = difference(&snapshot(&[1000, 9_000_000], 1), snapshot(&[1000, 9_000_000, 2000, 3000], 2));
        assert_eq!((hops[0].count, hops[0].errors), (2, 1));
        assert!(hops[0].latency_us.max < 3.01, "{hops:?}");
    }

    #[test]
    fn an_operation_at_rest_is_no_row() {
        assert!(difference(&snapshot(&[1000], 0), snapshot(&[1000], 0)).is_empty());
    }

    #[test]
    fn after_a_restart_everything_is_new() {
        let hops = difference(&snapshot(&[1000, 1000, 1000], 3), snapshot(&[5000], 0));
        assert_eq!((hops[0].count, hops[0].errors), (1, 0));
    }
}
