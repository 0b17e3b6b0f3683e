//! A summary of a trace: its root, time range, services and errors.

use std::collections::HashMap;

use crate::trace::{Span, Trace};

/// A summary of a trace.
#[derive(Debug)]
pub(super) struct Overview<'a> {
    /// The root span; in a trace without one, the earliest span.
    pub(super) root: &'a Span,
    /// Earliest start of any span that has one.
    pub(super) start_ns: u64,
    /// Latest end of any span that has a start.
    pub(super) end_ns: u64,
    pub(super) spans: usize,
    pub(super) errors: usize,
    /// Services in the order of their first span, each with its number of spans.
    pub(super) services: Vec<(&'a str, usize)>,
    indexes: HashMap<&'a str, usize>,
}

impl<'a> Overview<'a> {
    /// Summarizes a trace; `None` without spans.
    pub(super) fn of(trace: &'a Trace) -> Option<Self> {
        let mut by_start: Vec<&Span> = trace.spans.iter().collect();
        // Spans without a start come last.
        by_start.sort_by_key(|span| span.start_ns.wrapping_sub(1));
        let (start_ns, end_ns) = trace.extent_ns();
        let first = *by_start.first()?;
        let mut services: Vec<(&str, usize)> = Vec::new();
        let mut indexes = HashMap::new();
        for span in &by_start {
            let index = *indexes.entry(span.service()).or_insert(services.len());
            if index == services.len() {
                services.push((span.service(), 0));
            }
            services[index].1 += 1;
        }
        Some(Self {
            root: trace.root().map_or(first, |root| &trace.spans[root]),
            start_ns,
            end_ns,
            spans: trace.spans.len(),
            errors: by_start.iter().filter(|span| span.is_error()).count(),
            services,
            indexes,
        })
    }

    pub(super) fn duration_ns(&self) -> u64 {
        self.end_ns - self.start_ns
    }

    /// Returns the index of a service in `services`, which selects its colour. `None` for the name of another hop.
    pub(super) fn service_index(&self, service: &str) -> Option<usize> {
        self.indexes.get(service).copied()
    }
}
