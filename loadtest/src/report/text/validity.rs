//! Whether the figures of the report can be trusted.

use crate::measure::validity::Validity;
use crate::report::{percent, time};

/// Adds the verdict and the measurements that it rests on.
pub(super) fn validity(out: &mut String, validity: &Validity) {
    line!(out, "\nVALIDITY   {}", validity.verdict);
    let pressure = validity.cpu_pressure.map_or("unknown".into(), percent);
    line!(
        out,
        "           late {} ({} after a slow reply), CPU pressure {pressure}, longest pause {}",
        percent(validity.late_share),
        percent(validity.waited_share),
        time(validity.hiccup_max_us)
    );
    let skew = match validity.clock_skews.first() {
        Some(skew) => format!(
            "{} ± {} ({} to {})",
            time(skew.skew_us.abs()),
            time(skew.uncertainty_us),
            skew.client,
            skew.server
        ),
        None => "unknown".to_owned(),
    };
    let others = validity.other_load.map_or("unknown".to_owned(), |others| format!("{others} requests"));
    line!(out, "           largest clock skew {skew}, other load {others}");
}
