//! The hops table: what happened between two snapshots of the collector's histograms.

use collector::latency::Summary;

use crate::bundle::schema::HopSummary;
use crate::collector_client::Snapshot;

/// What happened between two snapshots, unsorted and without self times.
pub(crate) fn difference(before: &Snapshot, after: Snapshot) -> Vec<HopSummary> {
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
            hops.push(HopSummary {
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
    use std::collections::HashMap;

    use collector::trace::Kind;

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
