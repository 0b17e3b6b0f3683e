//! The latency files of a bundle: HdrHistogram's percentile distribution and interval log, and exemplars.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use serde::Serialize;

use crate::measure::{Measured, RequestKind, Sample, histogram};

#[cfg(test)]
mod tests;

const NANOS_PER_MILLI: f64 = 1e6;
/// Number of trace ids kept for each latency bucket.
const EXEMPLARS_PER_BUCKET: usize = 3;

/// Returns `name` in a form that is valid as a file name and as an interval log's tag.
pub(crate) fn slug(name: &str) -> String {
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

/// Formats HdrHistogram's percentile distribution, which its plotter reads. Values are milliseconds.
pub(crate) fn percentile_file(histogram: &Histogram<u64>) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut up_to = 0;
    for step in histogram.iter_quantiles(5) {
        up_to += step.count_since_last_iteration();
        let (value, quantile) =
            (step.value_iterated_to() as f64 / NANOS_PER_MILLI, step.quantile_iterated_to());
        let _ = write!(text, "{value:12.6} {quantile:2.12} {up_to:10}");
        let _ = if quantile < 1.0 {
            writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(text, " {:>14}", "inf")
        };
    }
    let milli = |value: f64| value / NANOS_PER_MILLI;
    let _ = write!(
        text,
        "#[Mean    = {:12.6}, StdDeviation   = {:12.6}]\n#[Max     = {:12.6}, Total count    = {:12}]\n\
         #[Unit    = milliseconds from the due instant, of verified replies]\n",
        milli(histogram.mean()),
        milli(histogram.stdev()),
        milli(histogram.max() as f64),
        histogram.len(),
    );
    text
}

/// Writes HdrHistogram's interval log: one V2 DEFLATE histogram in nanoseconds for each second and request kind (tag).
pub(crate) fn interval_log(measured: &Measured, zero: SystemTime) -> anyhow::Result<Vec<u8>> {
    let mut seconds: BTreeMap<(u64, RequestKind), Vec<u64>> = BTreeMap::new();
    for sample in measured.verified() {
        seconds.entry((sample.due.as_secs(), sample.kind)).or_default().push(sample.latency_ns);
    }
    let (mut log, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment(
            "Latency of verified replies from the due instant in nanoseconds; a request belongs to the second in which it was due.",
        )
        .with_start_time(zero)
        .with_base_time(zero)
        .with_max_value_divisor(NANOS_PER_MILLI)
        .begin_log_with(&mut log, &mut serializer)?;
    for ((second, kind), values) in seconds {
        let tag = slug(kind.as_str());
        let interval = histogram(values.into_iter());
        writer
            .write_histogram(&interval, Duration::from_secs(second), Duration::from_secs(1), Tag::new(&tag))
            .map_err(|error| anyhow::anyhow!("{error:?}"))
            .context("cannot serialize an interval")?;
    }
    drop(writer);
    Ok(log)
}

/// One latency bucket, whose upper bound is twice its lower bound.
#[derive(Serialize)]
pub(crate) struct Bucket {
    from_us: f64,
    to_us: f64,
    count: usize,
    traces: Vec<String>,
}

/// Returns, for each request kind, the trace ids of the slowest verified requests in each latency bucket.
pub(crate) fn exemplars(measured: &Measured) -> BTreeMap<&'static str, Vec<Bucket>> {
    let mut buckets: BTreeMap<(RequestKind, u32), Vec<&Sample>> = BTreeMap::new();
    for sample in measured.verified() {
        buckets.entry((sample.kind, sample.latency_ns.max(1).ilog2())).or_default().push(sample);
    }
    let mut by_kind: BTreeMap<&'static str, Vec<Bucket>> = BTreeMap::new();
    for ((kind, power), mut samples) in buckets {
        samples.sort_by_key(|sample| std::cmp::Reverse(sample.latency_ns));
        let traces =
            samples.iter().take(EXEMPLARS_PER_BUCKET).map(|sample| sample.trace.to_string()).collect();
        let from_us = 2_f64.powi(power as i32) / 1e3;
        let bucket = Bucket { from_us, to_us: from_us * 2.0, count: samples.len(), traces };
        by_kind.entry(kind.as_str()).or_default().push(bucket);
    }
    by_kind
}
