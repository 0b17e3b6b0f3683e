//! Which span the time of a trace belongs to, moment by moment.
//!
//! Walking back from the root's end, each moment goes to the child that was running then and, among several,
//! to the one that had been running longest; where no child ran, the moment is the span's own. So the segments
//! neither overlap nor leave a gap: they sum to the root's duration exactly, whatever the clocks did.
//! A child counts only inside its parent: what it did before or after, nobody waited for there.

use crate::trace::{Kind, Span, Trace};

/// A stretch of time and the span that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Index into the trace's spans.
    pub span: usize,
    /// Start of the stretch.
    pub start_ns: u64,
    /// End of the stretch, later than its start.
    pub end_ns: u64,
}

/// The segments from the root's start to its end, in time order. Empty when there is no root or it took no time.
pub fn critical_path(trace: &Trace) -> Vec<Segment> {
    let Some(root) = trace.root() else { return Vec::new() };
    let children = awaited_children(trace);
    let mut segments = Vec::new();
    let whole =
        Segment { span: root, start_ns: trace.spans[root].start_ns, end_ns: trace.spans[root].end_ns };
    // A stack of our own: traces can be as deep as their sender likes.
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

/// For each span, the part of its duration in which none of the children it waited for ran.
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

/// Cuts a window of a span into its own pieces and its children's. `children` come latest end first.
fn split(trace: &Trace, children: &[usize], window: Segment) -> Vec<Segment> {
    let mut pieces = Vec::new();
    let mut cursor = window.end_ns;
    let mut rest = children.iter().copied().peekable();
    while cursor > window.start_ns {
        // Of those still running at the cursor, the one that started first: it makes the others irrelevant.
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

/// The children of each span that it may have waited for, latest end first.
fn awaited_children(trace: &Trace) -> Vec<Vec<usize>> {
    let positions = trace.positions();
    let mut children = vec![Vec::new(); trace.spans.len()];
    for (index, span) in trace.spans.iter().enumerate() {
        let parent = span.parent.and_then(|parent| positions.get(&parent).copied());
        // The second of two spans with one id has no children, and is nobody's child.
        if let Some(parent) = parent
            && positions.get(&span.span_id) == Some(&index)
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

/// A message's sender does not wait for what others do with the message.
fn is_awaited(span: &Span, parent: &Span) -> bool {
    let took_time = span.end_ns > span.start_ns;
    let handed_over = parent.kind == Kind::Producer && span.service() != parent.service();
    took_time && span.kind != Kind::Consumer && !handed_over
}

#[cfg(test)]
mod tests;
