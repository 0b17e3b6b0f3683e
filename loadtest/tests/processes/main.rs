//! Tests of the built `workbench` binary: real processes on free ports, in one test binary.
//!
//! `cargo test -p loadtest --test processes load::` runs the tests of one file. The names of the tests that need
//! Chromium begin with `browser::`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod harness;

mod bad_input;
mod browser;
mod load;
mod losses;
mod notification;
mod run_traces;
mod stack;
mod traces;
mod usage;
mod walkthrough;
