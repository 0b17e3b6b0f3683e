//! Links without a trace id, which refer to no span.

use super::warnings;
use crate::trace::Trace;

pub(super) fn adjust(trace: &mut Trace) {
    for span in &mut trace.spans {
        let links = span.links.len();
        span.links.retain(|link| link.trace_id.is_some());
        for _ in span.links.len()..links {
            warnings::add(span, "Invalid span link removed");
        }
    }
}
