//! Metrics of the relay.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::publish::{Outcome, Publication};
use crate::api::BOOKING_NOTIFICATION;
use crate::booking::outbox::CACHE_DELETE;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// The figures of one relay; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct RelayMetrics {
    events: Family<Kind, Gauge>,
    oldest: Family<Kind, Gauge<f64, AtomicU64>>,
    publications: Family<Kind, Counter>,
    republications: Family<Kind, Counter>,
    pause: Family<Kind, Gauge<f64, AtomicU64>>,
    parked: Counter,
    listening: Gauge,
}

impl RelayMetrics {
    /// Returns new figures, which are part of the process's metrics.
    pub(super) fn register() -> Self {
        let metrics = Self::default();
        metrics.depth(&[]);
        for kind in [BOOKING_NOTIFICATION, CACHE_DELETE] {
            metrics.published(kind, &[]);
            metrics.pause(kind, Duration::ZERO);
        }
        telemetry::metrics::register(|registry| metrics.add_to(registry));
        metrics
    }

    fn add_to(&self, registry: &mut Registry) {
        let events = "Number of events in the outbox: neither their effect nor their parking is recorded";
        registry.register("outbox_events", events, self.events.clone());
        let oldest = "Age of the oldest event in the outbox";
        registry.register_with_unit("outbox_oldest_event_age", oldest, Unit::Seconds, self.oldest.clone());
        let publications = "Events that this process published, repeated publications included";
        registry.register("outbox_publications", publications, self.publications.clone());
        let republications =
            "Events that this process published again, because no effect was recorded in time";
        registry.register("outbox_republications", republications, self.republications.clone());
        let pause = "Pause between two attempts while the destination is down; 0 while it answers";
        registry.register_with_unit("outbox_pause", pause, Unit::Seconds, self.pause.clone());
        let parked = "Events that this process parked, because their task is a dead letter";
        registry.register("outbox_parked", parked, self.parked.clone());
        let listening = "1 if the relay listens for announced commits, 0 if it only polls";
        registry.register("outbox_listening", listening, self.listening.clone());
    }

    /// Sets the number of events of each kind and the age of the oldest in seconds. A kind that is absent has none.
    pub(super) fn depth(&self, depth: &[(String, i64, f64)]) {
        for kind in [BOOKING_NOTIFICATION, CACHE_DELETE] {
            let found = depth.iter().find(|(name, ..)| name == kind);
            let (count, age) = found.map_or((0, 0.0), |(_, count, age)| (*count, age.max(0.0)));
            self.events.get_or_create(&Kind { kind }).set(count);
            self.oldest.get_or_create(&Kind { kind }).set(age);
        }
    }

    /// Counts the publications that were accepted.
    pub(super) fn published(&self, kind: &'static str, publications: &[Publication]) {
        let accepted = || publications.iter().filter(|publication| publication.outcome == Outcome::Published);
        let repeated = accepted().filter(|publication| publication.is_repeated).count();
        self.publications.get_or_create(&Kind { kind }).inc_by(accepted().count() as u64);
        self.republications.get_or_create(&Kind { kind }).inc_by(repeated as u64);
    }

    /// Sets the pause of a destination.
    pub(super) fn pause(&self, kind: &'static str, pause: Duration) {
        self.pause.get_or_create(&Kind { kind }).set(pause.as_secs_f64());
    }

    /// Counts parked events.
    pub(super) fn parked(&self, events: usize) {
        self.parked.inc_by(events as u64);
    }

    /// Sets whether the relay listens.
    pub(super) fn listening(&self, listening: bool) {
        self.listening.set(i64::from(listening));
    }
}
