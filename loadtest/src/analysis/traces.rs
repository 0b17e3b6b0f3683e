//! The traces that the report is made from: those that explain the percentiles, those that went wrong, and an even
//! sample.

use std::collections::{BTreeSet, HashMap};

use collector::blame::critical_path::self_time;
use collector::latency::Summary;
use collector::otlp;
use collector::trace::{Kind, Trace, TraceId};

use super::blame::{self, Window, windows};
use crate::bundle::schema::{Blame, Hop};
use crate::collector_client::CollectorClient;
use crate::measure::{Measured, histogram};

/// Traces in the even sample, at most.
const SAMPLE: usize = 1000;

/// The traces that were asked for and came, and what follows from them.
pub(crate) struct Chosen {
    traces: HashMap<TraceId, Trace>,
    sample: Vec<TraceId>,
    /// Where the time went.
    pub(crate) blame: Vec<Blame>,
    /// A request around the 99th percentile.
    pub(crate) slow: Option<Trace>,
}

/// Fetches them. A collector that has none leaves time unattributed.
pub(crate) async fn fetch(collector: &CollectorClient, measured: &Measured) -> Chosen {
    let windows = windows(measured);
    let sample = even_sample(measured);
    let mut ids: BTreeSet<TraceId> = sample.iter().copied().collect();
    ids.extend(windows.iter().flat_map(Window::traces));
    ids.extend(measured.findings.iter().map(|finding| finding.trace));
    let lines = collector.traces(&ids.into_iter().collect::<Vec<_>>()).await.unwrap_or_default();
    let traces = parse(&lines);
    let slow = windows
        .iter()
        .find(|window| window.is(99.0))
        .and_then(|window| {
            window
                .middle()
                .map(|sample| sample.trace)
                .into_iter()
                .chain(window.traces())
                .find_map(|id| traces.get(&id))
        })
        .cloned();
    let blame = windows.iter().map(|window| blame::blame(window, &traces)).collect();
    Chosen { traces, sample, blame, slow }
}

/// The traces of lines of OTLP JSON; a line that does not parse is left out.
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

impl Chosen {
    /// Puts the self times of the even sample into the rows of the hops table.
    pub(crate) fn fill_self_times(&self, hops: &mut [Hop]) {
        let mut times: HashMap<(&str, &str, Kind), Vec<u64>> = HashMap::new();
        for trace in self.sample.iter().filter_map(|id| self.traces.get(id)) {
            for (span, own) in trace.spans.iter().zip(self_time(trace)) {
                times.entry((span.service(), span.name.as_str(), span.kind)).or_default().push(own);
            }
        }
        for hop in hops {
            let own = times.remove(&(hop.service.as_str(), hop.operation.as_str(), hop.kind));
            hop.self_us = own.map(|own| Summary::of(&histogram(own.into_iter())));
        }
    }
}
