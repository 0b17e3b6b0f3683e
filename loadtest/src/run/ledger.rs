//! Waits until the traces of a run are complete at the collector.

use std::time::{Duration, Instant};

use collector::ledger::{Example, Ledger, LedgerRow};
use collector::trace::TraceId;

use super::progress::Progress;
use crate::bundle::schema::RunLedger;
use crate::collector_client::{CollectorClient, POLL_INTERVAL};
use crate::measure::Measured;

/// The wait ends when the ledger has not changed for this long. Exporters send a batch every 200 ms.
const UNCHANGED_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum wait for the traces of a run.
const DEADLINE: Duration = Duration::from_secs(60);

/// Returns the ledger of these traces once it is complete, has stopped changing, or the deadline has passed.
pub(super) async fn wait(collector: &CollectorClient, measured: &Measured, progress: &Progress) -> RunLedger {
    let expected: Vec<TraceId> = measured.samples.iter().filter(|s| s.sampled).map(|s| s.trace).collect();
    let sampled_out = (measured.samples.len() - expected.len()) as u64;
    let started = Instant::now();
    let (mut last, mut changed) = (Ledger::default(), started);
    loop {
        let ledger = collector.ledger(&expected).await.unwrap_or_else(|error| unavailable(&expected, &error));
        progress.ledger(&ledger);
        let settled = ledger.complete + ledger.dropped_by_exporter + ledger.evicted == ledger.expected;
        if ledger != last {
            (last, changed) = (ledger, Instant::now());
        }
        if settled || changed.elapsed() > UNCHANGED_TIMEOUT || started.elapsed() > DEADLINE {
            break;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    last.expected += sampled_out;
    RunLedger { collected: last, sampled_out }
}

/// Returns a ledger in which every trace is missing, because the collector does not answer.
fn unavailable(expected: &[TraceId], error: &anyhow::Error) -> Ledger {
    let example = |trace: &TraceId| Example {
        trace_id: *trace,
        row: LedgerRow::Missing,
        why: format!("the collector does not answer: {error:#}"),
    };
    Ledger {
        expected: expected.len() as u64,
        missing: expected.len() as u64,
        examples: expected.first().map(example).into_iter().collect(),
        ..Ledger::default()
    }
}
