//! Publication of events: bookings to the queue, deletions of cached slots to the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{StreamExt as _, stream};
use opentelemetry::trace::{FutureExt as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use serde_json::value::RawValue;
use telemetry::propagation;

use super::claim::Event;
use crate::api::{BOOKING_NOTIFICATION, DeleteRequest, EnqueueReply, EnqueueRequest, StatusReply};
use crate::booking::outbox::CACHE_DELETE;
use crate::error::{Code, Problem, Result};
use crate::peer::Peer;

/// Maximum number of concurrent calls to the queue.
const CONCURRENCY: usize = 16;

/// Where the events of one kind go.
pub(super) enum Destination {
    /// Bookings become tasks of the notification service.
    Queue(Arc<Peer>),
    /// Keys are deleted.
    Cache(Arc<Peer>),
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was accepted.
    Published,
    /// The destination is down or full: no event can be published.
    Unavailable,
    /// The destination refuses this event; others may be published.
    Refused,
}

/// A publication that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Publication {
    /// Id of the event.
    pub(super) id: i64,
    /// Whether the event was published before.
    pub(super) is_repeated: bool,
    pub(super) outcome: Outcome,
}

impl Publication {
    fn new(event: &Event, outcome: Outcome) -> Self {
        Self { id: event.id, is_repeated: event.publications > 1, outcome }
    }
}

impl Destination {
    /// Returns the kind of the events.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Queue(_) => BOOKING_NOTIFICATION,
            Self::Cache(_) => CACHE_DELETE,
        }
    }

    /// Publishes the events. After the first one that finds the destination down, the others are not attempted.
    pub(super) async fn publish(&self, events: Vec<Event>) -> Vec<Publication> {
        match self {
            Self::Queue(queue) => {
                let is_down = AtomicBool::new(false);
                let publications = events.into_iter().map(|event| enqueue(queue, event, &is_down));
                stream::iter(publications).buffer_unordered(CONCURRENCY).collect().await
            }
            Self::Cache(cache) => delete(cache, &events).await,
        }
    }
}

/// Returns what a failed call says about the destination.
fn outcome_of(problem: &Problem) -> Outcome {
    match problem.code() {
        Code::QueueFull | Code::Unavailable | Code::BadGateway | Code::Timeout => Outcome::Unavailable,
        _ => Outcome::Refused,
    }
}

/// Records the time since the event became due as a wait in its trace, and returns the span of its transaction.
fn end_wait(event: &Event) -> Context {
    let transaction = propagation::extract_map(&event.otel);
    let attributes = [
        KeyValue::new("messaging.message.id", event.id.to_string()),
        KeyValue::new("messaging.message.publications", i64::from(event.publications)),
    ];
    telemetry::wait::record("wait outbox", event.due_since, attributes, &transaction);
    transaction
}

/// Enqueues an event in a PRODUCER span of its trace, whose context is sent in the message.
async fn enqueue(queue: &Peer, event: Event, is_down: &AtomicBool) -> Publication {
    if is_down.load(Ordering::Relaxed) {
        return Publication::new(&event, Outcome::Unavailable);
    }
    let transaction = end_wait(&event);
    let tracer = telemetry::tracer();
    let builder = tracer.span_builder("send notifications").with_kind(SpanKind::Producer).with_attributes([
        KeyValue::new("messaging.system", "workbench"),
        KeyValue::new("messaging.operation.name", "send"),
        KeyValue::new("messaging.operation.type", "send"),
        KeyValue::new("messaging.destination.name", "notifications"),
    ]);
    let cx = transaction.with_span(tracer.build_with_context(builder, &transaction));
    let sent = send(queue, &event).with_context(cx.clone()).await;
    let span = cx.span();
    let outcome = match sent {
        Ok(task_id) => {
            span.set_attribute(KeyValue::new("messaging.message.id", task_id));
            Outcome::Published
        }
        Err(problem) => {
            span.set_attribute(KeyValue::new("error.type", "not_queued"));
            span.set_status(Status::error(""));
            outcome_of(&problem)
        }
    };
    span.end();
    if outcome == Outcome::Unavailable {
        is_down.store(true, Ordering::Relaxed);
    }
    Publication::new(&event, outcome)
}

/// Enqueues an event and returns the id of its task.
async fn send(queue: &Peer, event: &Event) -> Result<String> {
    let request = EnqueueRequest {
        task_type: BOOKING_NOTIFICATION.into(),
        payload: RawValue::from_string(event.payload.clone()).map_err(Problem::internal)?,
        otel: propagation::inject_map(&Context::current()),
        event_id: Some(event.id.to_string()),
    };
    let reply = queue.post("/enqueue", "/enqueue", &request).await;
    match reply.and_then(|reply| reply.json::<EnqueueReply>()) {
        Ok(EnqueueReply { task_id }) => {
            tracing::info!(
                event_id = event.id,
                task_id,
                publications = event.publications,
                "event published"
            );
            Ok(task_id)
        }
        Err(problem) => {
            tracing::warn!(event_id = event.id, code = ?problem.code(), "event not published");
            Err(problem)
        }
    }
}

/// Deletes the keys of all events with one call, which is part of the trace of the first.
async fn delete(cache: &Peer, events: &[Event]) -> Vec<Publication> {
    let traces: Vec<Context> = events.iter().map(end_wait).collect();
    let Some(trace) = traces.into_iter().next() else { return Vec::new() };
    let (request, valid) = merge(events);
    let deletion = async {
        let reply = cache.post("/delete", "/delete", &request).await;
        let deleted = reply.and_then(|reply| reply.json::<StatusReply>());
        match &deleted {
            Ok(_) => tracing::info!(events = events.len(), keys = request.keys.len(), "cached slots deleted"),
            Err(problem) => {
                tracing::warn!(events = events.len(), code = ?problem.code(), "cached slots not deleted");
            }
        }
        deleted.map_or_else(|problem| outcome_of(&problem), |_| Outcome::Published)
    };
    let outcome = deletion.with_context(trace).await;
    let outcome_of_event = |event: &Event| if valid.contains(&event.id) { outcome } else { Outcome::Refused };
    events.iter().map(|event| Publication::new(event, outcome_of_event(event))).collect()
}

/// Returns one request for the keys of all events, each once, and the ids of the events with a valid payload.
fn merge(events: &[Event]) -> (DeleteRequest, Vec<i64>) {
    let (mut keys, mut valid) = (Vec::new(), Vec::new());
    for event in events {
        match serde_json::from_str::<DeleteRequest>(&event.payload) {
            Ok(request) => {
                keys.extend(request.keys);
                valid.push(event.id);
            }
            Err(error) => tracing::error!(event_id = event.id, %error, "the payload of an event is invalid"),
        }
    }
    keys.sort_unstable();
    keys.dedup();
    (DeleteRequest { keys }, valid)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, SystemTime};

    use tokio::net::TcpListener;

    use super::*;

    fn event(id: i64, payload: &str) -> Event {
        let (otel, due_since) = (BTreeMap::new(), SystemTime::now());
        Event { id, payload: payload.into(), otel, publications: 1, due_since }
    }

    #[test]
    fn a_full_or_absent_destination_stops_all_events_and_a_refusal_one() {
        for code in [Code::QueueFull, Code::Unavailable, Code::BadGateway, Code::Timeout] {
            assert_eq!(outcome_of(&code.into()), Outcome::Unavailable, "{code:?}");
        }
        for code in [Code::BodyTooLarge, Code::InvalidRequest, Code::NotFound, Code::Internal] {
            assert_eq!(outcome_of(&code.into()), Outcome::Refused, "{code:?}");
        }
    }

    #[test]
    fn deletions_are_merged_and_an_invalid_event_is_left_out() {
        let events = [event(1, r#"{"keys":["b","a"]}"#), event(2, "text"), event(3, r#"{"keys":["a","c"]}"#)];
        let (request, valid) = merge(&events);
        assert_eq!(request.keys, ["a", "b", "c"]);
        assert_eq!(valid, [1, 3]);
    }

    #[tokio::test]
    async fn a_queue_that_is_down_is_called_for_few_of_many_events() {
        let refused = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", refused.local_addr().unwrap());
        drop(refused);
        let queue = Arc::new(Peer::new(&url.parse().unwrap(), Duration::from_secs(1)));
        let events = (1..=1000).map(|id| event(id, "{}")).collect();
        let started = std::time::Instant::now();
        let publications = Destination::Queue(queue).publish(events).await;
        assert_eq!(publications.len(), 1000);
        assert!(publications.iter().all(|publication| publication.outcome == Outcome::Unavailable));
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
}
