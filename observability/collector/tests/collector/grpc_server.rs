//! Health and reflection of the port of the gRPC queries.

use futures::StreamExt as _;
use prost::Message as _;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::grpc_client::channel;
use crate::support::Collector;

#[tokio::test]
async fn health_is_serving_until_the_collector_stops() {
    let collector = Collector::start().await;
    let mut client = HealthClient::new(channel(&collector).await);
    let request = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in [
        "",
        "jaeger.api_v2.QueryService",
        "jaeger.api_v2.metrics.MetricsQueryService",
        "jaeger.api_v3.QueryService",
        "jaeger.storage.v2.TraceReader",
        "jaeger.storage.v2.DependencyReader",
        "opentelemetry.proto.collector.trace.v1.TraceService",
    ] {
        let reply = client.check(request(service)).await.unwrap().into_inner();
        assert_eq!(reply.status, 1, "{service}");
    }
    assert_eq!(client.check(request("nosuch")).await.unwrap_err().code(), Code::NotFound);

    let mut watched = client.watch(request("")).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().map(|reply| reply.status), Some(1));
    let watching = tokio::spawn(async move {
        let mut statuses = Vec::new();
        while let Ok(Some(reply)) = watched.message().await {
            statuses.push(reply.status);
        }
        statuses
    });
    collector.stop().await;
    assert_eq!(watching.await.unwrap(), [2], "not serving, then the end");
}

/// Asks both versions of the reflection service, and returns the first reply of each.
macro_rules! reflected {
    ($version:ident, $collector:expr, $request:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let mut client = ServerReflectionClient::new(channel($collector).await);
        let (service, name) = $request;
        let request = if service {
            MessageRequest::ListServices(String::new())
        } else {
            MessageRequest::FileContainingSymbol(name)
        };
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let mut replies =
            client.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
        match replies.next().await.unwrap().unwrap().message_response.unwrap() {
            MessageResponse::ListServicesResponse(list) => {
                list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
            }
            MessageResponse::FileDescriptorResponse(files) => {
                let files = files.file_descriptor_proto.into_iter();
                files
                    .map(|file| prost_types::FileDescriptorProto::decode(&*file).unwrap().name().to_owned())
                    .collect()
            }
            other => panic!("{other:?}"),
        }
    }};
}

#[tokio::test]
async fn reflection_lists_the_services_and_describes_their_messages() {
    let collector = Collector::start().await;
    let list = (true, String::new());
    for services in [reflected!(v1, &collector, list.clone()), reflected!(v1alpha, &collector, list)] {
        for service in [
            "grpc.health.v1.Health",
            "jaeger.api_v2.QueryService",
            "jaeger.api_v3.QueryService",
            "jaeger.storage.v2.Capabilities",
            "jaeger.storage.v2.DependencyReader",
            "jaeger.storage.v2.TraceReader",
            "opentelemetry.proto.collector.trace.v1.TraceService",
        ] {
            assert!(services.iter().any(|listed| listed == service), "{service}: {services:?}");
        }
    }
    for (symbol, file) in [
        ("jaeger.api_v3.QueryService", "api_v3/query_service.proto"),
        ("jaeger.api_v2.Span", "api_v2/model.proto"),
        ("opentelemetry.proto.trace.v1.TracesData", "opentelemetry/proto/trace/v1/trace.proto"),
    ] {
        let request = (false, symbol.to_owned());
        assert_eq!(reflected!(v1, &collector, request.clone()), [file]);
        assert_eq!(reflected!(v1alpha, &collector, request), [file]);
    }
    collector.stop().await;
}
