//! The report of a run, as text and as one self-contained HTML file.

mod html;
#[cfg(test)]
mod tests;
mod text;
mod waterfall;

pub(crate) use html::{curves, html};
pub(crate) use text::text;

use collector::latency::Summary;

use crate::bundle::schema::{Finding, Run, SloResult};

/// Formats microseconds with three significant digits and a unit.
fn time(us: f64) -> String {
    collector::format::duration((us * 1e3).round() as u64)
}

/// Formats one figure of a summary; a dash if nothing was measured.
fn time_of(summary: Option<&Summary>, figure: impl Fn(&Summary) -> f64) -> String {
    summary.map_or("-".into(), |summary| time(figure(summary)))
}

/// Returns which replies the latencies of a run are of. Schema 1 had the failed ones among them.
fn latency_of(run: &Run) -> &'static str {
    if run.schema == 1 { "latency of all replies" } else { "latency of verified replies" }
}

/// Formats the value of an objective, in the unit of its limit.
fn slo_value(slo: &SloResult) -> String {
    let with_unit = |value: f64| format!("{value:.3} {}", slo.unit).trim_end().to_owned();
    let not_verified = format!("{} of {} requests have no verified reply", slo.unverified, slo.requests);
    match (slo.value, slo.verified_value) {
        (Some(value), _) if slo.unverified > 0 => format!("{}; {not_verified}", with_unit(value)),
        (Some(value), _) => with_unit(value),
        (None, Some(value)) if slo.unverified > 0 => {
            format!("∞: {not_verified}; {} over the others", with_unit(value))
        }
        (None, _) if slo.unverified > 0 => format!("∞: {not_verified}"),
        (None, _) => "nothing measured".to_owned(),
    }
}

/// Returns the verdict of a run with its reasons, the last line of each report.
fn verdict(run: &Run) -> String {
    let bookings = &run.bookings;
    let counts = format!(
        "{} wrong, {} failed, {} bookings lost, {} duplicate, {} double-booked, {} unknown, {} of {} SLOs met",
        run.total(|row| row.wrong),
        run.total(|row| row.failed),
        bookings.lost,
        bookings.duplicate,
        bookings.double_booked,
        bookings.unknown,
        run.slo.iter().filter(|slo| slo.met).count(),
        run.slo.len()
    );
    let (sent, due) = (run.total(|row| row.sent), run.total(|row| row.due));
    match run.passed {
        true => format!("PASSED     {counts}"),
        false if run.interrupted => format!(
            "INTERRUPTED after {}: {sent} of {due} requests were sent, {counts}. The figures cover the part that ran; \
             the run has neither passed nor failed",
            time(run.duration_s * 1e6)
        ),
        false => format!("FAILED     {counts}"),
    }
}

/// Groups equal findings with their number; each group shows the trace of its first finding.
fn grouped(findings: &[Finding]) -> Vec<(usize, &Finding)> {
    let mut groups: Vec<(usize, &Finding)> = Vec::new();
    for finding in findings {
        let same = |(_, seen): &&mut (usize, &Finding)| {
            (&seen.verdict, &seen.request, &seen.why) == (&finding.verdict, &finding.request, &finding.why)
        };
        match groups.iter_mut().find(same) {
            Some((count, _)) => *count += 1,
            None => groups.push((1, finding)),
        }
    }
    groups
}

/// Formats a share as per cent with one decimal. Only exact values give 100.0 % and 0.0 %.
fn percent(share: f64) -> String {
    let per_cent = share * 100.0;
    match per_cent {
        p if p < 100.0 && p > 99.9 => "99.9 %".into(),
        p if p > 0.0 && p < 0.1 => "0.1 %".into(),
        p => format!("{p:.1} %"),
    }
}
