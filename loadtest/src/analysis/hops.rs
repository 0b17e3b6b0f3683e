//! The hops table: the spans of the run's own requests, and the number of requests by others.

use std::collections::BTreeMap;

use collector::latency::Summary;
use collector::trace::Kind;
use hdrhistogram::Histogram;
use system::role::Role;

use crate::bundle::schema::HopSummary;
use crate::collector_client::HopHistograms;

/// Returns the spans of users' and of intruders' requests together, unsorted and without self times.
///
/// The failed calls (CLIENT spans) of intruders are intended refusals. A failed SERVER span is an error for any caller.
pub(crate) fn of_run(users: HopHistograms, intruders: HopHistograms) -> Vec<HopSummary> {
    let mut rows: BTreeMap<_, (Histogram<u64>, u64, u64)> = BTreeMap::new();
    for (key, (histogram, errors)) in users {
        rows.insert(key, (histogram, errors, 0));
    }
    for (key, (histogram, failed)) in intruders {
        let (refused, errors) = if key.2 == Kind::Client { (failed, 0) } else { (0, failed) };
        match rows.get_mut(&key) {
            Some((sum, other_errors, other_refused)) => {
                *sum += &histogram;
                *other_errors += errors;
                *other_refused += refused;
            }
            None => {
                rows.insert(key, (histogram, errors, refused));
            }
        }
    }
    let row = |((service, operation, kind), (histogram, errors, refused)): (_, (Histogram<u64>, _, _))| {
        let latency_us = Summary::of(&histogram);
        HopSummary {
            service,
            operation,
            kind,
            count: histogram.len(),
            errors,
            refused,
            latency_us,
            self_us: None,
        }
    };
    rows.into_iter().map(row).collect()
}

/// Numbers of requests that entered the system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entered {
    /// Those of this run.
    pub(crate) own: u64,
    /// All of them.
    pub(crate) all: u64,
}

impl Entered {
    /// Returns the requests of others since an earlier count; `None` if the collector was restarted in between.
    pub(crate) fn others_since(self, before: Entered) -> Option<u64> {
        let all = self.all.checked_sub(before.all)?;
        Some(all.saturating_sub(self.own.checked_sub(before.own)?))
    }
}

/// Returns the number of requests that entered the system through its balancer.
pub(crate) fn entered(hops: &HopHistograms) -> u64 {
    let at_balancer = |(service, _, kind): &(String, String, Kind)| {
        service == Role::Balancer.service_name() && *kind == Kind::Server
    };
    hops.iter().filter(|(key, _)| at_balancer(key)).map(|(_, (histogram, _))| histogram.len()).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// With a histogram that covers only its values, and grows, as a decoded one.
    fn hops(service: &str, kind: Kind, values: &[u64], errors: u64) -> HopHistograms {
        let max = values.iter().copied().max().unwrap_or(2);
        let mut histogram = Histogram::new_with_bounds(1, max.max(2), 3).unwrap();
        histogram.auto(true);
        values.iter().for_each(|value| histogram.record(*value).unwrap());
        HashMap::from([((service.to_owned(), "GET /search".to_owned(), kind), (histogram, errors))])
    }

    #[test]
    fn adds_the_spans_of_users_and_intruders() {
        let users = hops("loadtest", Kind::Client, &[1000, 2000], 1);
        let intruders = hops("loadtest", Kind::Client, &[9_000_000], 1);
        let rows = of_run(users, intruders);
        assert_eq!((rows.len(), rows[0].count), (1, 3));
        assert_eq!((rows[0].errors, rows[0].refused), (1, 1), "an intended refusal is no error");
        assert!(rows[0].latency_us.max > 8000.0, "{rows:?}");
    }

    #[test]
    fn a_server_that_fails_for_an_intruder_has_an_error() {
        let rows = of_run(HashMap::new(), hops("api_gateway", Kind::Server, &[1000], 1));
        assert_eq!((rows[0].errors, rows[0].refused), (1, 0));
    }

    #[test]
    fn requests_of_others_are_those_that_are_not_of_the_run() {
        let mut all = hops(Role::Balancer.service_name(), Kind::Server, &[1; 30], 0);
        all.extend(hops(Role::Gateway.service_name(), Kind::Server, &[1; 30], 0));
        assert_eq!(entered(&all), 30);
        let before = Entered { own: 5, all: 9 };
        assert_eq!(Entered { own: 15, all: 30 }.others_since(before), Some(11));
        assert_eq!(Entered { own: 26, all: 29 }.others_since(before), Some(0), "read one after the other");
        assert_eq!(Entered { own: 1, all: 2 }.others_since(before), None, "the collector was restarted");
    }
}
