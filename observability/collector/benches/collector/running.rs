//! A collector on threads of its own, and a client for it.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use collector::otlp::BytesCodec;
use collector::{Listeners, Settings, run};
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

pub(crate) struct Collector {
    sender: Runtime,
    channel: Channel,
    client: Runtime,
    http: Client<HttpConnector, Full<Bytes>>,
    query: SocketAddr,
    /// `/proc/self/task/ID/schedstat` of the collector's thread.
    schedstat: String,
    shutdown: CancellationToken,
}

impl Collector {
    /// Starts a collector on one thread, or on two.
    pub(crate) fn start(store_max_bytes: usize, threads: usize) -> Self {
        let (started, ready) = mpsc::channel();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        std::thread::spawn(move || {
            let mut runtime = match threads {
                1 => Builder::new_current_thread(),
                _ => Builder::new_multi_thread(),
            };
            let runtime = runtime.worker_threads(threads).enable_all().build().unwrap();
            runtime.block_on(async {
                let listen = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
                let (grpc, http) = (listen().await, listen().await);
                let (query, query_grpc) = (listen().await, listen().await);
                let thread = fs::read_link("/proc/thread-self").unwrap().display().to_string();
                started.send((grpc.local_addr().unwrap(), query.local_addr().unwrap(), thread)).unwrap();
                let settings = Settings { store_max_bytes, ..Settings::default() };
                run(Listeners { grpc, http, query, query_grpc }, &settings, stop).await.unwrap();
            });
        });
        let (grpc, query, thread) = ready.recv().unwrap();
        // Separate runtimes, so that queries do not wait for sending.
        let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
        let (sender, client) = (runtime(), runtime());
        let endpoint = Endpoint::from_shared(format!("http://{grpc}")).unwrap();
        let channel = sender.block_on(async { endpoint.connect().await.unwrap() });
        let http = Client::builder(TokioExecutor::new()).build_http();
        let schedstat = format!("/proc/{thread}/schedstat");
        Self { sender, channel, client, http, query, schedstat, shutdown }
    }

    /// Returns the CPU time of the collector's thread.
    pub(crate) fn cpu(&self) -> Duration {
        let text = fs::read_to_string(&self.schedstat).unwrap();
        Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
    }

    /// Sends messages, `in_flight` at a time. Returns their number; panics if one is not accepted.
    pub(crate) fn send(&self, messages: impl Iterator<Item = Bytes>, in_flight: usize) -> usize {
        let sending = futures::stream::iter(messages).map(|message| export(&self.channel, message));
        self.sender.block_on(sending.buffer_unordered(in_flight).fold(0, |taken, reply| async move {
            assert_eq!(reply.unwrap().partial_success, None);
            taken + 1
        }))
    }

    /// Sends messages one after another and ignores the replies.
    pub(crate) fn offer(&self, messages: impl Iterator<Item = Bytes>) {
        for message in messages {
            // The collector may refuse it.
            let _ = self.sender.block_on(export(&self.channel, message));
        }
    }

    /// Returns the median time of a query.
    pub(crate) fn query_time(&self, path: &str, time: Duration) -> Duration {
        let url: http::Uri = format!("http://{}{path}", self.query).parse().unwrap();
        self.client.block_on(async {
            let mut times = Vec::new();
            let started = Instant::now();
            while started.elapsed() < time || times.len() < 3 {
                let started_query = Instant::now();
                let reply = self.http.get(url.clone()).await.unwrap();
                assert!(reply.status().is_success(), "{url}: {}", reply.status());
                reply.into_body().collect().await.unwrap();
                times.push(started_query.elapsed());
            }
            times.sort_unstable();
            times[times.len() / 2]
        })
    }

    /// Returns the number of stored traces.
    pub(crate) fn traces(&self) -> u64 {
        let retention = self.get("/api/workbench/retention");
        let classes = retention["classes"].as_object().unwrap().values();
        classes.map(|class| class["traces"].as_u64().unwrap()).sum()
    }

    /// Returns the id of one of the slowest traces, which are not evicted.
    pub(crate) fn slow_trace(&self) -> String {
        let hops = self.get("/api/workbench/hops");
        hops["hops"][0]["exemplars"]["max"][0]["trace_id"].as_str().unwrap().to_owned()
    }

    /// Posts JSON and returns the answer.
    pub(crate) fn post(&self, path: &str, body: &serde_json::Value) -> serde_json::Value {
        let request = http::Request::post(format!("http://{}{path}", self.query))
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()));
        self.json(request.unwrap())
    }

    pub(crate) fn get(&self, path: &str) -> serde_json::Value {
        let request = http::Request::get(format!("http://{}{path}", self.query));
        self.json(request.body(Full::default()).unwrap())
    }

    fn json(&self, request: http::Request<Full<Bytes>>) -> serde_json::Value {
        self.client.block_on(async {
            let reply = self.http.request(request).await.unwrap();
            serde_json::from_slice(&reply.into_body().collect().await.unwrap().to_bytes()).unwrap()
        })
    }

    /// Sends one message every `pause` until `work` is done. Returns its result and the number of messages sent per
    /// second.
    pub(crate) fn while_sending<T>(
        &self,
        mut batches: super::MessageGenerator,
        pause: Duration,
        work: impl FnOnce() -> T,
    ) -> (T, f64) {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let (started, mut sent) = (Instant::now(), 0);
                while !done.load(Relaxed) {
                    std::thread::sleep((started + pause * sent).saturating_duration_since(Instant::now()));
                    self.send(std::iter::once(batches.next()), 1);
                    sent += 1;
                }
                f64::from(sent) / started.elapsed().as_secs_f64()
            });
            let result = work();
            done.store(true, Relaxed);
            (result, sending.join().unwrap())
        })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn export(channel: &Channel, message: Bytes) -> Result<ExportTraceServiceResponse, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let method =
        http::uri::PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    let reply = client.unary(Request::new(message), method, BytesCodec).await?.into_inner();
    ExportTraceServiceResponse::decode(reply).map_err(|error| Status::internal(error.to_string()))
}
