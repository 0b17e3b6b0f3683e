use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

use super::*;

fn measurement(operation: &str, duration_ns: u64) -> Measurement<'_> {
    let (trace_id, end_ns) = (Some(TraceId(u128::from(duration_ns) + 1)), duration_ns);
    let group = TraceGroup(0);
    Measurement { trace_id, group, operation, kind: Kind::Server, start_ns: 0, end_ns, error: false }
}

fn record<'a>(
    latencies: &mut Latencies,
    service: &str,
    measurements: impl IntoIterator<Item = Measurement<'a>>,
) {
    latencies.record(service, measurements, &mut Vec::new());
}

fn hops(latencies: &Latencies, histograms: bool) -> Vec<Hop> {
    let hop = |name: SeriesKey| latencies.get(&name).unwrap().hop(name, histograms);
    latencies.keys().into_iter().map(hop).collect()
}

#[test]
fn a_hop_counts_and_summarizes_its_spans() {
    let mut latencies = Latencies::new(1 << 30);
    record(&mut latencies, "cache", (1..=1000).map(|micros| measurement("GET", micros * 1000)));
    record(
        &mut latencies,
        "cache",
        [Measurement { kind: Kind::Client, error: true, ..measurement("GET", 5000) }],
    );
    let hops = self::hops(&latencies, false);
    assert_eq!(hops.len(), 2, "kinds are separate series");
    let server = &hops[0];
    assert_eq!((server.count, server.errors, server.kind), (1000, 0, Kind::Server));
    assert!((server.latency_us.p50 - 500.0).abs() < 1.0, "{server:?}");
    assert!((server.latency_us.p999 - 999.0).abs() < 2.0, "{server:?}");
    assert!((server.latency_us.mean - 500.5).abs() < 1.0, "{server:?}");
    assert_eq!((hops[1].count, hops[1].errors), (1, 1));
    assert_eq!(latencies.services(), ["cache"]);
}

#[test]
fn the_encoded_histogram_decodes_to_the_recorded_one() {
    let mut latencies = Latencies::new(1 << 30);
    record(&mut latencies, "a", [measurement("x", 7), measurement("x", 123_456_789)]);
    let hop = hops(&latencies, true).remove(0);
    assert_eq!(hop.unit.as_deref(), Some("ns"));
    let bytes = base64::engine::general_purpose::STANDARD.decode(hop.histogram.unwrap()).unwrap();
    let decoded: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
    assert_eq!(decoded.len(), 2);
    assert_eq!(decoded.min(), 7);
    let mean = (7.0 + 123_456_789.0) / 2.0 / 1e3;
    assert_eq!(Summary { mean, ..Summary::of(&decoded) }, hop.latency_us);
}

#[test]
fn bounds_the_series_and_counts_the_overflow() {
    let mut latencies = Latencies::new(1 << 30);
    for number in 0..MAX_SERIES + 10 {
        record(&mut latencies, "ids", [measurement(&format!("GET /{number}"), 1)]);
    }
    assert_eq!((latencies.series(), latencies.overflow()), (MAX_SERIES, 10));
    record(&mut latencies, "ids", [measurement("GET /0", 1)]);
    assert_eq!(latencies.overflow(), 10, "a known series still records");
    record(&mut latencies, "new service", [measurement("x", 1), measurement("y", 1)]);
    assert_eq!(latencies.overflow(), 12);
    assert_eq!(latencies.services(), ["ids"]);
}

#[test]
fn truncates_long_names_and_durations() {
    let mut latencies = Latencies::new(1 << 30);
    let name = "ü".repeat(200);
    record(&mut latencies, "a", [measurement(&name, u64::MAX)]);
    let hop = hops(&latencies, false).remove(0);
    assert_eq!(hop.operation, "ü".repeat(128));
    assert!(hop.latency_us.max < 3.61e9, "{hop:?}");
}

#[test]
fn the_summary_of_an_empty_histogram_is_all_zeros() {
    assert_eq!(Summary::of(&Histogram::<u64>::new(3).unwrap()), Summary::default());
}

const SECOND: u64 = 1_000_000_000;
const NOON: u64 = 500_000 * SECOND;

fn ended(operation: &str, end_ns: u64, duration_ns: u64) -> Measurement<'_> {
    Measurement { start_ns: end_ns - duration_ns, end_ns, ..measurement(operation, duration_ns) }
}

fn record_at(latencies: &mut Latencies, now_ns: u64, measurements: &[Measurement<'_>]) {
    latencies.record_at(now_ns, "cache", measurements.iter().copied(), &mut Vec::new());
}

fn calls(latencies: &Latencies) -> Vec<(u32, u32)> {
    let recent = latencies
        .recent_calls(&(0..u32::MAX), false, |service, kind| (service, kind) == ("cache", Kind::Server));
    recent.operations.iter().flat_map(|(_, _, slots)| slots).map(|slot| (slot.index, slot.calls)).collect()
}

/// The bytes of all slots, counted independently.
fn slot_bytes(latencies: &Latencies) -> usize {
    latencies.rows().map(|(_, series)| series.timeline.bytes()).sum()
}

#[test]
fn recent_calls_are_grouped_by_end_time() {
    let mut latencies = Latencies::new(1 << 30);
    let earlier = ended("GET", NOON - 1, 1);
    record_at(&mut latencies, NOON, &[ended("GET", NOON, 9 * SECOND), earlier, ended("GET", NOON, 1)]);
    record_at(&mut latencies, NOON, &[Measurement { kind: Kind::Client, ..earlier }]);
    assert_eq!(calls(&latencies), [(99_999, 1), (100_000, 2)]);
    let all = latencies.recent_calls(&(0..100_000), true, |_, _| true);
    assert_eq!((all.kept, all.operations.len()), (99_999..100_001, 2), "kinds are separate series");
    assert!(all.operations.iter().all(|(service, operation, slots)| {
        (service.as_str(), operation.as_str(), slots.len()) == ("cache", "GET", 1)
    }));
}

#[test]
fn spans_outside_the_last_hour_count_only_in_the_histogram() {
    let mut latencies = Latencies::new(1 << 30);
    let spans = [ended("x", NOON, 1), ended("x", NOON + 10 * SECOND, 1), ended("x", NOON - 3600 * SECOND, 1)];
    record_at(&mut latencies, NOON, &spans);
    record(&mut latencies, "cache", [ended("x", u64::MAX, 1)]);
    assert_eq!(calls(&latencies), [(100_000, 1)]);
    assert_eq!(hops(&latencies, false)[0].count, 4);
}

#[test]
fn idle_operations_drop_slots_older_than_an_hour() {
    let mut latencies = Latencies::new(1 << 30);
    record_at(&mut latencies, NOON, &[ended("idle", NOON, 1), ended("busy", NOON, 1)]);
    let later = NOON + 3600 * SECOND;
    record_at(&mut latencies, later, &[ended("busy", later, 1)]);
    assert_eq!(calls(&latencies), [(100_720, 1)]);
    let idle = latencies.rows().find(|((_, operation, _), _)| *operation == "idle").unwrap().1;
    assert_eq!(idle.timeline.bytes(), 0);
}

#[test]
fn bounds_the_last_hour_and_counts_its_bytes_exactly() {
    const MAX: usize = 1 << 20;
    let mut latencies = Latencies::new(MAX);
    let names: Vec<String> = (0..20).map(|number| format!("GET /{number}")).collect();
    for second in 0..7200_u64 {
        let end_ns = NOON + second * SECOND;
        let duration_ns = |number: usize| 1000 << ((number as u64 + second) % 20);
        let measurements =
            names.iter().enumerate().map(|(number, name)| ended(name, end_ns, duration_ns(number)));
        record_at(&mut latencies, end_ns, &measurements.collect::<Vec<_>>());
        let slots = slot_bytes(&latencies);
        assert!(slots <= MAX / HOUR_DIVISOR, "{slots} after {second} s");
        let others: usize = latencies.rows().map(|(_, series)| series.bytes()).sum();
        assert_eq!(latencies.bytes(), slots + others);
    }
    assert!(slot_bytes(&latencies) > MAX / HOUR_DIVISOR / 2, "uses its share");
    let recent = latencies.recent_calls(&(0..u32::MAX), false, |_, _| true);
    assert!(recent.kept.len() > 20 && recent.kept.end == 101_440, "{:?}", recent.kept);
    for (_, operation, slots) in recent.operations {
        assert_eq!(slots.len(), recent.kept.len(), "{operation} keeps the same range as all others");
        assert!(slots.iter().all(|slot| slot.calls == 5), "{slots:?}");
    }
}

#[test]
fn keeps_no_slots_without_space_for_them() {
    let mut latencies = Latencies::new(0);
    record_at(&mut latencies, NOON, &[ended("x", NOON, 1), ended("x", NOON - 1, 1)]);
    assert_eq!((slot_bytes(&latencies), calls(&latencies).len()), (0, 0));
    assert_eq!(hops(&latencies, false)[0].count, 2);
}

#[test]
fn a_registered_group_has_rows_of_its_own() {
    let (ours, others) = (TraceGroup(7), TraceGroup(8));
    let of = |group, duration_ns| Measurement { group, ..measurement("GET", duration_ns) };
    let mut latencies = Latencies::new(1 << 30);
    record(&mut latencies, "cache", [of(ours, 1000)]);
    assert!(latencies.group_hops(ours, true).is_none(), "not registered");
    latencies.register_group(ours);
    let before = latencies.bytes();
    record(&mut latencies, "cache", [of(ours, 2000), Measurement { error: true, ..of(ours, 4000) }]);
    record(&mut latencies, "cache", [of(others, 9_000_000)]);
    assert!(latencies.bytes() > before, "the histogram of the group counts");
    let group = latencies.group_hops(ours, true).unwrap();
    assert_eq!((group.hops.len(), group.overflow), (1, 0));
    let hop = &group.hops[0];
    assert_eq!((hop.count, hop.errors, hop.service.as_str()), (2, 1, "cache"));
    assert!((hop.latency_us.max - 4.0).abs() < 0.01 && hop.histogram.is_some(), "{hop:?}");
    assert_eq!(self::hops(&latencies, false)[0].count, 4, "the table of all spans has them too");
}

#[test]
fn a_new_group_replaces_the_oldest() {
    let mut latencies = Latencies::new(1 << 30);
    latencies.register_group(TraceGroup(1));
    let of_first = || Measurement { group: TraceGroup(1), ..measurement("GET", 1000) };
    record(&mut latencies, "cache", [of_first()]);
    let with_first = latencies.bytes();
    (2..=groups::MAX_GROUPS as u64 + 1).for_each(|group| latencies.register_group(TraceGroup(group)));
    assert!(latencies.group_hops(TraceGroup(1), false).is_none());
    assert!(latencies.group_hops(TraceGroup(2), false).is_some());
    assert!(latencies.bytes() < with_first, "its histogram is gone");
    record(&mut latencies, "cache", [of_first()]);
    assert_eq!(self::hops(&latencies, false)[0].count, 2);
}

#[test]
fn spans_of_a_group_that_have_no_series_count_as_its_overflow() {
    let group = TraceGroup(7);
    let mut latencies = Latencies::new(1 << 30);
    latencies.register_group(group);
    let names: Vec<String> = (0..MAX_SERIES).map(|number| format!("GET /{number}")).collect();
    record(&mut latencies, "ids", names.iter().map(|name| measurement(name, 1)));
    let of_group = |operation| Measurement { group, ..measurement(operation, 1) };
    record(&mut latencies, "ids", [of_group("GET /0"), of_group("new"), measurement("new", 1)]);
    assert_eq!(latencies.group_hops(group, false).unwrap().overflow, 1);
    record(&mut latencies, "new service", [of_group("x"), of_group("y"), measurement("x", 1)]);
    let hops = latencies.group_hops(group, false).unwrap();
    assert_eq!((hops.hops.len(), hops.overflow, latencies.overflow()), (1, 3, 5));
}
