//! Compressed messages: every encoding that Jaeger's receiver takes, over HTTP and gRPC, within the size limits.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use prost::Message as _;
use serde_json::json;

use crate::support::{Collector, JSON, SERVER, export, hex, protobuf, span};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const TRACE_SERVICE: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

type Encode = fn(&[u8]) -> Vec<u8>;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

fn framed_snappy(bytes: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    snap::read::FrameEncoder::new(bytes).read_to_end(&mut encoded).unwrap();
    encoded
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Names of HTTP content codings, and how each is encoded.
const HTTP: [(&str, Encode); 9] = [
    ("gzip", gzip),
    ("zstd", zstd),
    ("deflate", zlib),
    ("deflate", raw_deflate),
    ("zlib", zlib),
    ("snappy", snappy),
    ("snappy", framed_snappy),
    ("x-snappy-framed", framed_snappy),
    ("lz4", lz4),
];

const GRPC: [(&str, Encode); 4] =
    [("gzip", gzip), ("zstd", zstd), ("snappy", framed_snappy), ("deflate", zlib)];

/// Returns a message with one trace of one span.
fn message(trace: u128) -> serde_json::Value {
    export("web", "test", json!([span(trace, 1, 0, SERVER)]))
}

/// Returns a gRPC message.
fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

async fn refused(collector: &Collector, reason: &str) -> u64 {
    collector.metric(&format!(r#"collector_refused_requests_total{{reason="{reason}"}}"#)).await
}

#[tokio::test]
async fn accepts_the_content_codings_of_the_opentelemetry_collector() {
    let collector = Collector::start().await;
    for (trace, (name, encode)) in (1..).zip(HTTP) {
        let of_protobuf = encode(&protobuf(&message(2 * trace)).encode_to_vec());
        let of_json = encode(message(2 * trace + 1).to_string().as_bytes());
        for (format, body, trace) in [(PROTOBUF, of_protobuf, 2 * trace), (JSON, of_json, 2 * trace + 1)] {
            let reply = collector.otlp(&[format, ("content-encoding", name)], body).await;
            assert_eq!(reply.status, 200, "{name} {format:?}: {:?}", reply.body);
            assert_eq!(collector.get(&format!("/api/traces/{}", hex(trace))).await.status, 200, "{name}");
        }
    }
    collector.stop().await;
}

#[tokio::test]
async fn an_empty_content_encoding_and_identity_count_as_absent() {
    let collector = Collector::start().await;
    let plain = message(1).to_string().into_bytes();
    let packed = gzip(&plain);
    for (encoding, body) in [
        ("", &plain),
        (" , ", &plain),
        ("identity", &plain),
        ("Identity, identity", &plain),
        ("gzip, identity", &packed),
        ("identity,,X-GZIP ", &packed),
    ] {
        let reply = collector.otlp(&[JSON, ("content-encoding", encoding)], body.clone()).await;
        assert_eq!(reply.status, 200, "{encoding:?}: {:?}", reply.body);
    }
    let headers = [JSON, ("content-encoding", "identity"), ("content-encoding", "gzip")];
    assert_eq!(collector.otlp(&headers, packed).await.status, 200, "two lines");
    collector.stop().await;
}

#[tokio::test]
async fn accepts_the_grpc_encodings_of_the_opentelemetry_collector() {
    let collector = Collector::start().await;
    for (trace, (name, encode)) in (1..).zip(GRPC) {
        let body = framed(1, &encode(&protobuf(&message(trace)).encode_to_vec()));
        let headers = [("content-type", "application/grpc+proto"), ("grpc-encoding", name)];
        let (status, headers) = collector.grpc(TRACE_SERVICE, &headers, body).await;
        assert_eq!(status.code(), tonic::Code::Ok, "{name}: {status}");
        assert!(headers["grpc-accept-encoding"].to_str().unwrap().contains(name), "{headers:?}");
        assert_eq!(collector.get(&format!("/api/traces/{}", hex(trace))).await.status, 200, "{name}");
    }
    let plain = framed(0, &protobuf(&message(99)).encode_to_vec());
    let headers = [("content-type", "application/grpc"), ("grpc-encoding", "zstd")];
    assert_eq!(collector.grpc(TRACE_SERVICE, &headers, plain).await.0.code(), tonic::Code::Ok);
    assert_eq!(collector.metric(r#"collector_received_spans_total{transport="grpc"}"#).await, 5);
    collector.stop().await;
}

#[tokio::test]
async fn unknown_encodings_are_refused_with_those_that_are_accepted() {
    let collector = Collector::start().await;
    for encoding in ["br", "gzip, gzip", "zstd,lz4"] {
        let reply = collector.otlp(&[JSON, ("content-encoding", encoding)], "x").await;
        assert_eq!(reply.status, 415, "{encoding}");
        let accepted = "gzip, zstd, deflate, zlib, snappy, x-snappy-framed, lz4";
        assert_eq!(reply.headers["accept-encoding"], accepted);
        assert!(reply.json()["message"].as_str().unwrap().contains(accepted), "{:?}", reply.body);
    }
    let headers = [("content-type", "application/grpc"), ("grpc-encoding", "lz4")];
    let (status, headers) = collector.grpc(TRACE_SERVICE, &headers, framed(1, b"x")).await;
    assert_eq!(status.code(), tonic::Code::Unimplemented, "{status}");
    assert_eq!(headers["grpc-accept-encoding"], "identity,gzip,zstd,snappy,deflate");
    assert!(status.message().contains("identity,gzip,zstd,snappy,deflate"), "{status}");
    assert_eq!(refused(&collector, "encoding").await, 4);
    collector.stop().await;
}

#[tokio::test]
async fn truncated_and_foreign_bodies_are_refused_in_every_encoding() {
    let collector = Collector::start().await;
    let plain = protobuf(&message(1)).encode_to_vec();
    for (name, encode) in HTTP {
        let encoded = encode(&plain);
        for (what, body) in
            [("truncated", &encoded[..encoded.len() - 5]), ("foreign", b"neither this nor that")]
        {
            let reply = collector.otlp(&[PROTOBUF, ("content-encoding", name)], body.to_vec()).await;
            assert_eq!(reply.status, 400, "{what} {name}: {:?}", reply.body);
        }
    }
    for body in [
        framed(1, b"foreign"),
        framed(1, &zstd(&plain)[..30]),
        framed(2, &plain),
        framed(0, &plain)[..9].to_vec(),
        framed(0, &plain)[..3].to_vec(),
        [framed(0, &plain), framed(0, &plain)].concat(),
    ] {
        let headers = [("content-type", "application/grpc"), ("grpc-encoding", "zstd")];
        let (status, _) = collector.grpc(TRACE_SERVICE, &headers, body.clone()).await;
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{body:?}: {status}");
    }
    let headers = [("content-type", "application/grpc")];
    let (status, _) = collector.grpc(TRACE_SERVICE, &headers, framed(1, &gzip(&plain))).await;
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "no grpc-encoding: {status}");
    assert_eq!(refused(&collector, "invalid").await, 2 * HTTP.len() as u64 + 7);
    assert_eq!(collector.metric("collector_store_spans").await, 0);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_too_long_once_decompressed_are_refused_in_every_encoding() {
    let collector = Collector::start().await;
    let long = vec![0; 17 << 20];
    for (name, encode) in HTTP {
        let reply = collector.otlp(&[PROTOBUF, ("content-encoding", name)], encode(&long)).await;
        assert_eq!(reply.status, 413, "{name}: {:?}", reply.body);
    }
    for (name, encode) in GRPC {
        let headers = [("content-type", "application/grpc"), ("grpc-encoding", name)];
        let (status, _) = collector.grpc(TRACE_SERVICE, &headers, framed(1, &encode(&long))).await;
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{name}: {status}");
        assert!(status.message().contains("once decompressed"), "{name}: {status}");
    }
    assert_eq!(refused(&collector, "too_large").await, (HTTP.len() + GRPC.len()) as u64);
    assert_eq!(collector.metric("collector_inflight_bytes").await, 0);
    collector.stop().await;
}
