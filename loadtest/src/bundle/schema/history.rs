//! The rows of the history check.

use std::collections::BTreeMap;

use collector::trace::TraceId;
use serde::{Deserialize, Serialize};

use crate::measure::history::{Anomaly, Contradictions};

/// The contradictions of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HistoryRow {
    /// Kind of the contradiction, such as `slot sold twice`.
    pub(crate) what: String,
    /// Number of contradictions.
    pub(crate) count: u64,
    /// The first ones.
    pub(crate) examples: Vec<HistoryExample>,
}

/// One contradiction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HistoryExample {
    /// What was seen.
    pub(crate) why: String,
    /// Traces of the requests that saw it.
    pub(crate) trace_ids: Vec<TraceId>,
}

impl HistoryRow {
    /// Returns a row for each kind, also for those that were not found.
    pub(crate) fn all(found: &BTreeMap<Anomaly, Contradictions>) -> Vec<Self> {
        let none = Contradictions::default();
        let row = |anomaly: Anomaly| {
            let Contradictions { count, examples } = found.get(&anomaly).unwrap_or(&none);
            let example = |example: &crate::measure::history::Contradiction| HistoryExample {
                why: example.why.clone(),
                trace_ids: example.traces.clone(),
            };
            HistoryRow {
                what: anomaly.as_str().to_owned(),
                count: *count,
                examples: examples.iter().map(example).collect(),
            }
        };
        Anomaly::ALL.map(row).to_vec()
    }

    /// Returns the number of double bookings, slots sold twice included.
    pub(crate) fn double_booked(rows: &[Self]) -> u64 {
        let kinds = [Anomaly::DoubleBooking, Anomaly::SoldTwice].map(Anomaly::as_str);
        rows.iter().filter(|row| kinds.contains(&row.what.as_str())).map(|row| row.count).sum()
    }
}
