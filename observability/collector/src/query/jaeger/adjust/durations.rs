//! Ends of spans that are not later than their starts, such as those of unfinished spans.

use super::warnings;
use crate::go_syntax::format_time;
use crate::trace::Trace;

/// Times after the year 2262 are negative, as in Go.
pub(super) fn sanitize(trace: &mut Trace) {
    for span in &mut trace.spans {
        let (start, end) = (span.start_ns as i64, span.end_ns as i64);
        if start < end {
            continue;
        }
        let adjusted = start.wrapping_add(1);
        span.end_ns = adjusted as u64;
        let (end, adjusted) = (format_time(end), format_time(adjusted));
        warnings::add(
            span,
            format!(
                "Negative duration detected, sanitizing end timestamp. Original end timestamp: {end}, adjusted to: {adjusted}"
            ),
        );
    }
}
