//! The critical path of a trace: which span each moment of the root's duration belongs to.
//!
//! Going back from the end of a span, each moment belongs to the child that was running then; among several, to the one
//! that started first. A moment without a running child belongs to the span itself. The segments neither overlap nor leave
//! a gap, so they sum to the root's duration exactly, even if the clocks of the services differ. A child counts only within
//! the time of its parent.

use crate::trace::{Hierarchy, Kind, Parent, Span, Trace};

/// A time range and the span that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Index into the trace's spans.
    pub span: usize,
    /// Start of the range, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// End of the range, later than its start.
    pub end_ns: u64,
}

/// Returns the segments from the root's start to its end, in time order; none if there is no root or its duration is 0.
pub fn critical_path(trace: &Trace) -> Vec<Segment> {
    let Some(root) = trace.root() else { return Vec::new() };
    let children = awaited_children(trace);
    let mut segments = Vec::new();
    let whole =
        Segment { span: root, start_ns: trace.spans[root].start_ns, end_ns: trace.spans[root].end_ns };
    // Iterative, because a sender can make traces of any depth.
    let mut pending = vec![whole];
    while let Some(window) = pending.pop() {
        for piece in split(trace, &children[window.span], window) {
            if piece.span == window.span {
                segments.push(piece);
            } else {
                pending.push(piece);
            }
        }
    }
    segments.sort_unstable_by_key(|segment| segment.start_ns);
    segments
}

/// Returns the self time of each span in nanoseconds: the part of its duration in which no awaited child was running.
pub fn self_time(trace: &Trace) -> Vec<u64> {
    let children = awaited_children(trace);
    let whole =
        |index: usize, span: &Span| Segment { span: index, start_ns: span.start_ns, end_ns: span.end_ns };
    let own = |(index, span): (usize, &Span)| {
        let pieces = split(trace, &children[index], whole(index, span));
        pieces.iter().filter(|piece| piece.span == index).map(|piece| piece.end_ns - piece.start_ns).sum()
    };
    trace.spans.iter().enumerate().map(own).collect()
}

/// Divides a time range of a span among the span and its children, which are ordered by end, latest first.
fn split(trace: &Trace, children: &[usize], window: Segment) -> Vec<Segment> {
    let mut pieces = Vec::new();
    let mut cursor = window.end_ns;
    let mut rest = children.iter().copied().peekable();
    while cursor > window.start_ns {
        // Among the children running at the cursor, the one that started first covers the others.
        let mut longest: Option<usize> = None;
        while let Some(child) = rest.next_if(|&child| trace.spans[child].end_ns >= cursor) {
            if longest.is_none_or(|other| trace.spans[child].start_ns < trace.spans[other].start_ns) {
                longest = Some(child);
            }
        }
        let running = longest.filter(|&child| trace.spans[child].start_ns < cursor);
        let (span, start_ns) = match (running, rest.peek()) {
            (Some(child), _) => (child, trace.spans[child].start_ns),
            (None, Some(&next)) => (window.span, trace.spans[next].end_ns),
            (None, None) => (window.span, window.start_ns),
        };
        let start_ns = start_ns.max(window.start_ns);
        pieces.push(Segment { span, start_ns, end_ns: cursor });
        cursor = start_ns;
    }
    pieces
}

/// Returns the awaited children of each span, ordered by end, latest first.
fn awaited_children(trace: &Trace) -> Vec<Vec<usize>> {
    let hierarchy = Hierarchy::of(trace);
    let mut children = vec![Vec::new(); trace.spans.len()];
    for (index, span) in trace.spans.iter().enumerate() {
        if let Parent::At(parent) = hierarchy.parent(index)
            && !hierarchy.is_duplicate(index)
            && is_awaited(span, &trace.spans[parent])
        {
            children[parent].push(index);
        }
    }
    for list in &mut children {
        list.sort_by_key(|&child| std::cmp::Reverse(trace.spans[child].end_ns));
    }
    children
}

/// Returns whether a parent waits for a child: the producer of a message does not wait for its processing.
fn is_awaited(span: &Span, parent: &Span) -> bool {
    let took_time = span.end_ns > span.start_ns;
    let handed_over = parent.kind == Kind::Producer && span.service() != parent.service();
    took_time && span.kind != Kind::Consumer && !handed_over
}

#[cfg(test)]
mod tests;
