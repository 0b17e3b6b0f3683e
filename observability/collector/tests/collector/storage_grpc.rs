//! The services by which a Jaeger keeps its traces in the collector.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost_types::{Duration, Timestamp};
use serde_json::json;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::grpc_client::storage::capabilities_client::CapabilitiesClient;
use crate::grpc_client::storage::dependency_reader_client::DependencyReaderClient;
use crate::grpc_client::storage::trace_reader_client::TraceReaderClient;
use crate::grpc_client::storage::{
    AnyValue, FindTraceIDsRequest, FindTraceSummariesRequest, FindTracesRequest, GetCapabilitiesRequest,
    GetDependenciesRequest, GetOperationsRequest, GetServicesRequest, GetTraceParams, GetTracesRequest,
    KeyValue, TraceQueryParameters, any_value,
};
use crate::grpc_client::{channel, complete, ids, received, seconds, trace_id};
use crate::support::{CLIENT, Collector, SERVER, export, protobuf, span};

/// A collector with two traces, written through the storage's port.
async fn written() -> (Collector, Channel) {
    let collector = Collector::start().await;
    let channel = channel(&collector).await;
    let mut writer = TraceServiceClient::new(channel.clone());
    let mut call = span(7, 2, 1, CLIENT);
    // Jaeger sorts attributes itself.
    call["attributes"] = json!([
        { "key": "z", "value": { "intValue": "3" } },
        { "key": "a", "value": { "boolValue": true } },
    ]);
    for (service, spans) in [
        ("web", json!([span(7, 1, 0, SERVER), call])),
        ("store", json!([span(7, 3, 2, SERVER)])),
        ("web", json!([span(8, 1, 0, 0)])),
    ] {
        writer.export(protobuf(&export(service, "test", spans))).await.unwrap();
    }
    (collector, channel)
}

fn params(ids: impl IntoIterator<Item = Vec<u8>>) -> GetTracesRequest {
    let query = |trace_id| GetTraceParams { trace_id, ..Default::default() };
    GetTracesRequest { query: ids.into_iter().map(query).collect() }
}

fn bytes(id: u128) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

#[tokio::test]
async fn returns_the_known_traces_unadjusted_and_each_once() {
    let (collector, channel) = written().await;
    let mut reader = TraceReaderClient::new(channel);
    let wanted = [bytes(99), bytes(7), 8_u64.to_be_bytes().to_vec(), bytes(7)];
    let chunks = complete(reader.get_traces(params(wanted)).await).await;
    assert_eq!(chunks.iter().map(ids).collect::<Vec<_>>(), [vec![(7, 1), (7, 2), (7, 3)], vec![(8, 1)]]);
    let call = &chunks[0].resource_spans[0].scope_spans[0].spans[1];
    assert_eq!(call.attributes.iter().map(|attribute| &*attribute.key).collect::<Vec<_>>(), ["z", "a"]);

    assert!(complete(reader.get_traces(params([bytes(99)])).await).await.is_empty());
    assert!(complete(reader.get_traces(params([])).await).await.is_empty());
    let (_, error) = received(reader.get_traces(params([bytes(7), vec![1, 2]])).await).await;
    assert_eq!(error.map(|status| status.code()), Some(Code::InvalidArgument));
    collector.stop().await;
}

#[tokio::test]
async fn lists_services_operations_and_capabilities() {
    let (collector, channel) = written().await;
    let mut reader = TraceReaderClient::new(channel.clone());
    let services = reader.get_services(GetServicesRequest {}).await.unwrap().into_inner().services;
    assert_eq!(services, ["store", "web"]);
    let mut operations = async |span_kind: &str| {
        let request = GetOperationsRequest { service: "web".to_owned(), span_kind: span_kind.to_owned() };
        let operations = reader.get_operations(request).await.unwrap().into_inner().operations;
        operations.into_iter().map(|operation| (operation.name, operation.span_kind)).collect::<Vec<_>>()
    };
    let named = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
    let all = [named("operation 1", ""), named("operation 1", "server"), named("operation 2", "client")];
    assert_eq!(operations("").await, all);
    assert_eq!(operations("client").await, all[2..]);

    let mut capabilities = CapabilitiesClient::new(channel);
    let reply = capabilities.get_capabilities(GetCapabilitiesRequest {}).await.unwrap().into_inner();
    let search = reply.search.unwrap();
    assert!(search.without_service_name && search.same_span_conjunction && search.filter.is_none());
    collector.stop().await;
}

#[tokio::test]
async fn finds_traces_their_ids_and_summaries_by_all_conditions() {
    let (collector, channel) = written().await;
    let mut reader = TraceReaderClient::new(channel);
    let all = || TraceQueryParameters { search_depth: 10, ..Default::default() };
    let ms = |ms: i32| Some(Duration { seconds: 0, nanos: ms * 1_000_000 });
    type Query = TraceQueryParameters;
    for (query, expected) in [
        (all(), &[8, 7][..]),
        (Query { search_depth: 0, ..all() }, &[8, 7]),
        (Query { search_depth: 1, ..all() }, &[8]),
        (Query { service_name: "store".to_owned(), ..all() }, &[7]),
        (Query { operation_name: "operation 2".to_owned(), ..all() }, &[7]),
        (Query { attributes: vec![attribute("z", any_value::Value::IntValue(3))], ..all() }, &[7]),
        (
            Query {
                attributes: vec![attribute("z", any_value::Value::StringValue("3".to_owned()))],
                ..all()
            },
            &[7],
        ),
        (Query { attributes: vec![attribute("z", any_value::Value::IntValue(4))], ..all() }, &[]),
        (Query { start_time_min: seconds(1), start_time_max: seconds(2), ..all() }, &[8, 7]),
        (Query { start_time_min: seconds(2), ..all() }, &[]),
        (Query { start_time_max: seconds(0), ..all() }, &[]),
        (Query { start_time_min: seconds(-62_135_596_800), ..all() }, &[8, 7]),
        (Query { duration_min: ms(2), duration_max: ms(2), ..all() }, &[8, 7]),
        (Query { duration_min: ms(3), ..all() }, &[]),
    ] {
        let request = FindTracesRequest { query: Some(query.clone()) };
        let chunks = complete(reader.find_traces(request).await).await;
        let found: Vec<u128> = chunks.iter().map(|chunk| ids(chunk)[0].0).collect();
        assert_eq!(found, expected, "{query:?}");

        let request = FindTraceIDsRequest { query: Some(query.clone()) };
        let found = reader.find_trace_i_ds(request).await.unwrap().into_inner().trace_ids;
        assert_eq!(found.iter().map(|found| trace_id(&found.trace_id)).collect::<Vec<_>>(), expected);
        for found in found {
            assert_eq!(found.start, seconds(1));
            assert_eq!(found.end, Some(Timestamp { seconds: 1, nanos: 2_000_000 }));
        }

        let request = FindTraceSummariesRequest { query: Some(query) };
        let chunks = complete(reader.find_trace_summaries(request).await).await;
        let summaries: Vec<_> = chunks.into_iter().flat_map(|chunk| chunk.summaries).collect();
        assert_eq!(summaries.iter().map(|found| trace_id(&found.trace_id)).collect::<Vec<_>>(), expected);
        for found in summaries {
            let spans = if trace_id(&found.trace_id) == 7 { 3 } else { 1 };
            assert_eq!((found.span_count, &*found.root_service_name), (spans, "web"));
        }
    }
    collector.stop().await;
}

#[tokio::test]
async fn refuses_a_search_without_conditions_or_with_a_filter() {
    let (collector, channel) = written().await;
    let mut reader = TraceReaderClient::new(channel);
    let code = |error: Option<Status>| error.map(|status| status.code());
    for query in [None, Some(TraceQueryParameters { filter: Some(()), ..Default::default() })] {
        let (_, error) = received(reader.find_traces(FindTracesRequest { query: query.clone() }).await).await;
        assert_eq!(code(error), Some(Code::InvalidArgument));
        let error = reader.find_trace_i_ds(FindTraceIDsRequest { query: query.clone() }).await.err();
        assert_eq!(code(error), Some(Code::InvalidArgument));
        let (_, error) =
            received(reader.find_trace_summaries(FindTraceSummariesRequest { query }).await).await;
        assert_eq!(code(error), Some(Code::InvalidArgument));
    }
    collector.stop().await;
}

#[tokio::test]
async fn counts_dependencies() {
    let (collector, channel) = written().await;
    let mut reader = DependencyReaderClient::new(channel);
    let request = |start, end| GetDependenciesRequest { start_time: seconds(start), end_time: seconds(end) };
    let reply = reader.get_dependencies(request(0, 60)).await.unwrap().into_inner();
    let calls: Vec<_> = reply.dependencies.iter().map(|d| (&*d.parent, &*d.child, d.call_count)).collect();
    assert_eq!(calls, [("web", "store", 1), ("web", "web", 1)]);
    let reply = reader.get_dependencies(request(2, 60)).await.unwrap().into_inner();
    assert!(reply.dependencies.is_empty());
    let error = reader.get_dependencies(GetDependenciesRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    collector.stop().await;
}
