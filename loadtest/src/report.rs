//! The report of a run, as text and as one self-contained HTML file.

mod html;
#[cfg(test)]
mod tests;
mod text;
mod waterfall;

pub(crate) use html::{curves, html};
pub(crate) use text::text;

use crate::bundle::schema::Finding;

/// Formats microseconds with three significant digits and a unit.
fn time(us: f64) -> String {
    collector::format::duration((us * 1e3).round() as u64)
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
