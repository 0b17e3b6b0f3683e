use std::time::SystemTime;

use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use collector::trace::TraceId;

use super::*;

fn sample(kind: RequestKind, due_ms: u64, latency_us: u64) -> Sample {
    let trace = TraceId(u128::from(due_ms) + 1);
    Sample { trace, ..crate::measure::sample(kind, Duration::from_millis(due_ms), latency_us * 1000) }
}

fn measured() -> Measured {
    let samples = (0..3000_u64)
        .map(|n| sample(if n % 3 == 0 { RequestKind::Book } else { RequestKind::Search }, n, 100 + n))
        .collect();
    Measured { samples, ..Measured::default() }
}

#[test]
fn intervals_add_up_to_the_total() {
    let measured = measured();
    let log = interval_log(&measured, SystemTime::UNIX_EPOCH).unwrap();
    let mut sum = histogram(std::iter::empty());
    let mut tags = std::collections::BTreeSet::new();
    for entry in IntervalLogIterator::new(&log) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            tags.insert(interval.tag().unwrap().as_str().to_owned());
            let bytes = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                interval.encoded_histogram(),
            )
            .unwrap();
            let part: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            sum.add(&part).unwrap();
        }
    }
    assert_eq!(sum, measured.latency(None));
    assert_eq!(tags.into_iter().collect::<Vec<_>>(), ["GET_search", "POST_book"]);
}

#[test]
fn percentile_file_ends_at_the_maximum_and_counts_every_value() {
    let text = percentile_file(&measured().latency(Some(RequestKind::Book)));
    let rows: Vec<Vec<&str>> = text
        .lines()
        .skip(2)
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let last = rows.last().unwrap();
    assert_eq!((last[2], last[3]), ("1000", "inf"));
    assert!((last[0].parse::<f64>().unwrap() - 3.097).abs() < 0.004, "{last:?}");
    let median = rows.iter().find(|row| row[1] == "0.500000000000").unwrap();
    assert!((median[0].parse::<f64>().unwrap() - 1.597).abs() < 0.005, "{median:?}");
}

#[test]
fn buckets_hold_each_request_once_and_name_the_slowest() {
    let exemplars = exemplars(&measured());
    let buckets = &exemplars["GET /search"];
    assert_eq!(serde_json::to_value(buckets).unwrap().as_array().unwrap().len(), buckets.len());
    let counted: u64 = serde_json::to_value(buckets)
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["count"].as_u64().unwrap())
        .sum();
    assert_eq!(counted, 2000);
    let slowest = serde_json::to_value(buckets).unwrap();
    // The last search is number 2999 (not a multiple of three).
    assert_eq!(slowest.as_array().unwrap().last().unwrap()["traces"][0], TraceId(3000).to_string());
}

#[test]
fn slug_replaces_other_characters_by_underscores() {
    assert_eq!(slug("refused POST /token"), "refused_POST_token");
}
