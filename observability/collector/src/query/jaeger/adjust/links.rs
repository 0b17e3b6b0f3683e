//! Links without a trace id, which refer to no span.

use super::warnings;
use crate::trace::Trace;

pub(super) fn adjust(trace: &mut Trace) {
    for span in &mut trace.spans {
        let links = span.links.len();
        span.links.retain(|link| link.trace_id.is_some());
        let removed = links - span.links.len();
        warnings::add_all(span, std::iter::repeat_n("Invalid span link removed".to_owned(), removed));
    }
}
