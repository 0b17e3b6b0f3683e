//! Tests of a running collector: spans are sent to its receivers and read back through its API.

// Helper functions outside of `#[test]` functions count as tests here, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::needless_pass_by_value)]

mod support;

mod api;
mod browse;
mod exporters;
mod forward;
mod jaeger;
mod ledger;
mod overload;
mod receive;
mod reopen;
mod retention;
mod streaming;
