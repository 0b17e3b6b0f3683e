//! The report as text for a terminal.
//!
//! Considered: comfy-table. The tables here need no wrapping or borders, and their layout is part of the report's snapshot.

/// Appends one line. Names, reasons and messages come from other programs, so their control characters are escaped.
macro_rules! line {
    ($out:expr, $($arguments:tt)*) => { $crate::report::text::push_line($out, &format!($($arguments)*)) };
}

mod table;
mod validity;

use collector::latency::Summary;
use collector::ledger::LedgerRow;
use table::{Align, Table};
use validity::validity;

use super::waterfall::Waterfall;
use super::{grouped, latency_of, percent, slo_value, time, time_of, verdict};
use crate::bundle::Bundle;
use crate::bundle::schema::{Blame, Phase, Run, ShareKind};
use crate::terminal::escaped;

/// Width in characters of a bar for a share of 1, and of a waterfall.
const BAR: usize = 40;
/// Shares below this are combined in one line.
const SMALL: f64 = 0.01;
/// Maximum number of spans shown in the waterfall.
const MAX_ROWS: usize = 60;

/// Renders the report.
pub(crate) fn text(bundle: &Bundle) -> String {
    let run = &bundle.run;
    let mut out = String::new();
    head(&mut out, run);
    requests(&mut out, run);
    hops(&mut out, run);
    facts(&mut out, run);
    for blame in run.blame.iter().filter(|blame| blame.request == "all") {
        blamed(&mut out, blame);
    }
    slow_request(&mut out, bundle);
    findings(&mut out, run);
    validity(&mut out, &run.validity);
    objectives(&mut out, run);
    if !bundle.folder.as_os_str().is_empty() {
        line!(&mut out, "bundle: {}", bundle.folder.display());
    }
    line!(&mut out, "{}", verdict(run));
    out
}

/// Appends `line`, escaped apart from line feeds at its start.
fn push_line(out: &mut String, line: &str) {
    let text = line.trim_start_matches('\n');
    out.push_str(&line[..line.len() - text.len()]);
    out.push_str(&escaped(text));
    out.push('\n');
}

fn head(out: &mut String, run: &Run) {
    let start = run.started_at.format("%Y-%m-%d %H:%M:%S UTC");
    line!(out, "{} at {}/s, seed {}, against {}", run.profile.name(), run.rate, run.seed, run.target);
    line!(out, "{start}, {:.1} s, {} users, {} CPUs", run.duration_s, run.users, run.host.cpus);
    if run.interrupted {
        line!(out, "INTERRUPTED: the figures cover the part that ran");
    }
}

fn requests(out: &mut String, run: &Run) {
    line!(out, "\nREQUESTS, {} from the instant each was due to the last byte", latency_of(run));
    let mut table = Table::new(
        "request|due|sent|verified|conflict|wrong|failed|late|p50|p90|p99|p99.9|max",
        [Align::Left].into_iter().chain([Align::Right; 12]),
    );
    for row in &run.requests {
        let name =
            if row.phase == Phase::WarmUp { format!("{} (warm-up)", row.name) } else { row.name.clone() };
        let counts = [row.due, row.sent, row.verified, row.conflicts, row.wrong, row.failed, row.late];
        let counts = counts.map(|n| n.to_string());
        table.row([name].into_iter().chain(counts).chain(latencies(row.latency_us.as_ref())));
    }
    out.push_str(&table.render());
    for row in &run.requests {
        if let Some(times) = &row.unverified_us {
            let count = row.wrong + row.failed;
            let [p50, p99] = [times.p50, times.p99].map(time);
            line!(
                out,
                "  not verified: {count} of {} {}, after {p50} (p50), {p99} (p99)",
                row.sent,
                row.name
            );
        }
        if row.retries > 0 {
            let (count, name) = (row.retries, &row.name);
            line!(out, "  retried: {name} was sent {count} more times, because the outcome was unknown");
        }
        if row.overdue > 0 {
            line!(
                out,
                "  overdue: {} {} were due before the interruption and not sent",
                row.overdue,
                row.name
            );
        }
    }
}

fn latencies(summary: Option<&Summary>) -> [String; 5] {
    let figures: [fn(&Summary) -> f64; 5] = [|s| s.p50, |s| s.p90, |s| s.p99, |s| s.p999, |s| s.max];
    figures.map(|figure| time_of(summary, figure))
}

fn hops(out: &mut String, run: &Run) {
    line!(
        out,
        "\nHOPS of this run, in the order of the request path; refused: as intended, for intruders; \
         self: duration minus awaited calls, from a sample of traces"
    );
    let mut table = Table::new(
        "service|operation|kind|count|errors|refused|p50|p90|p99|p99.9|max|self p50|self p99",
        [Align::Left; 3].into_iter().chain([Align::Right; 10]),
    );
    let mut last = "";
    for hop in &run.hops {
        let service = if hop.service == last { "" } else { hop.service.as_str() };
        last = &hop.service;
        let own = hop.self_us.map_or(["-".into(), "-".into()], |own| [time(own.p50), time(own.p99)]);
        let names = [service.to_owned(), hop.operation.clone(), hop.kind.as_str().to_owned()];
        let counts = [hop.count, hop.errors, hop.refused].map(|count| count.to_string());
        table.row(names.into_iter().chain(counts).chain(latencies(Some(&hop.latency_us))).chain(own));
    }
    out.push_str(&table.render());
}

fn facts(out: &mut String, run: &Run) {
    let served: Vec<String> =
        run.distribution.iter().map(|served| format!("{} {}", served.instance, served.requests)).collect();
    line!(out, "\nGATEWAYS   {}", served.join(", "));
    let cache = &run.cache;
    line!(out, "CACHE      {} hits, {} misses: {} hits", cache.hits, cache.misses, percent(cache.ratio));
    let bookings = &run.bookings;
    line!(
        out,
        "BOOKINGS   {} accepted, {} cancelled, {} notified, {} duplicate, {} parked, {} lost, {} unknown, {} double-booked; \
         commit to notified p50 {}, p99 {}",
        bookings.accepted,
        bookings.cancelled,
        bookings.notified,
        bookings.duplicate,
        bookings.parked,
        bookings.lost,
        bookings.unknown,
        bookings.double_booked,
        time_of(bookings.commit_to_notified_us.as_ref(), |delay| delay.p50),
        time_of(bookings.commit_to_notified_us.as_ref(), |delay| delay.p99),
    );
    if bookings.unknown > 0 {
        line!(out, "           unknown: no reply when the notifications were counted, or the wait was ended");
    }
    history(out, run);
    let ledger = &run.ledger.collected;
    let complete = ledger.complete as f64 / ledger.expected.max(1) as f64;
    line!(
        out,
        "LEDGER     {} traces expected, {} complete ({}); sampled out {}, dropped by exporter {}, complete then evicted {}, \
         incomplete then evicted {}, orphaned {}, missing {}",
        ledger.expected,
        ledger.complete,
        percent(complete),
        run.ledger.sampled_out,
        ledger.dropped_by_exporter,
        ledger.complete_then_evicted,
        ledger.incomplete_then_evicted,
        ledger.orphaned,
        ledger.missing,
    );
    if !ledger.evicted_by_reason.is_empty() {
        let reasons = ledger.evicted_by_reason.iter().map(|(reason, count)| format!("{reason} {count}"));
        line!(out, "           evicted {}: {}", ledger.evicted, reasons.collect::<Vec<_>>().join(", "));
    }
    if run.ledger.unknown > 0 {
        line!(
            out,
            "           unknown {}: no reply from the collector, or the wait was ended",
            run.ledger.unknown
        );
    }
    for loss in ledger.examples.iter().take(3) {
        line!(out, "           {} {}: {}", loss.trace_id, row_name(loss.row), loss.why);
    }
}

fn history(out: &mut String, run: &Run) {
    // Schemas before 3 have no history.
    if !run.history.is_empty() {
        let rows: Vec<String> =
            run.history.iter().map(|row| format!("{}: {}", row.what, row.count)).collect();
        line!(out, "HISTORY    {}", rows.join(", "));
    }
    for example in run.history.iter().flat_map(|row| &row.examples) {
        let traces: Vec<String> = example.trace_ids.iter().map(ToString::to_string).collect();
        line!(out, "           {} (traces {})", example.why, traces.join(", "));
    }
}

fn row_name(row: LedgerRow) -> &'static str {
    match row {
        LedgerRow::Complete => "complete",
        LedgerRow::CompleteThenEvicted => "complete then evicted",
        LedgerRow::IncompleteThenEvicted => "incomplete then evicted",
        LedgerRow::Evicted => "evicted",
        LedgerRow::DroppedByExporter => "dropped_by_exporter",
        LedgerRow::Orphaned => "orphaned",
        LedgerRow::Missing => "missing",
    }
}

fn blamed(out: &mut String, blame: &Blame) {
    line!(
        out,
        "\nWHERE THE TIME WENT at p{} of all verified requests, {} ({} {})",
        blame.percentile,
        time(blame.latency_us),
        blame.traces,
        if blame.traces == 1 { "trace" } else { "traces" }
    );
    let (shown, small): (Vec<_>, Vec<_>) = blame.shares.iter().partition(|share| share.share >= SMALL);
    for share in shown {
        let kind = match share.kind {
            ShareKind::Work => "work",
            ShareKind::Wait => "wait",
            ShareKind::Transit => "transit",
            ShareKind::Unattributed => "",
        };
        let bar = "█".repeat((share.share * BAR as f64).round().max(1.0) as usize);
        line!(
            out,
            "  {:<38} {kind:<7} {:>7} {:>8}  {bar}",
            share.hop,
            percent(share.share),
            time(share.share * blame.latency_us)
        );
    }
    if !small.is_empty() {
        let sum: f64 = small.iter().map(|share| share.share).sum();
        line!(
            out,
            "  {:<38} {:<7} {:>7}",
            format!("{} others, each below 1 %", small.len()),
            "",
            percent(sum)
        );
    }
}

fn slow_request(out: &mut String, bundle: &Bundle) {
    let Some(id) = bundle.run.slow_trace else { return };
    let Some(trace) = &bundle.slow else {
        line!(
            out,
            "\nA SLOW REQUEST, around p99 of the users' requests: trace {id}, which is not in the bundle's traces.jsonl.zst"
        );
        return;
    };
    line!(
        out,
        "\nA SLOW REQUEST, around p99 of the users' requests: trace {id}; █ spans that make up its latency, ░ others, · gaps"
    );
    let waterfall = Waterfall::of(trace);
    let scale = BAR as f64 / waterfall.length_us;
    for row in waterfall.rows.iter().take(MAX_ROWS) {
        let start = ((row.start_us * scale) as usize).min(BAR - 1);
        let width = ((row.duration_us * scale).round() as usize).clamp(1, BAR - start);
        let bar = if row.path_us > 0.0 { "█" } else { "░" }.repeat(width);
        let name = format!("{}{} {}", "  ".repeat(row.depth), row.service, row.operation);
        let failed = match (row.error, waterfall.intended_refusal) {
            (true, true) => " refused as intended",
            (true, false) => " failed",
            (false, _) => "",
        };
        let gap = row.gap.as_ref().map_or(start, |gap| ((gap.start_us * scale) as usize).min(start));
        let label = row.gap.as_ref().map(|gap| format!("  {} {}", gap.label, time(gap.duration_us)));
        line!(
            out,
            "  {:<58} {:>8}  {}{}{bar}{}{failed}{}",
            clip(&name, 58),
            time(row.duration_us),
            " ".repeat(gap),
            "·".repeat(start - gap),
            " ".repeat(BAR - start - width),
            label.unwrap_or_default()
        );
    }
    if waterfall.rows.len() > MAX_ROWS {
        line!(out, "  and {} further spans", waterfall.rows.len() - MAX_ROWS);
    }
}

fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

fn findings(out: &mut String, run: &Run) {
    if run.findings.is_empty() {
        return;
    }
    line!(out, "\nWRONG AND FAILED REPLIES, the first {}", run.findings.len());
    for (count, finding) in grouped(&run.findings) {
        let times = if count > 1 { format!(", {count} times") } else { String::new() };
        let (verdict, request, why) = (&finding.verdict, &finding.request, &finding.why);
        line!(out, "  {verdict} {request}: {why} (trace {}{times})", finding.trace_id);
    }
}

fn objectives(out: &mut String, run: &Run) {
    for slo in &run.slo {
        let met = if slo.met { "met" } else { "MISSED" };
        line!(out, "SLO        {:<30} {met:<7} ({})", slo.expression, slo_value(slo));
    }
}
