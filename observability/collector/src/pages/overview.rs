//! A trace in a line.

use std::collections::HashMap;

use crate::trace::{Span, Trace};

/// What a list of traces shows of one.
#[derive(Debug)]
pub(super) struct Overview<'a> {
    /// The trace's root; of a trace without one, its earliest span.
    pub(super) root: &'a Span,
    /// The earliest start and the latest end of any span.
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) spans: usize,
    pub(super) errors: usize,
    /// In the order in which they came into play, each with the number of its spans.
    pub(super) services: Vec<(&'a str, usize)>,
    places: HashMap<&'a str, usize>,
}

impl<'a> Overview<'a> {
    /// `None` for a trace without spans.
    pub(super) fn of(trace: &'a Trace) -> Option<Self> {
        let mut by_start: Vec<&Span> = trace.spans.iter().collect();
        by_start.sort_by_key(|span| span.start_ns);
        let first = *by_start.first()?;
        let mut services: Vec<(&str, usize)> = Vec::new();
        let mut places = HashMap::new();
        for span in &by_start {
            let place = *places.entry(span.service()).or_insert(services.len());
            if place == services.len() {
                services.push((span.service(), 0));
            }
            services[place].1 += 1;
        }
        Some(Self {
            root: trace.root().map_or(first, |root| &trace.spans[root]),
            start_ns: first.start_ns,
            // Where clocks stepped back, a span's start can be later than any end.
            end_ns: by_start.iter().map(|span| span.end_ns.max(span.start_ns)).max()?,
            spans: trace.spans.len(),
            errors: by_start.iter().filter(|span| span.is_error()).count(),
            services,
            places,
        })
    }

    pub(super) fn duration_ns(&self) -> u64 {
        self.end_ns - self.start_ns
    }

    /// The place of a service in the list, which gives it its colour.
    pub(super) fn place(&self, service: &str) -> usize {
        self.places.get(service).copied().unwrap_or_default()
    }
}
