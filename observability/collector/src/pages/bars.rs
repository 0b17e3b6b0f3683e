//! Times as pictures: SVG, whose attributes place things without a style of their own, which the policy would forbid.

use maud::{Markup, html};

use super::quantity;
use super::room::Room;
use crate::blame::critical_path::Segment;

/// Colours in the style sheet; more services than that share them.
const COLOURS: usize = 10;

/// Stretches of the critical path that lie closer than this part of the axis look like one, and are drawn as one.
const FINEST: u64 = 2_000;

/// The time from the left edge of a picture to its right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    start_ns: u64,
    length_ns: u64,
}

impl Axis {
    pub(super) fn new(start_ns: u64, length_ns: u64) -> Self {
        Self { start_ns, length_ns: length_ns.max(1) }
    }

    fn length(self, ns: u64) -> String {
        format!("{:.2}%", ns as f64 / self.length_ns as f64 * 100.0)
    }

    fn place(self, ns: u64) -> String {
        self.length(ns.saturating_sub(self.start_ns))
    }
}

/// The class that gives a service its colour.
pub(super) fn colour(index: usize) -> String {
    format!("c{}", index % COLOURS)
}

/// The square that stands for a service.
pub(super) fn swatch(index: usize) -> Markup {
    html! {
        svg.swatch aria-hidden="true" { rect class=(colour(index)) width="100%" height="100%" rx="3" {} }
    }
}

/// An amount beside others: a bar from the left edge.
pub(super) fn amount(axis: Axis, ns: u64, class: &str) -> Markup {
    html! {
        svg.amount aria-hidden="true" {
            rect.rail width="100%" height="100%" rx="3" {}
            rect class={ "bar " (class) } width=(axis.length(ns)) height="100%" rx="3" {}
        }
    }
}

/// The parts of a whole one after another, each in the colour of its place.
pub(super) fn shares(parts_ns: &[u64]) -> Markup {
    let axis = Axis::new(0, parts_ns.iter().sum());
    let starts = parts_ns.iter().scan(0, |end, part| {
        *end += part;
        Some(*end - part)
    });
    html! {
        svg.shares aria-hidden="true" {
            rect.rail width="100%" height="100%" {}
            @for (index, (start_ns, part_ns)) in starts.zip(parts_ns).enumerate().filter(|(_, (_, part))| **part > 0) {
                rect class=(colour(index)) x=(axis.place(start_ns)) width=(axis.length(*part_ns)) height="100%" {}
            }
        }
    }
}

/// A span's bar, and below it the stretches in which the whole trace waited for this span alone.
pub(super) fn span(axis: Axis, bar: Segment, class: &str, critical: &[Segment], room: &Room) -> Markup {
    let stretches = room.list(joined(critical, axis.length_ns / FINEST), |stretch| {
        let length = axis.length(stretch.end_ns - stretch.start_ns);
        html! { rect.critical x=(axis.place(stretch.start_ns)) y="19" width=(length) height="3" {} }
    });
    html! {
        svg.span aria-hidden="true" {
            @for quarter in ["25%", "50%", "75%"] { line.grid x1=(quarter) x2=(quarter) y1="0" y2="100%" {} }
            rect class={ "bar " (class) } x=(axis.place(bar.start_ns)) y="5"
                width=(axis.length(bar.end_ns - bar.start_ns)) height="12" rx="2" {}
            @for stretch in &stretches { (stretch) }
        }
    }
}

/// The figures above the spans.
pub(super) fn scale(axis: Axis) -> Markup {
    html! {
        svg.scale aria-hidden="true" {
            @for (quarter, anchor) in [(0, "start"), (1, "middle"), (2, "middle"), (3, "middle"), (4, "end")] {
                text class={ "q" (quarter) } x={ (quarter * 25) "%" } y="75%" text-anchor=(anchor) {
                    (quantity::duration((u128::from(axis.length_ns) * quarter / 4) as u64))
                }
            }
        }
    }
}

/// `segments` come in the order of time.
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
    fn stretches_that_look_like_one_are_drawn_as_one() {
        let segment = |start_ns, end_ns| Segment { span: 0, start_ns, end_ns };
        let path = [segment(0, 10), segment(11, 20), segment(40, 50)];
        assert_eq!(joined(&path, 1), [segment(0, 20), segment(40, 50)]);
        assert_eq!(joined(&path, 0), path);
    }

    #[test]
    fn places_are_parts_of_the_axis_and_never_before_it() {
        let axis = Axis::new(100, 200);
        assert_eq!(
            (axis.place(150), axis.place(50), axis.length(200)),
            ("25.00%".into(), "0.00%".into(), "100.00%".into())
        );
        assert_eq!(Axis::new(5, 0).place(5), "0.00%");
    }
}
