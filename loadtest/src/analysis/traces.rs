//! The traces that the report uses: those that explain the percentiles, those of wrong and failed requests, and an even
//! sample.

use std::collections::{BTreeSet, HashMap};

use collector::blame::clock_skew::{ClockSkew, clock_skews};
use collector::blame::critical_path::self_time;
use collector::otlp;
use collector::trace::{Kind, Trace, TraceId};

use super::blame::{self, Band, bands, slow_users};
use crate::bundle::schema::{Blame, HopSummary};
use crate::collector_client::CollectorClient;
use crate::measure::{Measured, summary};

/// Maximum number of traces in the even sample.
const SAMPLE: usize = 1000;

/// The selected traces that the collector returned, and their analysis.
pub(crate) struct SelectedTraces {
    traces: HashMap<TraceId, Trace>,
    sample: Vec<TraceId>,
    /// Where the time went.
    pub(crate) blame: Vec<Blame>,
    /// A user's request around the 99th percentile.
    pub(crate) slow: Option<Trace>,
    /// How far the clocks of the processes are apart.
    pub(crate) clock_skews: Vec<ClockSkew>,
}

/// Parses lines of OTLP JSON; skips lines that do not parse.
fn parse(lines: &[u8]) -> HashMap<TraceId, Trace> {
    let mut traces: HashMap<TraceId, Trace> = HashMap::new();
    for trace in String::from_utf8_lossy(lines).lines().filter_map(|line| otlp::from_json_line(line).ok()) {
        if let Some(id) = trace.id() {
            traces.insert(id, trace);
        }
    }
    traces
}

fn even_sample(measured: &Measured) -> Vec<TraceId> {
    let sampled: Vec<TraceId> = measured.phase(false).filter(|s| s.sampled).map(|s| s.trace).collect();
    let step = sampled.len().div_ceil(SAMPLE).max(1);
    sampled.into_iter().step_by(step).collect()
}

impl SelectedTraces {
    /// Fetches the traces. If the collector has none, their time is unattributed.
    pub(crate) async fn fetch(collector: &CollectorClient, measured: &Measured) -> Self {
        let (bands, slow_band) = (bands(measured), slow_users(measured));
        let sample = even_sample(measured);
        let mut ids: BTreeSet<TraceId> = sample.iter().copied().collect();
        ids.extend(bands.iter().chain(&slow_band).flat_map(Band::traces));
        ids.extend(measured.findings.iter().map(|finding| finding.trace));
        let lines = collector.traces(&ids.into_iter().collect::<Vec<_>>()).await.unwrap_or_default();
        let traces = parse(&lines);
        let slow = slow_band.as_ref().and_then(|band| {
            let middle = band.middle().map(|sample| sample.trace);
            middle.into_iter().chain(band.traces()).find_map(|id| traces.get(&id)).cloned()
        });
        let blame = bands.iter().map(|band| blame::blame(band, &traces)).collect();
        let clock_skews = clock_skews(traces.values());
        Self { traces, sample, blame, slow, clock_skews }
    }

    /// Returns the analysis of a run whose traces cannot be read: their time is unattributed.
    pub(crate) fn none(measured: &Measured) -> Self {
        let traces = HashMap::new();
        let blame = bands(measured).iter().map(|band| blame::blame(band, &traces)).collect();
        Self { traces, sample: Vec::new(), blame, slow: None, clock_skews: Vec::new() }
    }

    /// Fills the self times of the hops table from the even sample.
    pub(crate) fn fill_self_times(&self, hops: &mut [HopSummary]) {
        let mut times: HashMap<(&str, &str, Kind), Vec<u64>> = HashMap::new();
        for trace in self.sample.iter().filter_map(|id| self.traces.get(id)) {
            for (span, own) in trace.spans.iter().zip(self_time(trace)) {
                times.entry((span.service(), span.operation(), span.kind)).or_default().push(own);
            }
        }
        for hop in hops {
            let own = times.remove(&(hop.service.as_str(), hop.operation.as_str(), hop.kind));
            hop.self_us = own.and_then(|own| summary(own.into_iter()));
        }
    }
}
