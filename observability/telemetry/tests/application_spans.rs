//! Spans of `tracing` and of the SDK form one trace, seen by a real OTLP/gRPC receiver.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::Request as HttpRequest;
use axum::routing::get;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use telemetry::{Endpoint, LogFilter, Settings, contract, database, server};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tower::ServiceExt as _;
use tracing::Instrument as _;

/// Keeps the spans that it receives.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        self.0.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Receiver {
    /// Starts the receiver and returns its URL.
    fn start(&self, runtime: &Runtime) -> String {
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let service = TraceServiceServer::new(self.clone());
            let server = tonic::transport::Server::builder().add_service(service);
            tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
            format!("http://{address}")
        })
    }

    fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().clone()
    }
}

async fn handler() -> &'static str {
    // An information-level span of a library is not exported, and its children keep their parent.
    helper().instrument(tracing::info_span!(target: "h2::client", "library")).await;
    "done"
}

#[tracing::instrument]
async fn helper() {
    tracing::error!("logged, and no failure of the span");
    let wait = telemetry::wait_span!("wait permit", permits = 1);
    tokio::task::yield_now().await;
    drop(wait);
    let no_code = |_: &std::io::Error| None;
    database::query("SELECT tutors", "SELECT 1", no_code, async {
        inner().await;
        Ok(())
    })
    .await
    .unwrap();
}

#[tracing::instrument(level = "info", name = "inside a statement")]
async fn inner() {}

#[tracing::instrument(level = "debug")]
async fn too_detailed() {}

const CALLER_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER_SPAN: &str = "b7ad6b7169203331";

/// Sends three requests: from an untrusted caller, with and without a sampled trace, and from a trusted caller.
async fn call_from_outside() {
    for (flags, trusted) in [("01", false), ("00", false), ("01", true)] {
        let routes = Router::new().route("/outside", get(|| async {}));
        let request = HttpRequest::get("/outside")
            .header("traceparent", format!("00-{CALLER_TRACE}-{CALLER_SPAN}-{flags}"))
            .header("tracestate", "vendor=1")
            .body(Body::empty())
            .unwrap();
        let response = server::traced_if(routes, move |_| trusted).oneshot(request).await.unwrap();
        let answering = telemetry::propagation::answering_trace(response.headers()).unwrap();
        assert_eq!(answering.to_string() == CALLER_TRACE, trusted);
    }
}

fn untrusted_callers_start_new_traces(spans: &[Span]) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (continued, new): (Vec<&Span>, Vec<&Span>) =
        spans.iter().partition(|span| hex(&span.trace_id) == CALLER_TRACE);
    let [trusted] = continued[..] else { panic!("{continued:?}") };
    assert_eq!((hex(&trusted.parent_span_id), trusted.links.len()), (CALLER_SPAN.to_owned(), 0));
    assert_eq!(new.len(), 2, "an unsampled caller cannot turn tracing off");
    for span in new {
        assert!(span.parent_span_id.is_empty());
        let [link] = &span.links[..] else { panic!("{span:?}") };
        let linked = (hex(&link.trace_id), hex(&link.span_id), link.trace_state.as_str());
        assert_eq!(linked, (CALLER_TRACE.to_owned(), CALLER_SPAN.to_owned(), ""));
    }
}

#[test]
fn tracing_spans_are_children_of_the_request_and_parents_of_sdk_spans() {
    let receiver = Receiver::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let settings = Settings {
        otlp_endpoint: Endpoint::Grpc(receiver.start(&runtime)),
        log_filter: LogFilter::off(),
        ..Settings::default()
    };
    let guard = telemetry::init("test", "test-1", &settings).unwrap();
    let routes = Router::new().route("/", get(|| async { (handler().await, too_detailed().await).0 }));
    let response = server::traced(routes).oneshot(HttpRequest::get("/").body(Body::empty()).unwrap());
    assert!(runtime.block_on(response).unwrap().status().is_success());
    runtime.block_on(call_from_outside());
    drop(guard);

    let (outside, spans): (Vec<Span>, Vec<Span>) =
        receiver.spans().into_iter().partition(|span| span.name == "GET /outside");
    untrusted_callers_start_new_traces(&outside);
    let mut names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["GET /", "SELECT tutors", "helper", "inside a statement", "wait permit"]);
    let span = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    for (child, parent) in [
        ("helper", "GET /"),
        ("wait permit", "helper"),
        ("SELECT tutors", "helper"),
        ("inside a statement", "SELECT tutors"),
    ] {
        assert_eq!(span(child).parent_span_id, span(parent).span_id, "parent of {child}");
        assert_eq!(span(child).trace_id, span(parent).trace_id, "trace of {child}");
    }
    assert_eq!(span("GET /").kind, SpanKind::Server as i32);
    let failed =
        |span: &Span| span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32);
    assert!(!failed(span("helper")));
    assert!(span("helper").events.is_empty());
    let value = |key: &str| {
        let attribute = span("wait permit").attributes.iter().find(|attribute| attribute.key == key);
        attribute.and_then(|attribute| attribute.value.clone()).and_then(|value| value.value)
    };
    assert_eq!(value(contract::WAIT), Some(Value::BoolValue(true)));
    assert_eq!(value("permits"), Some(Value::IntValue(1)));
}
