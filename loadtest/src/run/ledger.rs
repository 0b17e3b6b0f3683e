//! Waits until the traces of a run are complete at the collector.

use std::time::{Duration, Instant};

use collector::ledger::{Example, Ledger, LedgerRow};
use collector::trace::TraceId;

use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use crate::bundle::schema::RunLedger;
use crate::collector_client::{CollectorClient, POLL_INTERVAL};
use crate::measure::Measured;

/// The wait ends when the ledger has not changed for this long. Exporters send a batch every 200 ms.
const UNCHANGED_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum wait for the traces of a run.
const DEADLINE: Duration = Duration::from_secs(60);

/// Returns the ledger of these traces once it is complete, has stopped changing, the deadline has passed, or `hurry` is
/// cancelled.
pub(super) async fn wait(
    collector: &CollectorClient,
    measured: &Measured,
    progress: &Progress,
    hurry: &CancellationToken,
) -> RunLedger {
    let expected: Vec<TraceId> = measured.samples.iter().filter(|s| s.sampled).map(|s| s.trace).collect();
    let sampled_out = (measured.samples.len() - expected.len()) as u64;
    let mut ledger = RunLedger::default();
    let settle = settle(collector, &expected, &mut ledger, progress);
    if hurry.run_until_cancelled(settle).await.is_none() && ledger.collected.expected == 0 {
        ledger = unobserved(ledger, &expected, "the run was ended before the collector answered".to_owned());
    }
    ledger.collected.expected += sampled_out;
    RunLedger { sampled_out, ..ledger }
}

async fn settle(
    collector: &CollectorClient,
    expected: &[TraceId],
    last: &mut RunLedger,
    progress: &Progress,
) {
    let started = Instant::now();
    let mut changed = started;
    loop {
        let ledger = match collector.ledger(expected).await {
            Ok(collected) => RunLedger { collected, ..RunLedger::default() },
            Err(error) => {
                let why = format!("the collector does not answer: {error:#}");
                unobserved(last.clone(), expected, why)
            }
        };
        progress.ledger(&ledger.collected);
        let Ledger { complete, dropped_by_exporter, evicted, .. } = ledger.collected;
        let settled = complete + dropped_by_exporter + evicted == ledger.collected.expected;
        if ledger != *last {
            // The text of an error may differ from that of the one before.
            if ledger.unknown == 0 || last.unknown == 0 {
                changed = Instant::now();
            }
            *last = ledger;
        }
        if settled || changed.elapsed() > UNCHANGED_TIMEOUT || started.elapsed() > DEADLINE {
            return;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Returns the ledger when the collector does not answer: what was not settled when it last did is unknown.
fn unobserved(last: RunLedger, expected: &[TraceId], why: String) -> RunLedger {
    let Ledger { complete, dropped_by_exporter, evicted, .. } = last.collected;
    let example = |trace: &TraceId| Example { trace_id: *trace, row: LedgerRow::Missing, why };
    let collected = Ledger {
        expected: expected.len() as u64,
        orphaned: 0,
        missing: 0,
        examples: expected.first().map(example).into_iter().collect(),
        ..last.collected
    };
    let unknown = collected.expected - complete - dropped_by_exporter - evicted;
    RunLedger { collected, unknown, ..last }
}
