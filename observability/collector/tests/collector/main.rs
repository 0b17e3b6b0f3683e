//! The collector as a whole: started on free ports, fed by real senders, read through its API.

// The helpers are as much a test as their callers, and read better given values than references to them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::needless_pass_by_value)]

mod browse;
mod exporters;
mod forward;
mod jaeger;
mod ledger;
mod long;
mod overload;
mod receive;
mod reopen;
mod retention;
mod support;
