//! Tests of the built `workbench` binary: real processes on free ports, in one test binary.
//!
//! `cargo test -p loadtest --test processes load::` runs the tests of one file. The names of the tests that need
//! Chromium begin with `browser::`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod harness;

mod answers;
mod attacks;
mod bad_input;
mod browser;
mod conservation;
mod database;
mod environment;
mod help;
mod idempotency;
mod interrupts;
mod load;
mod losses;
mod lost_output;
mod metrics;
mod notification;
mod other_load;
mod outages;
mod outbox;
mod run_traces;
mod private_files;
mod restart;
mod scale;
mod stack;
mod staleness;
mod supervision;
mod slots;
mod snapshot_files;
mod terminal;
mod trace_files;
mod traces;
mod usage;
mod walkthrough;
