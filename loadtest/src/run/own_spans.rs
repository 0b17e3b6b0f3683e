//! Separates the spans of a run from those of all other load at the same collector.

use anyhow::Context as _;

use crate::analysis::hops::{self, Entered};
use crate::bundle::schema::HopSummary;
use crate::collector_client::CollectorClient;
use crate::drive::TraceGroups;
use crate::terminal;

/// Counts the requests that have entered the system, once the spans of the warm-up have arrived.
pub(super) async fn baseline(collector: &CollectorClient, groups: TraceGroups) -> anyhow::Result<Entered> {
    collector.wait_for_rest().await?;
    entered(collector, groups).await
}

/// Returns the hops of the run and the number of requests by others since `baseline`. Without an answer of the collector,
/// or if it was restarted, the hops are empty and the number is absent.
pub(super) async fn fetch(
    collector: &CollectorClient,
    groups: TraceGroups,
    baseline: Option<Entered>,
) -> (Vec<HopSummary>, Option<u64>) {
    let hops = async {
        let (users, intruders) =
            (collector.group_hops(groups.users).await?, collector.group_hops(groups.intruders).await?);
        anyhow::Ok(hops::of_run(users, intruders))
    };
    let hops = hops.await.context("the report has no hops, because the collector has lost the run's");
    let hops = hops.unwrap_or_else(|error| {
        terminal::notice(terminal::describe(&error));
        Vec::new()
    });
    let others = match (baseline, entered(collector, groups).await) {
        (Some(before), Ok(after)) => after.others_since(before),
        _ => None,
    };
    (hops, others)
}

async fn entered(collector: &CollectorClient, groups: TraceGroups) -> anyhow::Result<Entered> {
    // In this order: a span that arrives between the reads counts as one of the run, never as one of others.
    let all = hops::entered(&collector.hops().await?);
    let mut own = 0;
    for group in groups.all() {
        own += hops::entered(&collector.group_hops(group).await?);
    }
    Ok(Entered { own, all })
}
