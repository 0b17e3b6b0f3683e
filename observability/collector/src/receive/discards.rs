//! Metrics, logs and profiles: accepted, because SDKs send them by default and would report an error for every message, and
//! not kept. The first reply to each sender reports it.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use foldhash::fast::RandomState;
use prometheus_client::metrics::counter::Counter;

use super::items::Items;
use super::reply::PartialSuccess;
use super::signal::Signal;

/// Maximum number of senders in the set. When it is reached, the set is cleared, and each sender gets the report again.
const MAX_SENDERS: usize = 10_000;

/// Counts of the messages and items that were accepted and not kept, and the senders that got the report.
#[derive(Debug, Default)]
pub(crate) struct Discards {
    signals: [Discarded; Signal::ALL.len()],
    /// Hashes of address, signal and resource.
    reported: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Discarded {
    requests: Counter,
    items: Counter,
    logged: AtomicBool,
}

impl Discards {
    /// Counts a message that is not kept. Returns the report for the first message of a sender; `None` for further ones.
    pub(super) fn record(
        &self,
        signal: Signal,
        items: &Items,
        peer: Option<IpAddr>,
    ) -> Option<PartialSuccess> {
        let discarded = &self.signals[signal as usize];
        discarded.requests.inc();
        discarded.items.inc_by(items.count);
        if items.count == 0 || !self.is_new(signal, items, peer) {
            return None;
        }
        let mut message = format!("{signal} are not kept: this collector stores traces only");
        // OpenTelemetry defines no such variable for profiles.
        if signal != Signal::Profiles {
            let signal = signal.as_str().to_ascii_uppercase();
            message += &format!(" (OTEL_{signal}_EXPORTER=none stops sending them)");
        }
        if !discarded.logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(%signal, peer = peer.map(tracing::field::display), "{message}");
        }
        Some(PartialSuccess { rejected: i64::try_from(items.count).unwrap_or(i64::MAX), message })
    }

    fn is_new(&self, signal: Signal, items: &Items, peer: Option<IpAddr>) -> bool {
        let sender = self.hasher.hash_one((signal, peer, &items.resource));
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() == MAX_SENDERS {
            reported.clear();
        }
        reported.insert(sender)
    }

    /// Returns the number of requests and of items since the start, by signal.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, [u64; 2])> {
        let signals = Signal::ALL.into_iter().zip(&self.signals);
        let signals = signals.filter(|(signal, _)| *signal != Signal::Traces);
        signals
            .map(|(signal, discarded)| (signal.as_str(), [discarded.requests.get(), discarded.items.get()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sender_gets_one_report_until_the_set_is_full() {
        let discards = Discards::default();
        let tell = |number: usize| {
            let items = Items { count: 2, resource: number.to_le_bytes().to_vec() };
            discards.record(Signal::Logs, &items, None).map(|report| report.rejected)
        };
        assert_eq!([tell(0), tell(0), tell(1)], [Some(2), None, Some(2)]);
        let empty = Items { count: 0, resource: b"other".to_vec() };
        assert_eq!(discards.record(Signal::Logs, &empty, None), None, "nothing was discarded");
        assert!((2..MAX_SENDERS).all(|number| tell(number).is_some()));
        assert_eq!(tell(MAX_SENDERS), Some(2));
        assert!(discards.reported.lock().unwrap().len() <= MAX_SENDERS);
    }

    #[test]
    fn names_the_setting_that_stops_a_signal_if_there_is_one() {
        let message = |signal| {
            let items = Items { count: 1, resource: Vec::new() };
            Discards::default().record(signal, &items, None).unwrap().message
        };
        assert!(message(Signal::Metrics).ends_with("(OTEL_METRICS_EXPORTER=none stops sending them)"));
        assert!(message(Signal::Profiles).ends_with("stores traces only"), "{}", message(Signal::Profiles));
    }
}
