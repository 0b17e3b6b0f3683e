//! The report as one HTML file. It includes the script of the plots, so it needs no network.

mod plots;

use std::fmt::Write as _;

use plots::{COLOURS, blame, percentiles, plot, script};
pub(crate) use plots::{Curve, curves};

use super::waterfall::Waterfall;
use super::{grouped, latency_of, percent, slo_value, time, time_of, verdict};
use collector::latency::Summary;

use crate::bundle::Bundle;
use crate::bundle::schema::{Phase, Run};

const STYLE: &str = include_str!("report.css");
/// Columns of text, which are left-aligned, unlike numbers.
const TEXT_COLUMNS: [&str; 5] = ["operation", "kind", "request", "why", "trace"];

/// Renders the page.
pub(crate) fn html(bundle: &Bundle, curves: &[Curve]) -> String {
    let run = &bundle.run;
    let title = format!("{} at {}/s, seed {}", run.profile.name(), run.rate, run.seed);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{0}</title>\n<style>{STYLE}</style>\n{1}\n\
         <h1>{0}</h1>\n",
        escape(&title),
        script()
    );
    head(&mut page, run);
    page.push_str("<h2>Latency by percentile</h2>\n");
    page.push_str(&plot("percentiles", percentiles(curves)));
    requests(&mut page, run);
    page.push_str(
        "<h2>Where the time went</h2>\n<p>All verified requests, from the instant each was due.</p>\n",
    );
    page.push_str(&plot("blame", blame(&run.blame)));
    hops(&mut page, run);
    facts(&mut page, run);
    history(&mut page, run);
    slow_request(&mut page, bundle);
    page.push_str("</html>\n");
    page
}

/// Writing to a string cannot fail.
macro_rules! add {
    ($page:expr, $($arguments:tt)*) => {{ let _ = writeln!($page, $($arguments)*); }};
}

fn head(page: &mut String, run: &Run) {
    let class = if run.passed { "passed" } else { "failed" };
    add!(page, "<p class=\"{class}\"><strong>{}</strong></p>", escape(&verdict(run)));
    let git = run.git.as_deref().unwrap_or("no commit");
    add!(
        page,
        "<p>{} · {:.1} s · {} · {} · {} users · {} CPUs · {}</p>",
        run.started_at.format("%Y-%m-%d %H:%M:%S UTC"),
        run.duration_s,
        escape(&run.target),
        escape(git),
        run.users,
        run.host.cpus,
        escape(&run.host.kernel)
    );
    add!(page, "<p>Validity: {}</p>", escape(&run.validity.verdict));
    if !run.slo.is_empty() {
        table(
            page,
            "Objectives",
            &["expression", "value", ""],
            run.slo.iter().map(|slo| {
                let met = if slo.met { "met" } else { "missed" };
                vec![slo.expression.clone(), slo_value(slo), met.to_owned()]
            }),
        );
    }
}

fn requests(page: &mut String, run: &Run) {
    let columns = [
        "request", "due", "sent", "verified", "conflict", "wrong", "failed", "late", "retries", "p50", "p90",
        "p99", "p99.9", "max",
    ];
    table(
        page,
        &format!("Requests, {}", latency_of(run)),
        &columns,
        run.requests.iter().map(|row| {
            let warm_up = if row.phase == Phase::WarmUp { " (warm-up)" } else { "" };
            let counts = [
                row.due,
                row.sent,
                row.verified,
                row.conflicts,
                row.wrong,
                row.failed,
                row.late,
                row.retries,
            ];
            let counts = counts.map(|n| n.to_string());
            let figures: [fn(&Summary) -> f64; 5] = [|s| s.p50, |s| s.p90, |s| s.p99, |s| s.p999, |s| s.max];
            let times = figures.map(|figure| time_of(row.latency_us.as_ref(), figure));
            [format!("{}{warm_up}", row.name)].into_iter().chain(counts).chain(times).collect()
        }),
    );
    if !run.findings.is_empty() {
        let columns = ["verdict", "request", "times", "why", "trace"];
        table(
            page,
            "Wrong and failed replies",
            &columns,
            grouped(&run.findings).into_iter().map(|(count, finding)| {
                let (verdict, request) = (finding.verdict.clone(), finding.request.clone());
                vec![verdict, request, count.to_string(), finding.why.clone(), finding.trace_id.to_string()]
            }),
        );
    }
}

fn hops(page: &mut String, run: &Run) {
    let columns = [
        "service",
        "operation",
        "kind",
        "count",
        "errors",
        "refused as intended",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "self p50",
        "self p99",
    ];
    table(
        page,
        "Hops",
        &columns,
        run.hops.iter().map(|hop| {
            let l = &hop.latency_us;
            let own = hop.self_us.map_or(["-".into(), "-".into()], |own| [time(own.p50), time(own.p99)]);
            [hop.service.clone(), hop.operation.clone(), hop.kind.as_str().to_owned()]
                .into_iter()
                .chain([hop.count, hop.errors, hop.refused].map(|count| count.to_string()))
                .chain([l.p50, l.p90, l.p99, l.p999].map(time))
                .chain(own)
                .collect()
        }),
    );
}

fn facts(page: &mut String, run: &Run) {
    let ledger = &run.ledger.collected;
    let mut rows = vec![
        ("complete".to_owned(), ledger.complete),
        ("sampled out".to_owned(), run.ledger.sampled_out),
        ("dropped by exporter".to_owned(), ledger.dropped_by_exporter),
        ("complete then evicted".to_owned(), ledger.complete_then_evicted),
        ("incomplete then evicted".to_owned(), ledger.incomplete_then_evicted),
        ("evicted".to_owned(), ledger.evicted),
    ];
    let reasons = ledger.evicted_by_reason.iter();
    rows.extend(reasons.map(|(reason, count)| (format!("evicted: {}", reason.replace('_', " ")), *count)));
    rows.extend([
        ("orphaned".to_owned(), ledger.orphaned),
        ("missing".to_owned(), ledger.missing),
        ("unknown".to_owned(), run.ledger.unknown),
        ("expected".to_owned(), ledger.expected),
    ]);
    table(
        page,
        "Ledger",
        &["traces", "count", "share"],
        rows.into_iter().map(|(name, count)| {
            vec![name, count.to_string(), percent(count as f64 / ledger.expected.max(1) as f64)]
        }),
    );
    let (bookings, cache) = (&run.bookings, &run.cache);
    let rows = [
        ("bookings accepted", bookings.accepted.to_string()),
        ("bookings notified", bookings.notified.to_string()),
        ("bookings cancelled", bookings.cancelled.to_string()),
        ("repeated notifications", bookings.duplicate.to_string()),
        ("bookings parked", bookings.parked.to_string()),
        ("bookings lost", bookings.lost.to_string()),
        ("bookings unknown", bookings.unknown.to_string()),
        ("double bookings", bookings.double_booked.to_string()),
        ("commit to notified, p50", time_of(bookings.commit_to_notified_us.as_ref(), |delay| delay.p50)),
        ("commit to notified, p99", time_of(bookings.commit_to_notified_us.as_ref(), |delay| delay.p99)),
        ("cache hits", format!("{} of {} ({})", cache.hits, cache.hits + cache.misses, percent(cache.ratio))),
    ];
    let served =
        run.distribution.iter().map(|served| vec![served.instance.clone(), served.requests.to_string()]);
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    table(page, "Bookings, cache, gateways", &["", ""], rows.chain(served));
}

fn history(page: &mut String, run: &Run) {
    let rows = run.history.iter().flat_map(|row| {
        let total = vec![row.what.clone(), row.count.to_string(), String::new(), String::new()];
        let examples = row.examples.iter().map(|example| {
            let traces: Vec<String> = example.trace_ids.iter().map(ToString::to_string).collect();
            vec![String::new(), String::new(), example.why.clone(), traces.join(" ")]
        });
        std::iter::once(total).chain(examples)
    });
    table(page, "Contradictions between what users saw", &["kind", "count", "why", "trace"], rows);
}

fn slow_request(page: &mut String, bundle: &Bundle) {
    let Some(trace) = &bundle.slow else { return };
    let id = bundle.run.slow_trace.map(|id| id.to_string()).unwrap_or_default();
    let waterfall = Waterfall::of(trace);
    add!(
        page,
        "<h2>A slow request</h2>\n<p>Around p99 of the users' requests: trace {id}. Dark bars are on the critical path, pale ones are not.</p>"
    );
    add!(page, "<table class=\"waterfall\">");
    let services: Vec<&str> = {
        let mut seen = Vec::new();
        for row in &waterfall.rows {
            if !seen.contains(&row.service.as_str()) {
                seen.push(row.service.as_str());
            }
        }
        seen
    };
    for row in &waterfall.rows {
        let at = |us: f64| us / waterfall.length_us * 100.0;
        let colour = services.iter().position(|service| *service == row.service).unwrap_or_default();
        add!(
            page,
            "<tr><td style=\"padding-left:{}em\">{} <small>{}</small>{}</td><td>{}</td><td class=\"lane\">\
             <i style=\"margin-left:{:.2}%;width:max(2px,{:.2}%);background:{};opacity:{}\"></i></td></tr>",
            row.depth,
            escape(&row.service),
            escape(&row.operation),
            row.gap.as_ref().map_or(String::new(), |gap| {
                format!(" <small>({} {})</small>", gap.label, time(gap.duration_us))
            }),
            time(row.duration_us),
            at(row.start_us),
            at(row.duration_us),
            if row.error && !waterfall.intended_refusal {
                "var(--bad)"
            } else {
                COLOURS[colour % COLOURS.len()]
            },
            if row.path_us > 0.0 { 1.0 } else { 0.35 },
        );
    }
    add!(page, "</table>");
}

fn table(page: &mut String, title: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    add!(page, "<h2>{}</h2>\n<table><thead><tr>", escape(title));
    let class = |column: usize| {
        columns.get(column).filter(|name| TEXT_COLUMNS.contains(name)).map_or("", |_| " class=\"words\"")
    };
    for (index, column) in columns.iter().enumerate() {
        add!(page, "<th{}>{}</th>", class(index), escape(column));
    }
    add!(page, "</tr></thead><tbody>");
    for row in rows {
        let cell = |(index, cell): (usize, &String)| format!("<td{}>{}</td>", class(index), escape(cell));
        let cells: String = row.iter().enumerate().map(cell).collect();
        add!(page, "<tr>{cells}</tr>");
    }
    add!(page, "</tbody></table>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
