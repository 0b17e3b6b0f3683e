use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::ingest::Ingest;
use crate::latency::Measurement;
use crate::query::jaeger::tests::{get, send};
use crate::query::jaeger::{Adjuster, router};
use crate::trace::{Kind, TraceGroup, TraceId};

/// 2026-11-23T17:44:01Z.
const END: u64 = 1_795_455_841_000;
const MS: u64 = 1_000_000;

fn span(operation: &str, end_ms: u64, duration_ns: u64) -> Measurement<'_> {
    let end_ns = end_ms * MS;
    let (trace_id, start_ns) = (Some(TraceId(1)), end_ns - duration_ns);
    let group = TraceGroup(0);
    Measurement { trace_id, group, operation, kind: Kind::Server, start_ns, end_ns, error: false }
}

/// A router over the latencies of the given spans, recorded a minute after [`END`].
fn router_with(spans: &[(&str, Measurement<'_>)]) -> Router {
    let ingest = Arc::new(Ingest::new(64 << 20, None));
    for (service, span) in spans {
        ingest.latencies().record_at((END + 60_000) * MS, service, [*span], &mut Vec::new());
    }
    router(ingest, Adjuster::default())
}

async fn text(router: &Router, path: &str) -> (u16, String) {
    let (status, body) = send(router, Request::get(path).body(Body::empty()).unwrap()).await;
    (status, String::from_utf8(body).unwrap())
}

/// Returns the points of the single series of `frontend`, in milliseconds before [`END`].
async fn points(router: &Router, metric: &str, rest: &str) -> Vec<(i128, f64)> {
    let (status, reply) =
        get(router, &format!("/api/metrics/{metric}?service=frontend&endTs={END}&{rest}")).await;
    assert_eq!(status, 200, "{reply}");
    let series = reply["metrics"].as_array().unwrap();
    assert!(series.len() <= 1, "{reply}");
    let points = series.iter().flat_map(|series| series["metricPoints"].as_array().unwrap());
    let at_ms = |point: &Value| {
        crate::go_syntax::parse_time(point["timestamp"].as_str().unwrap()).unwrap() / 1_000_000
    };
    points
        .map(|point| (i128::from(END) - at_ms(point), point["gaugeValue"]["doubleValue"].as_f64().unwrap()))
        .collect()
}

#[tokio::test]
async fn returns_latencies_by_operation_as_jaeger_does() {
    let spans = [
        ("frontend", span("GET /cart", END - 63_000, 85_200_000)),
        ("frontend", span("GET /cart", END - 30_000, 88_200_000)),
        ("frontend", Measurement { kind: Kind::Client, ..span("GET /cart", END - 30_000, 900_000_000) }),
        ("cart", span("lookup", END - 30_000, 1000)),
    ];
    let query = format!("endTs={END}&lookback=60000&step=60000&ratePer=600000&spanKind=server");
    let path = format!("/api/metrics/latencies?service=frontend&quantile=0.95&groupByOperation=true&{query}");
    // The middle of the buckets of 85.2 ms and 88.2 ms.
    let expected = concat!(
        r#"{"name":"service_operation_latencies","type":"GAUGE","#,
        r#""help":"0.95th quantile latency, grouped by service & operation","#,
        r#""metrics":[{"labels":[{"name":"operation","value":"GET /cart"},{"name":"service_name","value":"frontend"}],"#,
        r#""metricPoints":[{"gaugeValue":{"doubleValue":84.9346555},"timestamp":"2026-11-23T17:43:01.000Z"},"#,
        r#"{"gaugeValue":{"doubleValue":89.1289595},"timestamp":"2026-11-23T17:44:01.000Z"}]}]}"#,
    );
    assert_eq!(text(&router_with(&spans), &path).await, (200, expected.to_owned()));
}

#[tokio::test]
async fn returns_errors_of_a_service_as_jaeger_does() {
    let mut spans: Vec<_> =
        (0..20).map(|number| ("frontend", span("GET /cart", END - 60_000 + number * 1000, 1))).collect();
    spans[7].1.error = true;
    let query = format!("endTs={END}&lookback=0&step=60000&ratePer=600000&spanKind=server");
    let expected = concat!(
        r#"{"name":"service_error_rate","type":"GAUGE","#,
        r#""help":"error rate, computed as a fraction of errors/sec over calls/sec, grouped by service","#,
        r#""metrics":[{"labels":[{"name":"service_name","value":"frontend"}],"#,
        r#""metricPoints":[{"gaugeValue":{"doubleValue":0.05},"timestamp":"2026-11-23T17:44:01.000Z"}]}]}"#,
    );
    let reply = text(&router_with(&spans), &format!("/api/metrics/errors?service=frontend&{query}")).await;
    assert_eq!(reply, (200, expected.to_owned()));
}

#[tokio::test]
async fn call_rates_are_averaged_over_the_time_with_data() {
    // Ten calls per second from 61 s until 31 s before the end.
    let mut spans: Vec<_> =
        (0..300).map(|number| ("frontend", span("x", END - 61_000 + number * 100, 1))).collect();
    spans.push(("cart", span("x", END - 15_000, 1)));
    let router = router_with(&spans);
    let rates = points(&router, "calls", "lookback=70000&step=10000&ratePer=10000").await;
    let expected = [(50_000, 10.0), (40_000, 10.0), (30_000, 10.0), (20_000, 0.0), (10_000, 0.0)];
    assert_eq!(rates, expected, "no points before the first call and none with empty windows");
    let rates = points(&router, "calls", "lookback=60000&step=30000&ratePer=600000").await;
    assert_eq!(rates, [(30_000, 10.0), (0, 5.0)]);
}

#[tokio::test]
async fn omits_points_whose_window_has_no_spans() {
    let router = router_with(&[("frontend", span("x", END - 33_000, 100)), ("cart", span("x", END - 1, 1))]);
    for (metric, value) in [("errors", 0.0), ("latencies", 1e-4)] {
        let points = points(&router, metric, "quantile=1&lookback=60000&step=5000&ratePer=10000").await;
        assert_eq!(
            points.iter().map(|(before, _)| *before).collect::<Vec<_>>(),
            [30_000, 25_000],
            "{metric}"
        );
        assert!(points.iter().all(|(_, actual)| (actual - value).abs() <= value * 0.032), "{points:?}");
    }
    for rest in
        ["service=nosuch", "service=frontend&spanKind=client", "service=frontend&lookback=10000&ratePer=5000"]
    {
        let (status, reply) = get(&router, &format!("/api/metrics/errors?{rest}&endTs={END}")).await;
        assert_eq!((status, &reply["metrics"]), (200, &json!([])), "{rest}");
    }
}

#[tokio::test]
async fn groups_by_service_and_optionally_by_operation() {
    let client = Measurement { kind: Kind::Client, error: true, ..span("x", END - 10_000, 1) };
    let router = router_with(&[
        ("b", span("y", END - 10_000, 1)),
        ("b", span("x", END - 10_000, 1)),
        ("b", client),
        ("a", span("x", END - 10_000, 1)),
    ]);
    let both = "spanKind=SPAN_KIND_CLIENT&spanKind=server";
    for (rest, expected) in [
        ("service=b", json!([["b", 0.0]])),
        ("service=b&service=a&service=b", json!([["a", 0.0], ["b", 0.0]])),
        ("service=b&spanKind=client", json!([["b", 1.0]])),
        (&format!("service=b&{both}"), json!([["b", 1.0 / 3.0]])),
        (&format!("service=b&groupByOperation=true&{both}"), json!([["x", "b", 0.5], ["y", "b", 0.0]])),
    ] {
        let (_, reply) = get(&router, &format!("/api/metrics/errors?{rest}&endTs={END}&lookback=0")).await;
        let rows = reply["metrics"].as_array().unwrap().iter().map(|series| {
            let labels = series["labels"].as_array().unwrap().iter().map(|label| label["value"].clone());
            let points = series["metricPoints"].as_array().unwrap().iter();
            labels.chain(points.map(|point| point["gaugeValue"]["doubleValue"].clone())).collect::<Value>()
        });
        assert_eq!(rows.collect::<Value>(), expected, "{rest}");
    }
}

#[tokio::test]
async fn points_are_aligned_to_the_end_for_any_lookback() {
    let router = router_with(&[("frontend", span("x", END - 33_000, 1))]);
    for lookback in ["21000", "27999", "3600000", "604800000", "9223372036854"] {
        let points = points(&router, "calls", &format!("lookback={lookback}&step=7000&ratePer=20000")).await;
        let before: Vec<_> =
            points.into_iter().map(|(before, _)| before).filter(|before| *before <= 21_000).collect();
        assert_eq!(before, [21_000, 14_000], "{lookback}");
    }
}

#[tokio::test]
async fn answers_an_hour_with_the_uis_defaults_and_rejects_too_many_points() {
    let spans: Vec<_> = (0..720).map(|slot| ("frontend", span("x", END - 1 - slot * 5000, 1))).collect();
    let router = router_with(&spans);
    assert_eq!(points(&router, "calls", "").await.len(), 719);
    assert_eq!(points(&router, "calls", "step=328").await.len(), 10_949);
    let too_many = "use a larger step or a shorter lookback";
    for rest in ["step=327", "step=1&lookback=604800000", "step=1&ratePer=9223372036854"] {
        let path = format!("/api/metrics/calls?service=frontend&endTs={END}&{rest}");
        let (status, reply) = get(&router, &path).await;
        let message = reply["errors"][0]["msg"].as_str().unwrap();
        assert!(status == 400 && message.ends_with(too_many), "{rest}: {reply}");
    }
    let names: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let spans: Vec<_> = names.iter().map(|name| ("frontend", span(name, END - 1_000_000, 1))).collect();
    let path = format!(
        "/api/metrics/calls?service=frontend&endTs={END}&groupByOperation=1&ratePer=3600000&step=100&lookback=1000000"
    );
    let (status, reply) = get(&router_with(&spans), &path).await;
    assert!(status == 400 && reply["errors"][0]["msg"].as_str().unwrap().ends_with(too_many), "{reply}");
}

#[tokio::test]
async fn the_minimum_step_is_a_slot() {
    let (status, reply) = get(&router_with(&[]), "/api/metrics/minstep").await;
    let expected = json!({ "data": 5000, "total": 0, "limit": 0, "offset": 0, "errors": null });
    assert_eq!((status, reply), (200, expected));
}

#[tokio::test]
async fn rejects_invalid_parameters_with_jaegers_messages() {
    let router = router_with(&[]);
    let float = |text| {
        format!("unable to parse param 'quantile': strconv.ParseFloat: parsing \"{text}\": invalid syntax")
    };
    let int = |name, text| {
        format!("unable to parse param '{name}': strconv.ParseInt: parsing \"{text}\": invalid syntax")
    };
    let service = "unable to parse param 'service': please provide at least one service name".to_owned();
    let range = "unable to parse param 'quantile': must be from 0 to 1".to_owned();
    let positive = |name| format!("unable to parse param '{name}': must be greater than 0");
    for (rest, msg) in [
        ("latencies?service=s", float("")),
        ("latencies?service=s&quantile=x", float("x")),
        ("latencies?service=s&quantile=1.01", range.clone()),
        ("latencies?service=s&quantile=-0.1", range.clone()),
        ("latencies?service=s&quantile=NaN", range),
        ("latencies?quantile=0.5", service.clone()),
        ("calls", service.clone()),
        ("errors?service=", service),
        ("calls?service=s&endTs=x", int("endTs", "x")),
        ("calls?service=s&lookback=1h", int("lookback", "1h")),
        ("calls?service=s&step=1.5", int("step", "1.5")),
        ("calls?service=s&ratePer=x", int("ratePer", "x")),
        ("calls?service=s&lookback=-1", "unable to parse param 'lookback': must not be negative".to_owned()),
        ("calls?service=s&step=0", positive("step")),
        ("calls?service=s&step=-1", positive("step")),
        ("calls?service=s&ratePer=0", positive("ratePer")),
        (
            "calls?service=s&spanKind=foo",
            "unable to parse param 'spanKind': unsupported span kind: 'foo'".to_owned(),
        ),
        (
            "calls?service=s&groupByOperation=foo",
            "unable to parse param 'groupByOperation': strconv.ParseBool: parsing \"foo\": invalid syntax"
                .to_owned(),
        ),
    ] {
        let expected = json!({ "data": null, "total": 0, "limit": 0, "offset": 0, "errors": [{ "code": 400, "msg": msg }] });
        assert_eq!(get(&router, &format!("/api/metrics/{rest}")).await, (400, expected), "{rest}");
    }
}

#[tokio::test]
async fn answers_the_earliest_and_the_latest_representable_times() {
    let router = router_with(&[("frontend", span("x", END, 1))]);
    for end in ["-9223372036854", "0", "9223372036854"] {
        for rest in ["", "&lookback=9223372036854", "&ratePer=9223372036854", "&step=9223372036854"] {
            let path = format!("/api/metrics/calls?service=frontend&endTs={end}{rest}");
            let (status, reply) = get(&router, &path).await;
            assert_eq!(status, 200, "{path}: {reply}");
        }
    }
}
