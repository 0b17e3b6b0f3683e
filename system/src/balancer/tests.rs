//! The balancer over real sockets, with small gateways in the same process.

mod intermediary;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::routing::{get, post};
use futures::{SinkExt as _, StreamExt as _};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use telemetry::server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::api::FORWARDED_FOR;
use crate::app::parse;

/// A gateway that returns its name and echoes the request.
fn gateway_router(name: &'static str) -> Router {
    Router::new()
        .route("/health/ready", get(|| async { "ready" }))
        .route(
            "/search",
            get(move |headers: HeaderMap| async move {
                let text = |name: &str| {
                    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned()
                };
                ([(SERVED_BY, name)], format!("{}|{}", text("x-forwarded-for"), text("traceparent")))
            }),
        )
        .route("/book", post(move |body: Body| async move { ([(SERVED_BY, name)], body) }))
}

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl Running {
    async fn start(listener: TcpListener, router: Router) -> Self {
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server::serve(listener, router, stop.clone()));
        Self { address, stop, task }
    }

    async fn gateway(name: &'static str) -> Self {
        Self::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), gateway_router(name)).await
    }

    async fn stop(self) -> SocketAddr {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        self.address
    }
}

async fn balancer_over(gateways: &[SocketAddr]) -> Running {
    balancer_with(gateways, &[]).await
}

async fn balancer_with(gateways: &[SocketAddr], settings: &[&str]) -> Running {
    let urls = gateways.iter().map(|address| format!("http://{address}")).collect::<Vec<_>>().join(",");
    let settings = parse(&[&["--gateway-urls", &urls], settings].concat()).unwrap();
    let app = app(&settings, CancellationToken::new()).await.unwrap();
    Running::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), app.routes).await
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn served_by(&self) -> &str {
        self.headers.get(&SERVED_BY).map_or("-", |name| name.to_str().unwrap())
    }
}

async fn call(request: Request<Full<Bytes>>) -> Answer {
    let response = peer::client().request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
}

fn request(method: &str, at: SocketAddr, path: &str, body: &str) -> Request<Full<Bytes>> {
    let uri = format!("http://{at}{path}");
    Request::builder().method(method).uri(uri).body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

#[tokio::test]
async fn gateways_take_turns_and_receive_the_client_address_and_the_trace_context() {
    let gateways = [Running::gateway("one").await, Running::gateway("two").await];
    let addresses = [gateways[0].address, gateways[1].address];
    let balancer = balancer_with(&addresses, &["--trust-traceparent", "127.0.0.0/8"]).await;
    let mut served = Vec::new();
    for _ in 0..4 {
        let mut search = request("GET", balancer.address, "/search?subject=Math", "");
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        search.headers_mut().insert("traceparent", HeaderValue::from_static(traceparent));
        search.headers_mut().insert(FORWARDED_FOR, HeaderValue::from_static("203.0.113.9"));
        let answer = call(search).await;
        let (forwarded, trace) = answer.body.split_once('|').unwrap();
        assert_eq!(forwarded, "203.0.113.9, 127.0.0.1");
        assert!(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{trace}");
        assert!(
            !trace.contains("b7ad6b7169203331"),
            "the parent of the gateway's span must be the balancer's span, not the caller's"
        );
        served.push(answer.served_by().to_owned());
    }
    assert_eq!(served[..2], served[2..]);
    assert_ne!(served[0], served[1]);
}

#[tokio::test]
async fn only_the_traces_of_trusted_callers_are_continued() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SECRET: &str = "0123456789abcdef";
    let network: &[&str] = &["--trust-traceparent", "10.0.0.0/8,127.0.0.1"];
    let secret: &[&str] = &["--trust-traceparent-secret", SECRET];
    for (settings, sent_secret, continued) in [
        (&[][..], "", false),
        (&["--trust-traceparent", "10.0.0.0/8,::1"], "", false),
        (network, "", true),
        (secret, "", false),
        (secret, "fedcba9876543210", false),
        (secret, SECRET, true),
        (&[], SECRET, false),
    ] {
        let gateway = Router::new()
            .route("/health/ready", get(|| async { "ready" }))
            .route("/search", get(|headers: HeaderMap| async move { format!("{headers:?}") }));
        let gateway = Running::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), gateway).await;
        let balancer = balancer_with(&[gateway.address], settings).await;
        let mut search = request("GET", balancer.address, "/search", "");
        for (name, value) in [
            ("traceparent", format!("00-{TRACE}-b7ad6b7169203331-00").as_str()),
            ("tracestate", "vendor=1"),
            ("baggage", "user=victim"),
            ("x-trace-secret", sent_secret),
        ] {
            search.headers_mut().insert(name, value.parse().unwrap());
        }
        let received = call(search).await.body;
        for text in [TRACE, "tracestate", "baggage"] {
            assert_eq!(
                received.contains(text),
                continued,
                "{settings:?} {sent_secret}: {text} in {received}"
            );
        }
        assert!(received.contains("traceparent") && !received.contains("x-trace-secret"), "{received}");
    }
}

#[tokio::test]
async fn a_short_secret_is_rejected_without_showing_it() {
    let settings: Settings = parse(&["--trust-traceparent-secret", "hunter2"]).unwrap();
    let error = settings.trust().unwrap_err().to_string();
    assert_eq!(error, "TRUST_TRACEPARENT_SECRET is invalid: must have at least 16 bytes");
}

#[tokio::test]
async fn a_gateway_that_refuses_connections_is_skipped_until_it_is_ready_again() {
    let (one, two) = (Running::gateway("one").await, Running::gateway("two").await);
    let balancer = balancer_over(&[one.address, two.address]).await;
    let address = one.stop().await;
    for n in 0..10 {
        let answer = call(request("POST", balancer.address, "/book", &format!("booking {n}"))).await;
        assert_eq!((answer.status, answer.served_by()), (StatusCode::OK, "two"));
        assert_eq!(answer.body, format!("booking {n}"));
    }
    let _one = Running::start(TcpListener::bind(address).await.unwrap(), gateway_router("one")).await;
    let used_again = async {
        while call(request("GET", balancer.address, "/search", "")).await.served_by() != "one" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), used_again)
        .await
        .expect("the gateway should be used again");
}

#[tokio::test]
async fn bodies_are_streamed_in_both_directions() {
    let gateway = Running::gateway("one").await;
    let balancer = balancer_over(&[gateway.address]).await;
    let (mut sender, chunks) = futures::channel::mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let body = StreamBody::new(chunks);
    let mut upload = Request::new(body);
    *upload.method_mut() = http::Method::POST;
    *upload.uri_mut() = format!("http://{}/book", balancer.address).parse().unwrap();
    sender.send(Ok(Frame::data(Bytes::from_static(b"first")))).await.unwrap();
    let response = peer::client().request(upload).await.unwrap();
    let mut echo = response.into_body().into_data_stream();
    assert_eq!(
        echo.next().await.unwrap().unwrap(),
        "first",
        "the echo must arrive before the upload has ended"
    );
    sender.send(Ok(Frame::data(Bytes::from_static(b"second")))).await.unwrap();
    drop(sender);
    assert_eq!(echo.next().await.unwrap().unwrap(), "second");
    assert!(echo.next().await.is_none());
}

#[tokio::test]
async fn without_a_gateway_the_reply_is_a_503_problem() {
    let gateway = Running::gateway("one").await;
    let balancer = balancer_over(&[gateway.address]).await;
    gateway.stop().await;
    let answer = call(request("GET", balancer.address, "/search", "")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(problem["code"], "unavailable");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_rejected() {
    let gateway = Running::gateway("one").await;
    let balancer = balancer_over(&[gateway.address]).await;
    let huge = "x".repeat(MAX_BODY_BYTES as usize + 1);
    let answer = call(request("POST", balancer.address, "/book", &huge)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn an_incomplete_body_is_a_400() {
    let gateway = Running::gateway("one").await;
    let balancer = balancer_over(&[gateway.address]).await;
    let mut stream = TcpStream::connect(balancer.address).await.unwrap();
    stream.write_all(b"POST /book HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nfour").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 400"), "{reply}");
}

#[tokio::test]
async fn connect_is_rejected() {
    let gateway = Running::gateway("one").await;
    let balancer = balancer_over(&[gateway.address]).await;
    let mut stream = TcpStream::connect(balancer.address).await.unwrap();
    stream.write_all(b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 405"), "{reply}");
}

#[tokio::test]
async fn cors_allows_the_origins_of_the_frontend_only() {
    let gateway = Running::gateway("one").await;
    let balancer = balancer_over(&[gateway.address]).await;
    for (origin, allowed) in [("http://localhost:8080", true), ("http://evil.example", false)] {
        let mut preflight = request("OPTIONS", balancer.address, "/book", "");
        let headers = preflight.headers_mut();
        headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        headers.insert(header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
        let answer = call(preflight).await;
        assert_eq!(answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), allowed, "{origin}");
    }
}

#[test]
fn gateway_urls_are_a_list_of_at_least_one_url() {
    for bad in ["", ",", "http://127.0.0.1:8001,nonsense"] {
        assert!(parse::<Settings>(&["--gateway-urls", bad]).is_err(), "{bad}");
    }
    let settings: Settings = parse(&["--gateway-urls", "http://a:1, http://b:2"]).unwrap();
    assert_eq!(settings.gateway_urls.as_slice().len(), 2);
}

#[test]
fn an_origin_has_a_scheme_and_a_host() {
    for text in ["http://localhost:8080", "https://tutors.example"] {
        assert!(text.parse::<Origin>().is_ok(), "{text}");
    }
    for text in ["*", "localhost", "http://", "ftp://localhost", "http://localhost/\n"] {
        assert!(text.parse::<Origin>().is_err(), "{text}");
    }
}
