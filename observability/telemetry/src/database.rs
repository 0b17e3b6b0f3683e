//! Spans around PostgreSQL: waiting for a pooled connection, and one CLIENT span for each statement.
//!
//! Independent of the driver: the caller passes the future that does the work and a function that reads the SQLSTATE
//! of an error. Statement spans use the raw SDK API, since every request that reaches the database has several.

use opentelemetry::trace::{FutureExt as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};

use crate::contract;
use crate::tracer::tracer;

/// `db.system.name` and name of the pool.
const POSTGRESQL: &str = "postgresql";

/// Runs `acquiring`, which waits for a connection of the pool, inside a `wait pool` span.
pub async fn acquire<T>(acquiring: impl Future<Output = T>) -> T {
    let wait = crate::wait_span!("wait pool", db.client.connection.pool.name = POSTGRESQL);
    let connection = acquiring.await;
    drop(wait);
    connection
}

/// Runs `statement` inside a CLIENT span.
///
/// `summary` is the low-cardinality name of the statement, such as `SELECT tutors`; `text` is its SQL with placeholders.
/// `sqlstate` returns the code that PostgreSQL gave an error, or `None` if the connection failed.
pub async fn query<T, E>(
    summary: &'static str,
    text: &'static str,
    sqlstate: impl FnOnce(&E) -> Option<String>,
    statement: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let parent = Context::current();
    let builder = tracer().span_builder(summary).with_kind(SpanKind::Client).with_attributes([
        KeyValue::new(contract::DB_SYSTEM_NAME, POSTGRESQL),
        KeyValue::new("db.query.summary", summary),
        KeyValue::new("db.query.text", text),
    ]);
    let cx = parent.with_span(tracer().build_with_context(builder, &parent));
    let result = statement.with_context(cx.clone()).await;
    let span = cx.span();
    if let Err(error) = &result {
        let sqlstate = sqlstate(error);
        if let Some(code) = &sqlstate {
            span.set_attribute(KeyValue::new("db.response.status_code", code.clone()));
        }
        span.set_attribute(KeyValue::new("error.type", sqlstate.unwrap_or_else(|| "connection".into())));
        span.set_status(Status::error(""));
    }
    span.end();
    result
}
