//! Durations as SVG bars. SVG attributes position the bars, because the content security policy forbids inline styles.

use maud::{Markup, html};

use super::budget::MarkupBudget;
use crate::blame::critical_path::Segment;
use crate::blame::waterfall::Gap;
use crate::format;

/// Number of colours in the style sheet; with more services, colours repeat.
const COLOURS: usize = 10;

/// Segments of the critical path with a gap shorter than the axis divided by this number are drawn as one.
const RESOLUTION: u64 = 2_000;

/// A gap shorter than the axis divided by this number is not marked.
const MIN_GAP: u64 = 200;

/// Minimum width of the bar of a span, in percent, so that it is visible in a trace of any length.
const MIN_BAR: f64 = 0.3;

/// The time range of a picture, from its left edge to its right edge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    start_ns: u64,
    length_ns: u64,
}

impl Axis {
    pub(super) fn new(start_ns: u64, length_ns: u64) -> Self {
        Self { start_ns, length_ns: length_ns.max(1) }
    }

    /// Returns a duration as a percentage of the width.
    fn length(self, ns: u64) -> String {
        format!("{:.2}%", ns as f64 / self.length_ns as f64 * 100.0)
    }

    /// Returns the position and the width of a span's bar. A short bar has the minimum width, and is within the picture.
    fn bar(self, bar: Segment) -> (String, String) {
        let percent = |ns: u64| ns as f64 / self.length_ns as f64 * 100.0;
        let width = percent(bar.end_ns - bar.start_ns).max(MIN_BAR);
        let position = percent(bar.start_ns.saturating_sub(self.start_ns)).min(100.0 - MIN_BAR);
        (format!("{position:.2}%"), format!("{width:.2}%"))
    }

    /// Returns whether a time is long enough for a picture of this range.
    pub(super) fn shows(self, ns: u64) -> bool {
        ns >= self.length_ns / MIN_GAP
    }

    /// Returns the position of a time, as a percentage of the width.
    fn position(self, ns: u64) -> String {
        self.length(ns.saturating_sub(self.start_ns))
    }
}

/// Returns the CSS class with the colour of the service at `index`; without one, of a hop that is not a service.
pub(super) fn colour(index: Option<usize>) -> String {
    index.map_or_else(|| "other".to_owned(), |index| format!("c{}", index % COLOURS))
}

/// Renders a square in the colour of a class.
pub(super) fn swatch(class: &str) -> Markup {
    html! {
        svg.swatch aria-hidden="true" { rect class=(class) width="100%" height="100%" rx="3" {} }
    }
}

/// Renders a duration as a bar from the left edge.
pub(super) fn duration(axis: Axis, ns: u64, class: &str) -> Markup {
    html! {
        svg.amount aria-hidden="true" {
            rect.rail width="100%" height="100%" rx="3" {}
            rect class={ "bar " (class) } width=(axis.length(ns)) height="100%" rx="3" {}
        }
    }
}

/// Renders the parts of a whole one after another, each with its class.
pub(super) fn shares(parts_ns: &[(String, u64)]) -> Markup {
    let axis = Axis::new(0, parts_ns.iter().map(|(_, part)| part).sum());
    let starts = parts_ns.iter().scan(0, |end, (_, part)| {
        *end += part;
        Some(*end - part)
    });
    html! {
        svg.shares aria-hidden="true" {
            rect.rail width="100%" height="100%" {}
            @for (start_ns, (class, part_ns)) in starts.zip(parts_ns) {
                rect class=(class) x=(axis.position(start_ns)) width=(axis.length(*part_ns)) height="100%" {}
            }
        }
    }
}

/// Renders the bar of a span, with its segments of the critical path below it, and the gap before it. A span without a
/// start has no bar.
pub(super) fn span(
    axis: Axis,
    bar: Option<Segment>,
    gap: Option<&Gap>,
    class: &str,
    critical: &[Segment],
    budget: &MarkupBudget,
) -> Markup {
    let segments = budget.list(joined(critical, axis.length_ns / RESOLUTION), |segment| {
        let length = axis.length(segment.end_ns - segment.start_ns);
        html! { rect.critical x=(axis.position(segment.start_ns)) y="19" width=(length) height="3" {} }
    });
    html! {
        svg.span aria-hidden="true" {
            @for quarter in ["25%", "50%", "75%"] { line.grid x1=(quarter) x2=(quarter) y1="0" y2="100%" {} }
            @if let Some(gap) = gap {
                rect.gap x=(axis.position(gap.start_ns)) y="9" width=(axis.length(gap.duration_ns())) height="4" {}
            }
            @if let Some((position, width)) = bar.map(|bar| axis.bar(bar)) {
                rect class={ "bar " (class) } x=(position) y="5" width=(width) height="12" rx="2" {}
            }
            @for segment in &segments { (segment) }
        }
    }
}

/// Renders the time scale above the spans.
pub(super) fn scale(axis: Axis) -> Markup {
    html! {
        svg.scale aria-hidden="true" {
            @for (quarter, anchor) in [(0, "start"), (1, "middle"), (2, "middle"), (3, "middle"), (4, "end")] {
                text class={ "q" (quarter) } x={ (quarter * 25) "%" } y="75%" text-anchor=(anchor) {
                    (format::duration((u128::from(axis.length_ns) * quarter / 4) as u64))
                }
            }
        }
    }
}

/// Joins segments, which are in time order, across gaps of up to `gap_ns`.
fn joined(segments: &[Segment], gap_ns: u64) -> Vec<Segment> {
    let mut joined: Vec<Segment> = Vec::new();
    for &segment in segments {
        match joined.last_mut() {
            Some(last) if segment.start_ns - last.end_ns <= gap_ns => last.end_ns = segment.end_ns,
            _ => joined.push(segment),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_segments_across_small_gaps() {
        let segment = |start_ns, end_ns| Segment { span: 0, start_ns, end_ns };
        let path = [segment(0, 10), segment(11, 20), segment(40, 50)];
        assert_eq!(joined(&path, 1), [segment(0, 20), segment(40, 50)]);
        assert_eq!(joined(&path, 0), path);
    }

    #[test]
    fn positions_are_relative_to_the_axis_and_never_before_it() {
        let axis = Axis::new(100, 200);
        assert_eq!(
            (axis.position(150), axis.position(50), axis.length(200)),
            ("25.00%".into(), "0.00%".into(), "100.00%".into())
        );
        assert_eq!(Axis::new(5, 0).position(5), "0.00%");
    }

    #[test]
    fn every_bar_is_visible_and_within_the_picture() {
        let axis = Axis::new(0, 30_000_000_000);
        let bar = |start_ns, end_ns| axis.bar(Segment { span: 0, start_ns, end_ns });
        assert_eq!(bar(0, 20_000_000), ("0.00%".to_owned(), "0.30%".to_owned()));
        assert_eq!(bar(29_999_000_000, 30_000_000_000), ("99.70%".to_owned(), "0.30%".to_owned()));
        assert_eq!(bar(15_000_000_000, 30_000_000_000), ("50.00%".to_owned(), "50.00%".to_owned()));
    }
}
