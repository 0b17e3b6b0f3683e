//! Clocks of different hosts: warnings and, up to a limit, corrections.
//!
//! A child on another host, or on an unknown one, should lie within its parent. If it does not and is no longer than the
//! parent, its clock is taken to differ by what centers it in the parent; a longer child is only moved to the start of
//! the parent. The correction also applies to its descendants on the same host. Times are signed, as in Go.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::warnings;
use crate::go_syntax::format_duration;
use crate::otlp::text::as_text;
use crate::trace::{Resource, Span, SpanId, Trace, Value};

const DUPLICATE_ID: &str = "duplicate span IDs; skipping clock skew adjustment";

/// Resource attributes that identify a host, the most specific first.
const HOST_KEYS: [&str; 3] = ["host.id", "host.ip", "host.name"];

/// Correction of a clock.
#[derive(Debug, Clone, Copy)]
struct Skew {
    host: Host,
    delta_ns: i64,
}

/// Number of a host within the trace; `None` for an unknown one.
type Host = Option<usize>;

/// Adds the warnings, and corrects clocks by at most `max_skew_ns`.
pub(super) fn adjust(trace: &mut Trace, max_skew_ns: u64) {
    let hosts = hosts(trace);
    let (roots, children) = tree(trace);
    let mut pending: Vec<(usize, Option<usize>, Skew)> =
        roots.into_iter().map(|root| (root, None, Skew { host: hosts[root], delta_ns: 0 })).collect();
    // Iterative, because traces can be deep.
    while let Some((index, parent, inherited)) = pending.pop() {
        let skew = match parent {
            Some(parent) if hosts[index].is_none() || hosts[index] != inherited.host => {
                // The parent's times are already corrected.
                let delta_ns = delta_ns(&trace.spans[index], &trace.spans[parent]);
                Skew { host: hosts[index], delta_ns }
            }
            _ => inherited,
        };
        correct(&mut trace.spans[index], skew.delta_ns, max_skew_ns);
        pending.extend(children[index].iter().map(|&child| (child, Some(index), skew)));
    }
}

/// Returns the roots and the children of each span. Warns about missing parents, and about duplicate ids: of spans with
/// one id, only the first is part of the tree.
fn tree(trace: &mut Trace) -> (Vec<usize>, Vec<Vec<usize>>) {
    let positions: HashMap<SpanId, usize> = trace.positions();
    let (mut roots, mut children) = (Vec::new(), vec![Vec::new(); trace.spans.len()]);
    for (index, span) in trace.spans.iter_mut().enumerate() {
        if positions.get(&span.span_id) != Some(&index) {
            warnings::add(span, DUPLICATE_ID.to_owned());
            continue;
        }
        match span.parent.map(|parent| (parent, positions.get(&parent))) {
            None => roots.push(index),
            Some((_, Some(&parent))) => children[parent].push(index),
            Some((parent, None)) => {
                let missing =
                    format!("parent span ID={parent} is not in the trace; skipping clock skew adjustment");
                warnings::add(span, missing);
                roots.push(index);
            }
        }
    }
    (roots, children)
}

/// Returns the host of each span.
fn hosts(trace: &Trace) -> Vec<Host> {
    let mut by_resource: HashMap<*const Resource, Host> = HashMap::new();
    let mut by_name: HashMap<String, usize> = HashMap::new();
    let host = |span: &Span| {
        *by_resource.entry(Arc::as_ptr(&span.resource)).or_insert_with(|| {
            let name = host_name(&span.resource)?;
            let next = by_name.len();
            Some(*by_name.entry(name.into_owned()).or_insert(next))
        })
    };
    trace.spans.iter().map(host).collect()
}

/// Returns the identifier of a resource's host; `None` if it is missing or empty.
fn host_name(resource: &Resource) -> Option<Cow<'_, str>> {
    let find = |key: &str| resource.attributes.iter().find(|attribute| attribute.key == key);
    let found = HOST_KEYS.into_iter().find_map(find)?;
    let name = match &found.value {
        Value::String(name) => Cow::Borrowed(name.as_str()),
        // A host may have several addresses.
        Value::Array(list) if found.key == "host.ip" => as_text(list.first()?),
        _ => return None,
    };
    Some(name).filter(|name| !name.is_empty())
}

/// Returns the correction of the child's clock in nanoseconds; 0 if the child lies within the parent.
fn delta_ns(child: &Span, parent: &Span) -> i64 {
    let times = |span: &Span| (i128::from(span.start_ns as i64), i128::from(span.end_ns as i64));
    let ((start, end), (parent_start, parent_end)) = (times(child), times(parent));
    let (duration, parent_duration) = (end - start, parent_end - parent_start);
    let delta = if duration > parent_duration {
        // The child is asynchronous, or the parent timed out.
        (parent_start - start).max(0)
    } else if start >= parent_start && end <= parent_end {
        0
    } else {
        // Request and reply are taken to need the same time.
        parent_start + (parent_duration - duration) / 2 - start
    };
    delta.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

fn correct(span: &mut Span, delta_ns: i64, max_skew_ns: u64) {
    if delta_ns == 0 {
        return;
    }
    let delta = format_duration(delta_ns);
    if delta_ns.unsigned_abs() > max_skew_ns {
        let warning = if max_skew_ns == 0 {
            format!("clock skew adjustment disabled; not applying calculated delta of {delta}")
        } else {
            let max = format_duration(i64::try_from(max_skew_ns).unwrap_or(i64::MAX));
            format!(
                "max clock skew adjustment delta of {max} exceeded; not applying calculated delta of {delta}"
            )
        };
        return warnings::add(span, warning);
    }
    let corrected = |ns: u64| ns.wrapping_add_signed(delta_ns);
    (span.start_ns, span.end_ns) = (corrected(span.start_ns), corrected(span.end_ns));
    span.events.iter_mut().for_each(|event| event.time_ns = corrected(event.time_ns));
    warnings::add(span, format!("This span's timestamps were adjusted by {delta}"));
}
