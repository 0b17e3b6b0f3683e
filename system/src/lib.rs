//! The tutoring marketplace, in the order in which a request meets its roles:
//!
//! ```text
//! browser ─▶ frontend (the page)
//! browser, load generator ─▶ balancer ─▶ gateway 1 | 2 ─▶ cache
//!                                                      ├▶ search  ─▶ PostgreSQL
//!                                                      └▶ booking ─▶ PostgreSQL
//!                                                                 └▶ queue ◀─ notification ─▶ PostgreSQL
//! every role ─▶ collector (spans over OTLP)
//! ```
//!
//! Invariants: a role imports `api`, `config`, `error`, `peer` and their like, never another role: they meet on the
//! wire alone. Only `config` reads the environment.

pub mod api;
pub mod config;
pub mod dataset;
pub mod error;
pub mod service;

mod balancer;
mod gateway;
mod cache;
mod search;
mod booking;
mod queue;
mod notification;

pub mod database;
mod drain;
mod extract;
mod fallback;
mod password;
mod peer;
