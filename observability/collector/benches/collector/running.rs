//! A collector on a thread of its own, and what is said to it.

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
    asker: Runtime,
    http: Client<HttpConnector, Full<Bytes>>,
    query: SocketAddr,
    /// `/proc/self/task/ID/schedstat` of the collector's thread.
    schedstat: String,
    shutdown: CancellationToken,
}

impl Collector {
    /// With one thread in all, or with two as it runs on two cores.
    pub(crate) fn start(store_max_bytes: usize, threads: usize) -> Self {
        let (told, ready) = mpsc::channel();
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
                let (grpc, http, query) = (listen().await, listen().await, listen().await);
                let thread = fs::read_link("/proc/thread-self").unwrap().display().to_string();
                told.send((grpc.local_addr().unwrap(), query.local_addr().unwrap(), thread)).unwrap();
                let settings = Settings { store_max_bytes, ..Settings::default() };
                run(Listeners { grpc, http, query }, &settings, stop).await.unwrap();
            });
        });
        let (grpc, query, thread) = ready.recv().unwrap();
        // Apart, so that a question does not wait for what is being sent.
        let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
        let (sender, asker) = (runtime(), runtime());
        let endpoint = Endpoint::from_shared(format!("http://{grpc}")).unwrap();
        let channel = sender.block_on(async { endpoint.connect().await.unwrap() });
        let http = Client::builder(TokioExecutor::new()).build_http();
        let schedstat = format!("/proc/{thread}/schedstat");
        Self { sender, channel, asker, http, query, schedstat, shutdown }
    }

    /// What the collector's thread has used so far.
    pub(crate) fn cpu(&self) -> Duration {
        let text = fs::read_to_string(&self.schedstat).unwrap();
        Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
    }

    /// Sends messages, so many at once. Returns how many were taken: all, or it ends here.
    pub(crate) fn send(&self, messages: impl Iterator<Item = Bytes>, in_flight: usize) -> usize {
        let sending = futures::stream::iter(messages).map(|message| export(&self.channel, message));
        self.sender.block_on(sending.buffer_unordered(in_flight).fold(0, |taken, reply| async move {
            assert_eq!(reply.unwrap().partial_success, None);
            taken + 1
        }))
    }

    /// Sends messages one after another, whatever becomes of them.
    pub(crate) fn offer(&self, messages: impl Iterator<Item = Bytes>) {
        for message in messages {
            // Refused or taken in part: that is the collector's business.
            let _ = self.sender.block_on(export(&self.channel, message));
        }
    }

    /// The median time that an answer takes.
    pub(crate) fn ask(&self, path: &str, time: Duration) -> Duration {
        let url: http::Uri = format!("http://{}{path}", self.query).parse().unwrap();
        self.asker.block_on(async {
            let mut took = Vec::new();
            let started = Instant::now();
            while started.elapsed() < time || took.len() < 3 {
                let asked = Instant::now();
                let reply = self.http.get(url.clone()).await.unwrap();
                assert!(reply.status().is_success(), "{url}: {}", reply.status());
                reply.into_body().collect().await.unwrap();
                took.push(asked.elapsed());
            }
            took.sort_unstable();
            took[took.len() / 2]
        })
    }

    /// How many traces are kept.
    pub(crate) fn traces(&self) -> u64 {
        let retention = self.get("/api/workbench/retention");
        let classes = retention["classes"].as_object().unwrap().values();
        classes.map(|class| class["traces"].as_u64().unwrap()).sum()
    }

    /// One of the slowest, which stay whatever comes in.
    pub(crate) fn slow_trace(&self) -> String {
        let hops = self.get("/api/workbench/hops");
        hops["hops"][0]["exemplars"]["max"][0]["trace_id"].as_str().unwrap().to_owned()
    }

    /// A question of JSON, and its answer.
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
        self.asker.block_on(async {
            let reply = self.http.request(request).await.unwrap();
            serde_json::from_slice(&reply.into_body().collect().await.unwrap().to_bytes()).unwrap()
        })
    }

    /// Sends a message each `pause` until `work` is done. Returns how many were sent a second, too: a sender may fall behind.
    pub(crate) fn while_sending<T>(
        &self,
        mut batches: super::Batches,
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
