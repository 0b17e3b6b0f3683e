//! The tutoring marketplace, in the order in which a request passes through its roles:
//!
//! ```text
//! browser ─▶ frontend (the page)
//! browser, load generator ─▶ balancer ─▶ gateway 1 | 2 ─▶ cache
//!                                                      ├▶ search  ─▶ PostgreSQL
//!                                                      └▶ booking ─▶ PostgreSQL
//!                                                                 ├▶ queue ◀─ notification ─▶ PostgreSQL
//!                                                                 └▶ cache
//! every role ─▶ collector (spans over OTLP)
//! ```
//!
//! [`serve::run`] runs one role. Each role is a module with its `Settings`, which clap reads from flags or variables, and
//! `app(settings, shutdown)`, which returns its routes, its readiness and its work to finish on shutdown.
//!
//! Invariants:
//!
//! - A module uses only modules above it in the list below.
//! - A role never uses another role: roles communicate over HTTP only, with the types of [`api`].
//! - No module reads the environment: clap does.

// Wire contract.
pub mod role;
pub mod api;
pub mod error;

// What every role is made of.
pub mod settings;
pub mod app;
mod extract;
mod unread;
mod middleware;

// What roles call.
mod peer;
pub mod database;
mod password;
pub mod dataset;

// The roles, in path order.
mod frontend;
mod balancer;
mod gateway;
mod cache;
mod search;
mod booking;
mod queue;
mod notification;

// What runs them.
pub mod serve;
