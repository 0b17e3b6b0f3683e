//! Tests of a running collector: spans are sent to its receivers and read back through its API.

// Helper functions outside of `#[test]` functions count as tests here, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::needless_pass_by_value)]

mod support;

mod api;
mod browse;
mod compression;
mod connections;
mod encodings;
mod errors;
mod exporters;
mod forward;
mod generated_code;
mod groups;
mod grpc_client;
mod grpc_server;
mod jaeger;
mod ledger;
mod lenient;
mod log;
mod odd_spans;
mod overload;
mod query_grpc;
mod receive;
mod reopen;
mod retention;
mod signals;
mod storage_grpc;
mod streaming;
