//! The plots of the HTML report and their script.

use plotly::common::{Line, Mode, Orientation};
use plotly::configuration::DisplayModeBar;
use plotly::layout::{Axis, AxisType, BarMode, Legend, Margin};
use plotly::{Bar, Configuration, Layout, Plot, Scatter};

use crate::bundle::schema::{Blame, ShareKind};
use crate::measure::{Measured, RequestKind};
use crate::report::time;

/// Maximum number of series in the stacked bars; the others are combined in one.
const MAX_SERIES: usize = 12;
/// Colours of series and services, reused in order.
pub(super) const COLOURS: [&str; MAX_SERIES] = [
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#edc948", "#b07aa1", "#9c755f", "#ff9da7",
    "#bab0ac", "#1f4e79", "#7f7f2f",
];

/// A latency distribution by percentile.
pub(crate) struct Curve {
    /// Kind of the request.
    pub(crate) name: &'static str,
    /// `1 / (1 - percentile)` and milliseconds from the due instant.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Returns one curve for each request kind with measurements.
pub(crate) fn curves(measured: &Measured) -> Vec<Curve> {
    let curve = |name: RequestKind| {
        let histogram = measured.latency(Some(name));
        let points = histogram
            .iter_quantiles(5)
            .map(|step| (step.quantile_iterated_to(), step.value_iterated_to() as f64 / 1e6))
            .filter(|(quantile, _)| *quantile < 1.0)
            .map(|(quantile, milliseconds)| (1.0 / (1.0 - quantile), milliseconds))
            .collect();
        Curve { name: name.as_str(), points }
    };
    RequestKind::ALL.into_iter().map(curve).filter(|curve| !curve.points.is_empty()).collect()
}
/// Returns plotly.js without MathJax, which would add 2 MB for formulas that the report does not have.
pub(super) fn script() -> String {
    let both = Plot::offline_js_sources();
    match both.split_once("</script>\n\n") {
        Some((plotly, _)) => format!("{plotly}</script>"),
        None => both,
    }
}

pub(super) fn plot(id: &str, mut plot: Plot) -> String {
    plot.set_configuration(Configuration::new().display_mode_bar(DisplayModeBar::False).responsive(true));
    format!("<div class=\"plot\">{}</div>\n", plot.to_inline_html(Some(id)))
}

pub(super) fn percentiles(curves: &[Curve]) -> Plot {
    let mut plot = Plot::new();
    for (index, curve) in curves.iter().enumerate() {
        let (x, y): (Vec<f64>, Vec<f64>) = curve.points.iter().copied().unzip();
        let line = Line::new().color(COLOURS[index % COLOURS.len()]);
        plot.add_trace(Scatter::new(x, y).name(curve.name).mode(Mode::Lines).line(line));
    }
    let marks =
        [(2.0, "p50"), (10.0, "p90"), (100.0, "p99"), (1e3, "p99.9"), (1e4, "p99.99"), (1e5, "p99.999")];
    let x_axis = Axis::new()
        .title("percentile")
        .type_(AxisType::Log)
        .tick_values(marks.map(|(x, _)| x).to_vec())
        .tick_text(marks.map(|(_, name)| name).to_vec());
    let y_axis = Axis::new().title("milliseconds").type_(AxisType::Log);
    plot.set_layout(layout(380).x_axis(x_axis).y_axis(y_axis));
    plot
}

pub(super) fn blame(blame: &[Blame]) -> Plot {
    let of_all: Vec<&Blame> = blame.iter().filter(|blame| blame.request == "all").rev().collect();
    let labels: Vec<String> =
        of_all.iter().map(|blame| format!("p{} {}", blame.percentile, time(blame.latency_us))).collect();
    let mut totals: std::collections::BTreeMap<(&str, ShareKind), f64> = std::collections::BTreeMap::new();
    for share in of_all.iter().flat_map(|blame| &blame.shares) {
        *totals.entry((&share.hop, share.kind)).or_default() += share.share;
    }
    let mut series: Vec<_> = totals.into_iter().collect();
    series.sort_by(|a, b| b.1.total_cmp(&a.1));
    series.truncate(MAX_SERIES);
    let mut plot = Plot::new();
    let mut rest = vec![100.0; of_all.len()];
    for (index, ((hop, kind), _)) in series.iter().enumerate() {
        let shares: Vec<f64> = of_all.iter().map(|blame| share(blame, hop, *kind) * 100.0).collect();
        rest.iter_mut().zip(&shares).for_each(|(rest, share)| *rest -= share);
        plot.add_trace(bar(
            shares,
            &labels,
            &format!("{hop}{}", suffix(*kind)),
            COLOURS[index % COLOURS.len()],
        ));
    }
    if rest.iter().any(|rest| *rest > 0.05) {
        plot.add_trace(bar(rest, &labels, "others", "#dddddd"));
    }
    let x_axis = Axis::new().title("per cent of the latency").range(vec![0, 100]);
    plot.set_layout(layout(380).bar_mode(BarMode::Stack).x_axis(x_axis));
    plot
}

fn bar(shares: Vec<f64>, labels: &[String], name: &str, colour: &'static str) -> Box<Bar<f64, String>> {
    let marker = plotly::common::Marker::new().color(colour);
    Bar::new(shares, labels.to_vec()).orientation(Orientation::Horizontal).name(name).marker(marker)
}

fn share(blame: &Blame, hop: &str, kind: ShareKind) -> f64 {
    blame.shares.iter().filter(|share| share.hop == hop && share.kind == kind).map(|share| share.share).sum()
}

fn suffix(kind: ShareKind) -> &'static str {
    match kind {
        ShareKind::Wait => " (waiting)",
        ShareKind::Work | ShareKind::Transit | ShareKind::Unattributed => "",
    }
}

fn layout(height: usize) -> Layout {
    Layout::new()
        .height(height)
        .margin(Margin::new().top(10).right(10).bottom(50).left(110))
        .legend(Legend::new().orientation(Orientation::Horizontal).y(-0.25))
        .paper_background_color("rgba(0,0,0,0)")
}
