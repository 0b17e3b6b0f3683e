//! The files of HdrHistogram: a percentile distribution, an interval log; and exemplars.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use serde::Serialize;

use crate::measure::{Measured, Name, Sample, histogram};

#[cfg(test)]
mod tests;

const NANOS_PER_MILLI: f64 = 1e6;
/// Trace ids kept for each latency bucket.
const EXEMPLARS: usize = 3;

/// A name that can be a file's name and an interval log's tag.
pub(crate) fn slug(name: &str) -> String {
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

/// HdrHistogram's percentile distribution, which its plotter reads; values in milliseconds.
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
         #[Unit    = milliseconds from the due instant]\n",
        milli(histogram.mean()),
        milli(histogram.stdev()),
        milli(histogram.max() as f64),
        histogram.len(),
    );
    text
}

/// HdrHistogram's interval log: each second of each request name (its tag), V2 with DEFLATE, in nanoseconds.
pub(crate) fn interval_log(measured: &Measured, zero: SystemTime) -> anyhow::Result<Vec<u8>> {
    let mut seconds: BTreeMap<(u64, Name), Vec<u64>> = BTreeMap::new();
    for sample in measured.phase(false) {
        seconds.entry((sample.due.as_secs(), sample.name)).or_default().push(sample.latency_ns);
    }
    let (mut log, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment(
            "Latency from the due instant, nanoseconds; a request stands in the second in which it was due.",
        )
        .with_start_time(zero)
        .with_base_time(zero)
        .with_max_value_divisor(NANOS_PER_MILLI)
        .begin_log_with(&mut log, &mut serializer)?;
    for ((second, name), values) in seconds {
        let tag = slug(name.as_str());
        let interval = histogram(values.into_iter());
        writer
            .write_histogram(&interval, Duration::from_secs(second), Duration::from_secs(1), Tag::new(&tag))
            .map_err(|error| anyhow::anyhow!("{error:?}"))
            .context("an interval does not serialize")?;
    }
    drop(writer);
    Ok(log)
}

/// One latency bucket, a factor of two wide, and requests that fell into it.
#[derive(Serialize)]
pub(crate) struct Bucket {
    from_us: f64,
    to_us: f64,
    count: usize,
    traces: Vec<String>,
}

/// Trace ids by latency bucket for each request name: the slowest of each bucket.
pub(crate) fn exemplars(measured: &Measured) -> BTreeMap<&'static str, Vec<Bucket>> {
    let mut buckets: BTreeMap<(Name, u32), Vec<&Sample>> = BTreeMap::new();
    for sample in measured.phase(false) {
        buckets.entry((sample.name, sample.latency_ns.max(1).ilog2())).or_default().push(sample);
    }
    let mut by_name: BTreeMap<&'static str, Vec<Bucket>> = BTreeMap::new();
    for ((name, power), mut samples) in buckets {
        samples.sort_by_key(|sample| std::cmp::Reverse(sample.latency_ns));
        let traces = samples.iter().take(EXEMPLARS).map(|sample| sample.trace.to_string()).collect();
        let from_us = 2_f64.powi(power as i32) / 1e3;
        let bucket = Bucket { from_us, to_us: from_us * 2.0, count: samples.len(), traces };
        by_name.entry(name.as_str()).or_default().push(bucket);
    }
    by_name
}
