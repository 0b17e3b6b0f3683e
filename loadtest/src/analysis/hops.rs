//! The hops table: the difference between two reads of the collector's histograms.

use collector::latency::Summary;

use crate::bundle::schema::HopSummary;
use crate::collector_client::HopHistograms;

/// Returns the spans that arrived between two reads, unsorted and without self times.
pub(crate) fn difference(before: &HopHistograms, after: HopHistograms) -> Vec<HopSummary> {
    let mut hops = Vec::new();
    for ((service, operation, kind), (mut histogram, mut errors)) in after {
        if let Some((was, errors_were)) = before.get(&(service.clone(), operation.clone(), kind)) {
            let mut rest = histogram.clone();
            // Fewer spans than before mean that the collector was restarted: all of them are new.
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

    fn snapshot(values: &[u64], errors: u64) -> HopHistograms {
        let histogram = histogram(values.iter().copied());
        HashMap::from([(("cache".into(), "GET /get/{key}".into(), Kind::Server), (histogram, errors))])
    }

    #[test]
    fn counts_spans_after_the_first_read_only() {
        let hops = difference(&snapshot(&[1000, 9_000_000], 1), snapshot(&[1000, 9_000_000, 2000, 3000], 2));
        assert_eq!((hops[0].count, hops[0].errors), (2, 1));
        assert!(hops[0].latency_us.max < 3.01, "{hops:?}");
    }

    #[test]
    fn omits_operations_without_new_spans() {
        assert!(difference(&snapshot(&[1000], 0), snapshot(&[1000], 0)).is_empty());
    }

    #[test]
    fn counts_every_span_after_a_restart() {
        let hops = difference(&snapshot(&[1000, 1000, 1000], 3), snapshot(&[5000], 0));
        assert_eq!((hops[0].count, hops[0].errors), (1, 0));
    }
}
