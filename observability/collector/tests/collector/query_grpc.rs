//! Jaeger's query services over gRPC.

use std::collections::BTreeMap;

use http::StatusCode;
use prost::Message as _;
use prost_types::{Duration, Timestamp};
use serde_json::{Value, json};
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};

use crate::grpc_client::api_v2::query_service_client::QueryServiceClient as ClientV2;
use crate::grpc_client::api_v3::query_service_client::QueryServiceClient as ClientV3;
use crate::grpc_client::{api_v2, api_v3, channel, complete, ids, received, seconds};
use crate::support::{CLIENT, Collector, SERVER, hex, span};

/// A window around the times of [`span`].
fn window() -> api_v3::TraceQueryParameters {
    api_v3::TraceQueryParameters {
        start_time_min: seconds(0),
        start_time_max: seconds(60),
        ..Default::default()
    }
}

fn find(query: api_v3::TraceQueryParameters) -> api_v3::FindTracesRequest {
    api_v3::FindTracesRequest { query: Some(query) }
}

/// A collector with trace 7 of `web`, which calls `store`, and trace 8 of `web` alone, with a span of unspecified kind.
async fn collector_with_traces() -> Collector {
    let collector = Collector::start().await;
    let mut call = span(7, 2, 1, CLIENT);
    call["attributes"] = json!([
        { "key": "z", "value": { "stringValue": "text" } },
        { "key": "count", "value": { "intValue": "9007199254740993" } },
        { "key": "ratio", "value": { "doubleValue": 0.5 } },
        { "key": "cold", "value": { "boolValue": true } },
        { "key": "raw", "value": { "bytesValue": "AQI=" } },
    ]);
    call["endTimeUnixNano"] = json!("1002000003");
    call["status"] = json!({ "code": 2, "message": "unavailable" });
    call["events"] = json!([{ "name": "retry", "timeUnixNano": "1001000007" }]);
    call["links"] = json!([{ "traceId": hex(9), "spanId": "0000000000000003" }]);
    collector.accept("web", json!([span(7, 1, 0, SERVER), call])).await;
    collector.accept("store", json!([span(7, 3, 2, SERVER)])).await;
    collector.accept("web", json!([span(8, 1, 0, 0)])).await;
    collector
}

#[tokio::test]
async fn version_3_answers_every_call() {
    let collector = collector_with_traces().await;
    let mut client = ClientV3::new(channel(&collector).await);

    let services = client.get_services(api_v3::GetServicesRequest {}).await.unwrap().into_inner().services;
    assert_eq!(services, ["store", "web"]);

    let operations = |span_kind: &str| api_v3::GetOperationsRequest {
        service: "web".to_owned(),
        span_kind: span_kind.to_owned(),
    };
    let all = client.get_operations(operations("")).await.unwrap().into_inner().operations;
    let all: Vec<_> = all.iter().map(|operation| (&*operation.name, &*operation.span_kind)).collect();
    assert_eq!(all, [("operation 1", ""), ("operation 1", "server"), ("operation 2", "client")]);
    let of_kind = client.get_operations(operations("client")).await.unwrap().into_inner().operations;
    assert_eq!(of_kind.iter().map(|operation| &*operation.name).collect::<Vec<_>>(), ["operation 2"]);

    for id in [hex(7), "7".to_owned()] {
        let request = api_v3::GetTraceRequest { trace_id: id, ..Default::default() };
        let chunks = complete(client.get_trace(request).await).await;
        assert_eq!(chunks.iter().map(ids).collect::<Vec<_>>(), [[(7, 1), (7, 2), (7, 3)]]);
    }

    let of_web = api_v3::TraceQueryParameters { service_name: "web".to_owned(), ..window() };
    let chunks = complete(client.find_traces(find(of_web.clone())).await).await;
    assert_eq!(chunks.iter().map(ids).collect::<Vec<_>>(), [vec![(8, 1)], vec![(7, 1), (7, 2), (7, 3)]]);

    let request = api_v3::FindTraceSummariesRequest { query: Some(of_web) };
    let chunks = complete(client.find_trace_summaries(request).await).await;
    let service = |name: &str, span_count, error_span_count| api_v3::ServiceSummary {
        name: name.to_owned(),
        span_count,
        error_span_count,
    };
    let expected = api_v3::TraceSummary {
        trace_id: hex(7),
        root_service_name: "web".to_owned(),
        root_operation_name: "operation 1".to_owned(),
        min_start_time_unix_nano: 1_000_000_000,
        max_end_time_unix_nano: 1_002_000_003,
        span_count: 3,
        error_span_count: 1,
        orphan_span_count: 0,
        services: vec![service("store", 1, 0), service("web", 2, 1)],
    };
    let summaries: Vec<_> = chunks.into_iter().flat_map(|chunk| chunk.summaries).collect();
    assert_eq!((summaries.len(), &summaries[1]), (2, &expected));

    let request = api_v3::GetDependenciesRequest { start_time: seconds(0), end_time: seconds(60) };
    let dependencies = client.get_dependencies(request).await.unwrap().into_inner().dependencies;
    let calls: Vec<_> = dependencies.iter().map(|d| (&*d.parent, &*d.child, d.call_count)).collect();
    assert_eq!(calls, [("web", "store", 1), ("web", "web", 1)]);
    collector.stop().await;
}

#[tokio::test]
async fn version_3_streams_what_it_answers_over_http() {
    let collector = collector_with_traces().await;
    let mut client = ClientV3::new(channel(&collector).await);
    for raw in [false, true] {
        let request = api_v3::GetTraceRequest { trace_id: hex(7), raw_traces: raw, ..Default::default() };
        let chunks = complete(client.get_trace(request).await).await;
        let http = collector.get(&format!("/api/v3/traces/{}?rawTraces={raw}", hex(7))).await.json();
        let by_http: opentelemetry_proto::tonic::trace::v1::TracesData =
            serde_json::from_value(http["result"].clone()).unwrap();
        assert_eq!(chunks, [by_http]);
    }
    collector.stop().await;
}

#[tokio::test]
async fn version_2_answers_every_call() {
    let collector = collector_with_traces().await;
    let mut client = ClientV2::new(channel(&collector).await);

    let services = client.get_services(api_v2::GetServicesRequest {}).await.unwrap().into_inner().services;
    assert_eq!(services, ["store", "web"]);

    let request = api_v2::GetOperationsRequest { service: "web".to_owned(), span_kind: String::new() };
    let reply = client.get_operations(request).await.unwrap().into_inner();
    assert_eq!(reply.operation_names, ["operation 1", "operation 2"]);
    let kinds: Vec<_> = reply.operations.iter().map(|operation| &*operation.span_kind).collect();
    assert_eq!(kinds, ["", "server", "client"]);

    let trace_id = 7_u128.to_be_bytes().to_vec();
    for trace_id in [trace_id.clone(), 7_u64.to_be_bytes().to_vec()] {
        let request = api_v2::GetTraceRequest { trace_id, ..Default::default() };
        let chunks = complete(client.get_trace(request).await).await;
        assert_eq!(chunks.len(), 1, "one chunk");
        assert_eq!(chunks[0].spans.len(), 3);
        check_call(&chunks[0].spans[1]);
    }

    let query = api_v2::TraceQueryParameters {
        service_name: "web".to_owned(),
        tags: [("z".to_owned(), "text".to_owned())].into(),
        ..Default::default()
    };
    let found = client.find_traces(api_v2::FindTracesRequest { query: Some(query) }).await;
    let spans: Vec<usize> = complete(found).await.iter().map(|chunk| chunk.spans.len()).collect();
    assert_eq!(spans, [3]);

    let request = api_v2::GetDependenciesRequest { start_time: seconds(0), end_time: seconds(60) };
    let links = client.get_dependencies(request).await.unwrap().into_inner().dependencies;
    let calls: Vec<_> = links.iter().map(|d| (&*d.parent, &*d.child, d.call_count)).collect();
    assert_eq!(calls, [("web", "store", 1), ("web", "web", 1)]);

    let request = api_v2::ArchiveTraceRequest { trace_id, ..Default::default() };
    let refused = client.archive_trace(request).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "failed to archive trace: archive span storage was not configured",
        "{refused}"
    );
    collector.stop().await;
}

/// Checks span 2 of trace 7 in Jaeger's model.
fn check_call(call: &api_v2::Span) {
    use api_v2::{KeyValue, SpanRef, SpanRefType, ValueType};
    let id = |id: u64| id.to_be_bytes().to_vec();
    let trace = |id: u128| id.to_be_bytes().to_vec();
    assert_eq!((&call.trace_id, &call.span_id, &*call.operation_name), (&trace(7), &id(2), "operation 2"));
    let reference =
        |trace_id, span_id, ref_type: SpanRefType| SpanRef { trace_id, span_id, ref_type: ref_type.into() };
    assert_eq!(
        call.references,
        [
            reference(trace(7), id(1), SpanRefType::ChildOf),
            reference(trace(9), id(3), SpanRefType::FollowsFrom)
        ]
    );
    assert_eq!(call.start_time, seconds(1));
    assert_eq!(call.duration, Some(Duration { seconds: 0, nanos: 2_000_003 }));
    let tag = |key: &str, v_type: ValueType| KeyValue {
        key: key.to_owned(),
        v_type: v_type.into(),
        ..Default::default()
    };
    let tags: BTreeMap<&str, &KeyValue> = call.tags.iter().map(|tag| (&*tag.key, tag)).collect();
    for expected in [
        KeyValue { v_str: "text".to_owned(), ..tag("z", ValueType::String) },
        KeyValue { v_int64: 9_007_199_254_740_993, ..tag("count", ValueType::Int64) },
        KeyValue { v_float64: 0.5, ..tag("ratio", ValueType::Float64) },
        KeyValue { v_bool: true, ..tag("cold", ValueType::Bool) },
        KeyValue { v_binary: vec![1, 2], ..tag("raw", ValueType::Binary) },
        KeyValue { v_str: "client".to_owned(), ..tag("span.kind", ValueType::String) },
        KeyValue { v_bool: true, ..tag("error", ValueType::Bool) },
        KeyValue { v_str: "unavailable".to_owned(), ..tag("otel.status_description", ValueType::String) },
    ] {
        assert_eq!(tags[&*expected.key], &expected);
    }
    assert_eq!(call.logs[0].timestamp, Some(Timestamp { seconds: 1, nanos: 1_000_007 }));
    assert_eq!((&*call.logs[0].fields[0].key, &*call.logs[0].fields[0].v_str), ("event", "retry"));
    assert_eq!(call.process.as_ref().map(|process| &*process.service_name), Some("web"));
}

fn refusal(status: Option<Status>) -> (Code, String) {
    let status = status.expect("an error");
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn malformed_requests_are_invalid_arguments_with_a_reason() {
    let collector = Collector::start().await;
    let mut client = ClientV3::new(channel(&collector).await);
    let ns = |nanos| Some(Duration { seconds: 0, nanos });
    type Query = api_v3::TraceQueryParameters;
    for (query, reason) in [
        (None, "missing query"),
        (Some(Query::default()), "query.start_time_min and query.start_time_max are required"),
        (
            Some(Query { start_time_min: seconds(-62_135_596_800), ..window() }),
            "query.start_time_min and query.start_time_max are required",
        ),
        (
            Some(Query { start_time_min: seconds(61), ..window() }),
            "query.start_time_min must be before query.start_time_max",
        ),
        (
            Some(Query { duration_min: ns(2), duration_max: ns(1), ..window() }),
            "query.duration_max must not be less than query.duration_min",
        ),
        (
            Some(Query { duration_min: ns(-1), ..window() }),
            "malformed parameter query.duration_min: must not be negative",
        ),
        (
            Some(Query { search_depth: -1, ..window() }),
            "malformed parameter query.search_depth: must be greater than 0",
        ),
        (
            Some(Query { search_depth: 10_001, ..window() }),
            "malformed parameter query.search_depth: must not be greater than 10000",
        ),
        (
            Some(Query { filter: Some(()), ..window() }),
            "malformed parameter query.filter: structured filters are not supported",
        ),
    ] {
        let (_, error) =
            received(client.find_traces(api_v3::FindTracesRequest { query: query.clone() }).await).await;
        assert_eq!(refusal(error), (Code::InvalidArgument, reason.to_owned()));
        let request = api_v3::FindTraceSummariesRequest { query };
        let (_, error) = received(client.find_trace_summaries(request).await).await;
        assert_eq!(refusal(error), (Code::InvalidArgument, reason.to_owned()));
    }

    let request = api_v3::GetTraceRequest { trace_id: "zzz".to_owned(), ..Default::default() };
    let by_grpc = refusal(received(client.get_trace(request).await).await.1);
    let by_http = collector.get("/api/v3/traces/zzz").await.json();
    assert_eq!(by_grpc, (Code::InvalidArgument, by_http["error"]["message"].as_str().unwrap().to_owned()));

    for (start, end, reason) in [
        (None, None, "start_time and end_time are required"),
        (seconds(2), seconds(1), "end_time must be after start_time"),
    ] {
        let request = api_v3::GetDependenciesRequest { start_time: start, end_time: end };
        let error = client.get_dependencies(request).await.unwrap_err();
        assert_eq!(refusal(Some(error)), (Code::InvalidArgument, reason.to_owned()));
    }

    collector.stop().await;
}

#[tokio::test]
async fn malformed_requests_of_version_2_are_invalid_arguments_with_a_reason() {
    let collector = Collector::start().await;
    let mut client = ClientV2::new(channel(&collector).await);
    for (trace_id, reason) in [
        (vec![], "it is missing or zero"),
        (vec![0; 16], "it is missing or zero"),
        (vec![1; 15], "it has 15 bytes instead of 16 or 8"),
    ] {
        let expected = (Code::InvalidArgument, format!("malformed parameter trace_id: {reason}"));
        let request = api_v2::GetTraceRequest { trace_id: trace_id.clone(), ..Default::default() };
        assert_eq!(refusal(received(client.get_trace(request).await).await.1), expected);
        let request = api_v2::ArchiveTraceRequest { trace_id, ..Default::default() };
        assert_eq!(refusal(client.archive_trace(request).await.err()), expected);
    }
    let (_, error) = received(client.find_traces(api_v2::FindTracesRequest { query: None }).await).await;
    assert_eq!(refusal(error), (Code::InvalidArgument, "missing query".to_owned()));
    let error = client.get_dependencies(api_v2::GetDependenciesRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    collector.stop().await;
}

#[tokio::test]
async fn an_unknown_trace_is_not_found_and_a_search_without_a_result_is_empty() {
    let collector = Collector::start().await;
    let channel = channel(&collector).await;
    let (mut v2, mut v3) = (ClientV2::new(channel.clone()), ClientV3::new(channel));
    let not_found = (Code::NotFound, "trace not found".to_owned());
    let request = api_v3::GetTraceRequest { trace_id: hex(7), ..Default::default() };
    assert_eq!(refusal(received(v3.get_trace(request).await).await.1), not_found);
    let request = api_v2::GetTraceRequest { trace_id: vec![7; 16], ..Default::default() };
    assert_eq!(refusal(received(v2.get_trace(request).await).await.1), not_found);

    assert!(complete(v3.find_traces(find(window())).await).await.is_empty());
    let request = api_v3::FindTraceSummariesRequest { query: Some(window()) };
    assert!(complete(v3.find_trace_summaries(request).await).await.is_empty());
    let request = api_v2::FindTracesRequest { query: Some(Default::default()) };
    assert!(complete(v2.find_traces(request).await).await.is_empty());
    let services = v3.get_services(api_v3::GetServicesRequest {}).await.unwrap().into_inner();
    assert!(services.services.is_empty());
    let request = api_v3::GetOperationsRequest::default();
    assert!(v3.get_operations(request).await.unwrap().into_inner().operations.is_empty());
    collector.stop().await;
}

#[tokio::test]
async fn a_trace_of_ten_thousand_spans_is_streamed_in_parts_that_clients_accept() {
    const SPANS: u64 = 10_000;
    let collector = Collector::with(256 << 20, None).await;
    let long = "x".repeat(500);
    for part in 0..10 {
        let spans: Vec<Value> = (1..=SPANS / 10)
            .map(|id| {
                let mut span = span(7, part * SPANS / 10 + id, 0, SERVER);
                span["attributes"] = json!([{ "key": "long", "value": { "stringValue": long } }]);
                span
            })
            .collect();
        collector.accept("web", json!(spans)).await;
    }
    let channel = channel(&collector).await;
    let in_order: Vec<u64> = (1..=SPANS).collect();

    let request = api_v3::GetTraceRequest { trace_id: hex(7), ..Default::default() };
    let chunks = complete(ClientV3::new(channel.clone()).get_trace(request).await).await;
    assert!(chunks.len() > 1 && chunks.iter().all(|chunk| chunk.encoded_len() <= 1 << 20));
    let spans: Vec<u64> = chunks.iter().flat_map(ids).map(|(_, span)| span).collect();
    assert_eq!(spans, in_order);

    let request = api_v2::GetTraceRequest { trace_id: 7_u128.to_be_bytes().to_vec(), ..Default::default() };
    let chunks = complete(ClientV2::new(channel).get_trace(request).await).await;
    assert!(chunks.len() > 1 && chunks.iter().all(|chunk| chunk.encoded_len() <= 1 << 20));
    let spans = chunks.iter().flat_map(|chunk| &chunk.spans);
    let spans: Vec<u64> =
        spans.map(|span| u64::from_be_bytes(span.span_id.as_slice().try_into().unwrap())).collect();
    assert_eq!(spans, in_order);
    collector.stop().await;
}

#[tokio::test]
async fn compressed_requests_are_accepted_and_long_ones_are_refused() {
    let collector = collector_with_traces().await;
    let channel = channel(&collector).await;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = ClientV3::new(channel.clone()).send_compressed(encoding).accept_compressed(encoding);
        assert_eq!(complete(client.find_traces(find(window())).await).await.len(), 2);
    }
    let query = api_v3::TraceQueryParameters { service_name: "s".repeat(2 << 20), ..window() };
    let (_, error) = received(ClientV3::new(channel).find_traces(find(query)).await).await;
    assert_eq!(error.unwrap().code(), Code::OutOfRange);
    assert_eq!(collector.get("/api/v3/services").await.status, StatusCode::OK);
    collector.stop().await;
}
