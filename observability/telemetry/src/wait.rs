//! Spans of waits: a request does nothing until it gets a connection, a permit, a lease or another request's result.
//!
//! Such a span carries the attribute [`workbench.wait`](crate::contract::WAIT), so that an analysis can distinguish
//! waiting from working. By convention, its name is `wait` followed by the resource, such as `wait pool`.

use std::time::SystemTime;

use opentelemetry::trace::{TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};

use crate::contract;
use crate::tracer::tracer;

/// Creates the `tracing` span of a wait that begins now: a name, then fields as in `tracing::info_span!`.
///
/// The wait lasts until the span is dropped. It need not be entered, because a wait has no children.
///
/// ```
/// # async fn example(permits: &tokio::sync::Semaphore) {
/// let wait = telemetry::wait_span!("wait permit", permits = 4);
/// let permit = permits.acquire().await;
/// drop(wait);
/// # }
/// ```
#[macro_export]
macro_rules! wait_span {
    ($name:literal $(, $($fields:tt)+)?) => {
        $crate::tracing::info_span!($name, { $crate::contract::WAIT } = true $(, $($fields)+)?)
    };
}

/// Records a wait after it ended, as a child of `parent`; without a parent, it records nothing.
///
/// For a wait whose start lies in another task, such as the time of a message in a queue. It uses the raw SDK API,
/// because a `tracing` span starts when it is created.
pub fn record(
    name: &'static str,
    started: SystemTime,
    attributes: impl IntoIterator<Item = KeyValue>,
    parent: &Context,
) {
    if !parent.has_active_span() {
        return;
    }
    let attributes = std::iter::once(KeyValue::new(contract::WAIT, true)).chain(attributes);
    let builder = tracer().span_builder(name).with_start_time(started).with_attributes(attributes);
    drop(tracer().build_with_context(builder, parent));
}
