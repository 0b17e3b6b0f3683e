//! The rows of a waterfall: each span below its parent, siblings by their start.
//!
//! Every span has exactly one row. A span whose parent is missing has depth 0, and so has the earliest span of a cycle of parents.
//!
//! Between an asynchronous step and the span that caused it, no span may be running; such a gap is labelled with its cause.

use std::collections::HashMap;

use telemetry::contract;

use crate::trace::{Hierarchy, Kind, Parent, Span, Trace, Value};

/// A span and its position in the waterfall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Index into the trace's spans.
    pub span: usize,
    /// Number of ancestors in the waterfall.
    pub depth: usize,
    /// Reason for the position.
    pub placement: Placement,
}

/// Reason for the position of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The span has no parent.
    Root,
    /// The span is below its parent.
    Child,
    /// The parent is not in the trace.
    Orphan,
    /// The span is its own ancestor.
    Cycle,
}

/// Returns a row for each span, the root's first.
pub fn rows(trace: &Trace) -> Vec<Row> {
    let hierarchy = Hierarchy::of(trace);
    let mut by_start: Vec<usize> = (0..trace.spans.len()).collect();
    by_start.sort_by_key(|&index| trace.spans[index].start_ns);
    let (mut children, mut tops) = (vec![Vec::new(); trace.spans.len()], Vec::new());
    for &index in &by_start {
        match hierarchy.parent(index) {
            Parent::None => tops.push((index, Placement::Root)),
            Parent::Missing => tops.push((index, Placement::Orphan)),
            Parent::At(parent) => children[parent].push(index),
        }
    }
    let root = trace.root();
    tops.sort_by_key(|&(index, _)| Some(index) != root);
    let mut order = Order { children, seen: vec![false; trace.spans.len()], rows: Vec::new() };
    for (top, placement) in tops {
        order.add(top, placement);
    }
    // The remaining spans descend from a cycle.
    for index in by_start {
        order.add(index, Placement::Cycle);
    }
    order.rows
}

/// The time between the end of a span, or of an earlier delivery of its message, and the start of a child that it did not
/// wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Start of the gap, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// Start of the child.
    pub end_ns: u64,
    /// Cause of the gap.
    pub cause: GapCause,
}

/// Cause of a gap between two spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapCause {
    /// A message waited for its first delivery.
    Queue,
    /// A message was on its way from the queue to the consumer.
    Delivery,
    /// A consumer took the message and did not settle it.
    LeaseExpired,
    /// A consumer failed and returned the message.
    Returned,
    /// The child started after its parent had ended.
    NotAwaited,
}

impl Gap {
    /// Returns the length of the gap in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.end_ns - self.start_ns
    }
}

impl GapCause {
    /// Returns the label of the gap.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "waiting in queue",
            Self::Delivery => "delivery to the consumer",
            Self::LeaseExpired => "lease expired, waiting for redelivery",
            Self::Returned => "returned to the queue, waiting for redelivery",
            Self::NotAwaited => "started after its parent had ended",
        }
    }
}

/// Returns the gaps before asynchronous spans, by the position of the span that ends the gap.
pub fn gaps(trace: &Trace) -> HashMap<usize, Gap> {
    let hierarchy = Hierarchy::of(trace);
    let mut by_start: Vec<usize> =
        (0..trace.spans.len()).filter(|&span| trace.spans[span].start_ns > 0).collect();
    by_start.sort_by_key(|&index| trace.spans[index].start_ns);
    let mut parents: HashMap<usize, Deliveries<'_>> = HashMap::new();
    let mut gaps = HashMap::new();
    for index in by_start {
        let span = &trace.spans[index];
        let Parent::At(parent) = hierarchy.parent(index) else { continue };
        let parent_span = &trace.spans[parent];
        if parent_span.start_ns > 0 {
            let deliveries = parents.entry(parent).or_insert_with(|| Deliveries::after(parent_span));
            gaps.extend(deliveries.add(span).map(|gap| (index, gap)));
        }
    }
    gaps
}

/// The children of one span that have started so far.
struct Deliveries<'t> {
    is_message: bool,
    /// Latest end of the parent and of the children that are not consumers.
    end_ns: u64,
    /// Latest end of the spans that waited for a delivery.
    waited_until_ns: Option<u64>,
    /// The latest delivery, and the latest of each consumer.
    latest: Option<Delivery>,
    by_consumer: HashMap<(&'t str, &'t str), Delivery>,
}

/// A consumer's processing of a message.
#[derive(Clone, Copy)]
struct Delivery {
    end_ns: u64,
    failed: bool,
}

impl Delivery {
    fn cause(self) -> GapCause {
        if self.failed { GapCause::Returned } else { GapCause::LeaseExpired }
    }
}

impl<'t> Deliveries<'t> {
    fn after(parent: &Span) -> Self {
        Self {
            is_message: parent.kind == Kind::Producer,
            end_ns: parent.end_ns.max(parent.start_ns),
            waited_until_ns: None,
            latest: None,
            by_consumer: HashMap::new(),
        }
    }

    /// Adds the next child by start. Returns the gap before it.
    fn add(&mut self, span: &'t Span) -> Option<Gap> {
        let end_ns = span.end_ns.max(span.start_ns);
        let (start_ns, cause) = if span.kind == Kind::Consumer {
            let delivery = Delivery { end_ns, failed: span.is_error() };
            let before = self.by_consumer.insert((span.service(), &span.name), delivery);
            self.latest = Some(delivery);
            let cause = match (before, self.waited_until_ns) {
                (Some(before), waited) if waited.is_none_or(|until| until < before.end_ns) => before.cause(),
                (_, Some(_)) => GapCause::Delivery,
                _ => GapCause::Queue,
            };
            (before.map_or(0, |before| before.end_ns), cause)
        } else if self.is_message && span.attribute(contract::WAIT) == Some(&Value::Bool(true)) {
            let latest = self.latest.take();
            let cause = match (latest, self.waited_until_ns) {
                (Some(latest), _) => latest.cause(),
                (None, Some(_)) => GapCause::LeaseExpired,
                (None, None) => GapCause::Queue,
            };
            self.waited_until_ns = self.waited_until_ns.max(Some(end_ns));
            (latest.map_or(0, |latest| latest.end_ns), cause)
        } else {
            (0, GapCause::NotAwaited)
        };
        let start_ns = start_ns.max(self.end_ns);
        if span.kind != Kind::Consumer {
            self.end_ns = self.end_ns.max(end_ns);
        }
        (start_ns < span.start_ns).then_some(Gap { start_ns, end_ns: span.start_ns, cause })
    }
}

struct Order {
    children: Vec<Vec<usize>>,
    seen: Vec<bool>,
    rows: Vec<Row>,
}

impl Order {
    /// Adds a span and its descendants, unless they are present already. Iterative, because traces can be deep.
    fn add(&mut self, top: usize, placement: Placement) {
        let mut pending = vec![Row { span: top, depth: 0, placement }];
        while let Some(row) = pending.pop() {
            if std::mem::replace(&mut self.seen[row.span], true) {
                continue;
            }
            self.rows.push(row);
            let below = |&span: &usize| Row { span, depth: row.depth + 1, placement: Placement::Child };
            pending.extend(self.children[row.span].iter().rev().map(below));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::span;
    use crate::trace::StatusCode;

    /// Returns id, depth and placement of each row.
    fn order(spans: &[(u64, u64, u64, u64)]) -> Vec<(u64, usize, Placement)> {
        let trace = Trace { spans: spans.iter().copied().map(span).collect() };
        rows(&trace).iter().map(|row| (trace.spans[row.span].span_id.0, row.depth, row.placement)).collect()
    }

    #[test]
    fn orders_children_below_their_parent_by_their_start() {
        use Placement::{Child, Root};
        let spans = [(4, 2, 6, 7), (3, 1, 8, 9), (2, 1, 5, 8), (1, 0, 4, 10)];
        assert_eq!(order(&spans), [(1, 0, Root), (2, 1, Child), (4, 2, Child), (3, 1, Child)]);
    }

    #[test]
    fn orphans_follow_the_root() {
        let spans = [(7, 99, 0, 1), (8, 7, 0, 1), (1, 0, 5, 9)];
        assert_eq!(
            order(&spans),
            [(1, 0, Placement::Root), (7, 0, Placement::Orphan), (8, 1, Placement::Child)]
        );
    }

    #[test]
    fn a_cycle_begins_with_its_earliest_span() {
        let spans = [(1, 2, 5, 9), (2, 1, 4, 9), (3, 1, 6, 7), (4, 4, 8, 9)];
        let expected = [
            (2, 0, Placement::Cycle),
            (1, 1, Placement::Child),
            (3, 2, Placement::Child),
            (4, 0, Placement::Cycle),
        ];
        assert_eq!(order(&spans), expected);
    }

    #[test]
    fn spans_with_the_same_id_have_a_row_each() {
        let spans = [(1, 0, 0, 9), (2, 1, 1, 2), (2, 1, 3, 4), (3, 2, 3, 4)];
        let expected = [
            (1, 0, Placement::Root),
            (2, 1, Placement::Child),
            (3, 2, Placement::Child),
            (2, 1, Placement::Child),
        ];
        assert_eq!(order(&spans), expected);
    }

    /// Returns the cause, start and end of the gap before each span, by id.
    fn gaps_of(spans: Vec<Span>) -> Vec<(u64, GapCause, u64, u64)> {
        let trace = Trace { spans };
        let mut gaps: Vec<_> = gaps(&trace)
            .into_iter()
            .map(|(index, gap)| (trace.spans[index].span_id.0, gap.cause, gap.start_ns, gap.end_ns))
            .collect();
        gaps.sort_by_key(|gap| gap.0);
        gaps
    }

    fn of_kind(kind: Kind, times: (u64, u64, u64, u64)) -> Span {
        Span { kind, ..span(times) }
    }

    fn waiting(times: (u64, u64, u64, u64)) -> Span {
        Span { attributes: vec![crate::fixture::attribute(contract::WAIT, Value::Bool(true))], ..span(times) }
    }

    #[test]
    fn a_message_waits_in_the_queue_until_its_first_delivery() {
        let spans = vec![
            of_kind(Kind::Producer, (1, 0, 10, 20)),
            of_kind(Kind::Consumer, (2, 1, 30_000, 30_012)),
            // Another consumer of the same message, whose wait began at the same time.
            Span { name: "audit".to_owned(), ..of_kind(Kind::Consumer, (3, 1, 40_000, 40_010)) },
            of_kind(Kind::Client, (4, 1, 11, 19)),
        ];
        let expected = [(2, GapCause::Queue, 20, 30_000), (3, GapCause::Queue, 20, 40_000)];
        assert_eq!(gaps_of(spans), expected);
    }

    #[test]
    fn a_redelivery_follows_an_expired_lease_or_a_failure() {
        let consumer = |id, start, end, failed| {
            let mut consumer = of_kind(Kind::Consumer, (id, 1, start, end));
            consumer.name = "process".to_owned();
            consumer.status.code = if failed { StatusCode::Error } else { StatusCode::Unset };
            consumer
        };
        let producer = || of_kind(Kind::Producer, (1, 0, 10, 20));
        let failed = vec![
            producer(),
            consumer(2, 25, 30, true),
            consumer(3, 90, 99, false),
            consumer(4, 200, 210, false),
        ];
        let expected = [
            (2, GapCause::Queue, 20, 25),
            (3, GapCause::Returned, 30, 90),
            (4, GapCause::LeaseExpired, 99, 200),
        ];
        assert_eq!(gaps_of(failed), expected);
        // The consumer that held the first lease was killed, and with it its span.
        let killed = vec![
            producer(),
            waiting((2, 1, 15, 25)),
            waiting((3, 1, 30_025, 30_026)),
            consumer(4, 30_030, 30_040, false),
        ];
        let expected = [(3, GapCause::LeaseExpired, 25, 30_025), (4, GapCause::Delivery, 30_026, 30_030)];
        assert_eq!(gaps_of(killed), expected);
    }

    #[test]
    fn a_child_that_starts_after_its_parent_was_not_awaited() {
        let spans =
            vec![span((1, 0, 10, 20)), span((2, 1, 15, 40)), span((3, 1, 50, 60)), span((4, 1, 55, 56))];
        assert_eq!(gaps_of(spans), [(3, GapCause::NotAwaited, 40, 50)]);
        assert_eq!(
            gaps_of(vec![span((1, 0, 0, 5)), span((2, 1, 10, 20)), span((3, 2, 0, 1))]),
            [],
            "no start"
        );
    }

    #[test]
    fn orders_a_trace_of_100_000_levels() {
        let spans: Vec<_> = (1..=100_000).map(|id| (id, id - 1, id, 200_000)).collect();
        assert_eq!(order(&spans).last(), Some(&(100_000, 99_999, Placement::Child)));
    }
}
