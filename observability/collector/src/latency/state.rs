//! All the histograms as a file keeps them, and back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use super::series::Series;
use super::{Latencies, MAX_SERIES, Name};
use crate::store::ExemplarChange;
use crate::trace::{Kind, TraceId};

/// Everything that [`Latencies`] answers from.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(super) series: Vec<SeriesState>,
    pub(super) overflow: u64,
}

/// One operation of one service.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SeriesState {
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) kind: Kind,
    /// Nanoseconds; HdrHistogram V2 + DEFLATE in base64.
    pub(super) histogram: String,
    /// Earlier files lack it.
    pub(super) total_ns: Option<f64>,
    pub(super) errors: u64,
    pub(super) first_end_ns: u64,
    pub(super) last_end_ns: u64,
    pub(super) timed: u64,
    /// Duration in nanoseconds and trace, of the slowest.
    pub(super) slowest: Vec<(u64, TraceId)>,
    /// Of each bucket.
    pub(super) exemplars: Vec<(u64, TraceId)>,
}

/// What keeps a file's histograms from being used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("the histogram of {0:?} does not decode")]
    Histogram(String),
    #[error("it has more than {MAX_SERIES} histograms")]
    TooMany,
}

impl State {
    /// Of all the series, and of the spans that found none.
    pub(crate) fn of(series: impl Iterator<Item = (Name, Series)>, overflow: u64) -> Self {
        Self { series: series.filter_map(|(name, series)| series.state(name)).collect(), overflow }
    }
}

impl Latencies {
    /// The histograms as they were, and the traces that tell something about them.
    pub(crate) fn restore(state: State) -> Result<(Self, Vec<ExemplarChange>), Unusable> {
        if state.series.len() > MAX_SERIES {
            return Err(Unusable::TooMany);
        }
        let mut latencies = Self::new(usize::MAX);
        latencies.overflow = state.overflow;
        let mut telling = Vec::new();
        for of_series in state.series {
            let series = Series::restore(&of_series, &mut telling)
                .ok_or_else(|| Unusable::Histogram(of_series.operation.clone()))?;
            latencies.bytes += series.bytes();
            latencies.series += 1;
            let service = latencies.services.entry(of_series.service.into()).or_default();
            service.operations[of_series.kind as usize].insert(of_series.operation.into(), series);
        }
        Ok((latencies, telling))
    }
}

/// HdrHistogram V2 + DEFLATE in base64.
pub(super) fn encode(histogram: &Histogram<u32>) -> Option<String> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).ok()?;
    Some(STANDARD.encode(bytes))
}

pub(super) fn decode(text: &str) -> Option<Histogram<u32>> {
    let bytes = STANDARD.decode(text).ok()?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).ok()
}
