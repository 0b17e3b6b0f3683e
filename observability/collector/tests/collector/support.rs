//! A collector in the test's own process, a client for it, and the spans that the tests send.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use collector::{Error, Listeners, Settings, Snapshot, run};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde_json::{Value, json};
use telemetry::contract;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Deadline for events that usually take milliseconds.
const DEADLINE: Duration = Duration::from_secs(20);

/// Kinds of spans in OTLP.
pub(crate) const INTERNAL: u8 = 1;
pub(crate) const SERVER: u8 = 2;
pub(crate) const CLIENT: u8 = 3;
pub(crate) const PRODUCER: u8 = 4;
pub(crate) const CONSUMER: u8 = 5;

/// Header of an OTLP/HTTP request with JSON.
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

/// Version 3's parameters for a window around the times of [`span`].
pub(crate) const WINDOW_V3: &str =
    "query.startTimeMin=1970-01-01T00:00:00Z&query.startTimeMax=1970-01-01T00:01:00Z";

pub(crate) struct Collector {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) query: SocketAddr,
    pub(crate) query_grpc: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) content_type: String,
    /// Value of `content-length`; `None` for a streamed response.
    pub(crate) length: Option<usize>,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::with(64 << 20, None).await
    }

    pub(crate) async fn with(store_max_bytes: usize, forward: Option<String>) -> Self {
        Self::run(Settings { store_max_bytes, otlp_forward_endpoint: forward, ..settings() }).await
    }

    pub(crate) async fn browsed(jaeger_ui: Option<PathBuf>, base_path: Option<&str>) -> Self {
        let base_path = base_path.unwrap_or_default().parse().unwrap();
        Self::run(Settings { jaeger_ui, base_path, ..settings() }).await
    }

    pub(crate) async fn with_clock_skew(max_clock_skew_adjust: Duration) -> Self {
        Self::run(Settings { max_clock_skew_adjust, ..settings() }).await
    }

    pub(crate) async fn run(settings: Settings) -> Self {
        let listeners = Listeners::bind(&settings).await.unwrap();
        let address = |listener: &TcpListener| listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        Self {
            grpc: address(&listeners.grpc),
            http: address(&listeners.http),
            query: address(&listeners.query),
            query_grpc: address(&listeners.query_grpc),
            client: Client::builder(TokioExecutor::new()).build_http(),
            running: tokio::spawn({
                let shutdown = shutdown.clone();
                async move { run(listeners, &settings, shutdown).await }
            }),
            shutdown,
        }
    }

    /// Starts a collector that was reopened from files; it has no receivers.
    pub(crate) async fn show(snapshot: Snapshot) -> Self {
        let query = listen().await;
        let address = query.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        Self {
            grpc: address,
            http: address,
            query: address,
            query_grpc: address,
            client: Client::builder(TokioExecutor::new()).build_http(),
            running: tokio::spawn({
                let shutdown = shutdown.clone();
                async move { snapshot.serve(query, &Settings::default(), shutdown).await }
            }),
            shutdown,
        }
    }

    /// Waits until the collector ends without being stopped, and returns its result.
    pub(crate) async fn ended(self) -> Result<(), Error> {
        tokio::time::timeout(DEADLINE, self.running).await.expect("ends in time").unwrap()
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.running).await.expect("stops in time").unwrap().unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(format!("http://{}{path}", self.query)), Bytes::new()).await
    }

    /// Sends a request with a header and returns the response with its headers.
    pub(crate) async fn get_with(&self, path: &str, name: HeaderName, value: &str) -> Response<Bytes> {
        let request = Request::get(format!("http://{}{path}", self.query)).header(name, value);
        let response = self.client.request(request.body(Full::default()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    /// Sends a request without a body to one of the collector's addresses.
    pub(crate) async fn request(&self, address: SocketAddr, method: &str, path: &str) -> Reply {
        self.send(Request::builder().method(method).uri(format!("http://{address}{path}")), Bytes::new())
            .await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        let request = Request::post(format!("http://{}{path}", self.query));
        self.send(request.header(header::CONTENT_TYPE, "application/json"), body.to_string().into()).await
    }

    pub(crate) async fn otlp(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        self.otlp_at("POST", "/v1/traces", headers, body).await
    }

    /// Sends a request to the OTLP/HTTP receiver.
    pub(crate) async fn otlp_at(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let request = Request::builder().method(method).uri(format!("http://{}{path}", self.http));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.send(request, body.into()).await
    }

    /// Sends a gRPC request with a body of any frames. Returns the status and the headers of the reply.
    pub(crate) async fn grpc(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (tonic::Status, HeaderMap) {
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let request = Request::post(format!("http://{}{path}", self.grpc));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
        let status = tonic::Status::from_header_map(&trailers);
        let status = status.or_else(|| tonic::Status::from_header_map(&head.headers));
        (status.expect("a gRPC status"), head.headers)
    }

    /// Sends a loss report and asserts that it is accepted.
    pub(crate) async fn report_losses(
        &self,
        service: &str,
        count: i64,
        reason: &str,
        traces: impl IntoIterator<Item = u128>,
    ) {
        let reply = self.otlp(&[JSON], loss_report(service, count, reason, traces).to_string()).await;
        assert_eq!((reply.status, reply.json()), (StatusCode::OK, json!({})));
    }

    /// Sends spans and asserts that all are accepted.
    pub(crate) async fn accept(&self, service: &str, spans: Value) {
        let body = export(service, "test", spans).to_string();
        let reply = self.otlp(&[JSON], body).await;
        assert_eq!((reply.status, reply.json()), (StatusCode::OK, json!({})));
    }

    async fn send(&self, request: http::request::Builder, body: Bytes) -> Reply {
        let response = self.client.request(request.body(Full::new(body)).unwrap()).await.unwrap();
        let headers = response.headers().clone();
        let header = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        Reply {
            status: response.status(),
            content_type: header(header::CONTENT_TYPE).unwrap_or_default(),
            length: header(header::CONTENT_LENGTH).map(|length| length.parse().unwrap()),
            headers,
            body: response.into_body().collect().await.unwrap().to_bytes(),
        }
    }

    /// Returns the value of a metric, named with its labels; zero if the page does not list it.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = String::from_utf8(self.get("/metrics").await.body.to_vec()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or(0)
    }

    /// Waits until a metric has the given value.
    pub(crate) async fn wait_for_metric(&self, name: &str, expected: u64) {
        let started = Instant::now();
        loop {
            let value = self.metric(name).await;
            if value == expected {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "{name} is {value}, not {expected}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Settings with free ports and a store that is large enough for any test.
pub(crate) fn settings() -> Settings {
    let free = || "127.0.0.1:0".to_owned();
    Settings {
        listen: free(),
        otlp_grpc_listen: free(),
        otlp_http_listen: free(),
        query_grpc_listen: free(),
        store_max_bytes: 64 << 20,
        ..Settings::default()
    }
}

/// Binds a free port of the loopback interface.
pub(crate) async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Returns an OTLP message of one service and scope.
pub(crate) fn export(service: &str, scope: &str, spans: Value) -> Value {
    let name = json!({ "key": "service.name", "value": { "stringValue": service } });
    json!({ "resourceSpans": [{
        "resource": { "attributes": [name] },
        "scopeSpans": [{ "scope": { "name": scope }, "spans": spans }],
    }] })
}

/// Converts a message to OTLP's generated type.
pub(crate) fn protobuf(message: &Value) -> ExportTraceServiceRequest {
    serde_json::from_value(message.clone()).unwrap()
}

/// Returns a span in OTLP JSON that starts at 1 s and takes 2 ms; parent 0 makes it a root.
pub(crate) fn span(trace: u128, id: u64, parent: u64, kind: u8) -> Value {
    let parent = if parent == 0 { String::new() } else { format!("{parent:016x}") };
    json!({
        "traceId": hex(trace), "spanId": format!("{id:016x}"), "parentSpanId": parent,
        "name": format!("operation {id}"), "kind": kind,
        "startTimeUnixNano": "1000000000", "endTimeUnixNano": "1002000000",
    })
}

/// Formats a trace id.
pub(crate) fn hex(trace: u128) -> String {
    format!("{trace:032x}")
}

/// Returns the message by which an exporter reports spans that it dropped, with the ids of the traces concerned.
fn loss_report(service: &str, count: i64, reason: &str, traces: impl IntoIterator<Item = u128>) -> Value {
    let mut report = span(99, 9, 0, INTERNAL);
    report["name"] = json!(contract::LOSS_REPORT);
    report["attributes"] = json!([
        { "key": contract::DROPPED_COUNT, "value": { "intValue": count.to_string() } },
        { "key": contract::DROPPED_REASON, "value": { "stringValue": reason } },
    ]);
    let links =
        traces.into_iter().map(|trace| json!({ "traceId": hex(trace), "spanId": "0000000000000001" }));
    report["links"] = links.collect();
    export(service, contract::LOSS_SCOPE, json!([report]))
}
