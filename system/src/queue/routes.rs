//! The routes of the queue: validation, log fields, and the spans of deliveries.

use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::Uri;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use opentelemetry::KeyValue;
use opentelemetry::trace::TraceContextExt as _;
use serde::Serialize;
use telemetry::propagation;
use telemetry::server::LogFields;
use tokio::time::Instant;

use super::storage::{Storage, StorageError};
use super::task::{Delivery, Enqueued, FailedAttempt, Task, TaskId};
use crate::api::{
    DeadLetters, DequeueReply, EnqueueReply, EnqueueRequest, LeaseReply, LeaseRequest, RedriveReply,
    RedriveRequest, SettleRequest, StatusReply,
};
use crate::error::{Code, Problem, Result};
use crate::{extract, middleware};

/// Maximum number of tasks in one reply of `POST /lease`.
const MAX_TASKS: usize = 1000;

/// Maximum wait of `POST /lease` for a task.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(30);

/// Maximum length of a lease and of a delay, in milliseconds.
const MAX_HOLD_MS: u64 = 600_000;

/// Maximum length of an event's id, in bytes.
const MAX_EVENT_ID: usize = 255;

/// Length to which the reason of a failed attempt is cut, in bytes.
const MAX_REASON: usize = 500;

/// Number of dead letters in one reply.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// Length of the lease of `GET /dequeue`, which is acknowledged at once.
const DEQUEUE_LEASE: Duration = Duration::from_secs(5);

/// Returns the routes of requests.
pub(super) fn requests<S: Storage>(queue: S) -> Router {
    let router = Router::new()
        .route("/enqueue", post(enqueue::<S>))
        .route("/ack", post(ack::<S>))
        .route("/nack", post(nack::<S>))
        .route("/redrive", post(redrive::<S>));
    middleware::problems(router).with_state(queue)
}

/// Returns the routes that consumers and relays poll. Polls have no span, because they belong to no request. The `wait lease` span
/// of each task shows its delivery.
pub(super) fn polls<S: Storage>(queue: S) -> Router {
    // Otherwise GET's handler would answer a HEAD and the task would be lost.
    let dequeue = get(dequeue::<S>).head(|| async { Problem::from(Code::MethodNotAllowed) });
    let router = Router::new()
        .route("/lease", post(lease::<S>))
        .route("/dequeue", dequeue)
        .route("/dead", get(dead::<S>));
    // Only one of two merged routers can have a fallback for unknown paths: it is in `requests`.
    router.method_not_allowed_fallback(|| async { Problem::from(Code::MethodNotAllowed) }).with_state(queue)
}

async fn enqueue<S: Storage>(
    State(queue): State<S>,
    extract::Json(request): extract::Json<EnqueueRequest>,
) -> Result<(Extension<LogFields>, Json<EnqueueReply>)> {
    if request.event_id.as_ref().is_some_and(|id| !(1..=MAX_EVENT_ID).contains(&id.len())) {
        return Err(Problem::with_detail(Code::InvalidRequest, "`event_id` must have 1 to 255 bytes."));
    }
    let fields = LogFields::default().with("task_type", request.task_type.clone());
    let (id, fields) = match queue.enqueue(Task::new(request)).await.map_err(problem)? {
        Enqueued::Added(id) => (id, fields),
        Enqueued::Duplicate(id) => (id, fields.with("duplicate", true)),
    };
    let task_id = id.to_string();
    let fields = fields.with("task_id", &task_id);
    Ok((Extension(fields), Json(EnqueueReply { task_id })))
}

async fn dequeue<S: Storage>(State(queue): State<S>) -> Result<(Extension<LogFields>, Json<DequeueReply>)> {
    let delivery = queue.lease(1, DEQUEUE_LEASE, Instant::now()).await.map_err(problem)?.pop();
    let delivery = delivery.ok_or_else(|| Problem::with_detail(Code::NotFound, "The queue is empty."))?;
    queue.ack(delivery.id, &delivery.lease).await.map_err(problem)?;
    let fields = log_fields(std::slice::from_ref(&delivery));
    let Delivery { id, task: Task { task_type, payload, otel, .. }, .. } = delivery;
    Ok((Extension(fields), Json(DequeueReply { id: id.to_string(), task_type, payload, otel })))
}

async fn lease<S: Storage>(
    State(queue): State<S>,
    extract::Json(request): extract::Json<LeaseRequest>,
) -> Result<(Extension<LogFields>, Json<LeaseReply>)> {
    check(&request)?;
    let visibility = Duration::from_millis(request.visibility_ms);
    let wait_until = Instant::now() + Duration::from_millis(request.wait_ms);
    let deliveries = queue.lease(request.max, visibility, wait_until).await.map_err(problem)?;
    let fields = log_fields(&deliveries);
    let tasks = deliveries.into_iter().map(Delivery::into_leased).collect();
    Ok((Extension(fields), Json(LeaseReply { tasks })))
}

fn check(request: &LeaseRequest) -> Result<()> {
    let is_valid = (1..=MAX_TASKS).contains(&request.max)
        && (1..=MAX_HOLD_MS).contains(&request.visibility_ms)
        && Duration::from_millis(request.wait_ms) <= MAX_WAIT;
    let limits = "`max` must be 1 to 1000, `visibility_ms` 1 to 600000, `wait_ms` at most 30000.";
    if is_valid { Ok(()) } else { Err(Problem::with_detail(Code::InvalidRequest, limits)) }
}

async fn ack<S: Storage>(
    State(queue): State<S>,
    extract::Json(request): extract::Json<SettleRequest>,
) -> Result<Json<StatusReply>> {
    queue.ack(task_id(&request)?, &request.lease).await.map_err(problem)?;
    Ok(Json(StatusReply::ok()))
}

async fn nack<S: Storage>(
    State(queue): State<S>,
    extract::Json(request): extract::Json<SettleRequest>,
) -> Result<Json<StatusReply>> {
    if request.delay_ms.is_some_and(|delay| delay > MAX_HOLD_MS) {
        return Err(Problem::with_detail(Code::InvalidRequest, "`delay_ms` must be at most 600000."));
    }
    let id = task_id(&request)?;
    let delay = request.delay_ms.map(Duration::from_millis);
    let failed = FailedAttempt { delay, reason: request.reason.map(cut) };
    queue.nack(id, &request.lease, failed).await.map_err(problem)?;
    Ok(Json(StatusReply::ok()))
}

/// Cuts the reason of a failed attempt. A longer one is not refused, because then the attempt would end only with its lease.
fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    reason
}

async fn dead<S: Storage>(State(queue): State<S>, uri: Uri) -> Result<Json<DeadLetters>> {
    let query = extract::query(&uri)?;
    let limit = extract::number(&query, "limit")?.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let after = extract::number::<TaskId>(&query, "after")?.unwrap_or_default();
    Ok(Json(DeadLetters { tasks: queue.dead(after, limit).await.map_err(problem)? }))
}

async fn redrive<S: Storage>(
    State(queue): State<S>,
    extract::Json(RedriveRequest { ids }): extract::Json<RedriveRequest>,
) -> Result<(Extension<LogFields>, Json<RedriveReply>)> {
    // An id that is not a number is an unknown one.
    let ids = (!ids.is_empty()).then(|| ids.iter().filter_map(|id| id.parse().ok()).collect());
    let redriven = queue.redrive(ids).await.map_err(problem)?;
    Ok((Extension(LogFields::default().with("redriven", redriven)), Json(RedriveReply { redriven })))
}

/// Parses the id of a task. It is opaque to consumers, so an invalid one is treated as an unknown one.
fn task_id(request: &SettleRequest) -> Result<TaskId> {
    request.id.parse().map_err(|_| expired())
}

/// Returns the problem for an expired lease, and also for an unknown one.
fn expired() -> Problem {
    Problem::with_detail(Code::NotFound, "The lease has expired.")
}

/// Returns the problem of a call that the storage did not do. Logs a failure of the server, but not a lost connection, which
/// is logged once.
fn problem(error: StorageError) -> Problem {
    match error {
        StorageError::Full => Code::QueueFull.into(),
        StorageError::Expired => expired(),
        StorageError::Disconnected => Code::Unavailable.into(),
        StorageError::TimedOut => {
            tracing::warn!("no answer from NATS in time");
            Code::Unavailable.into()
        }
        StorageError::Failed(cause) => {
            tracing::warn!(cause = cause.to_string(), "NATS refused a call");
            Code::Unavailable.into()
        }
    }
}

/// Records the deliveries of a poll and returns the fields of its log line.
fn log_fields(deliveries: &[Delivery]) -> LogFields {
    LogFields::default().with("tasks", deliveries.iter().map(record).collect::<Vec<_>>())
}

/// A task in the log line of the poll that it was delivered to.
#[derive(Debug, Serialize)]
struct LoggedTask {
    task_id: String,
    attempts: u32,
    /// The trace of the task. The poll itself has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// Records the delivery of a task with a `wait lease` span in the trace of the task.
fn record(delivery: &Delivery) -> LoggedTask {
    let task_id = delivery.id.to_string();
    let sender = propagation::extract_map(&delivery.task.otel);
    let now = SystemTime::now();
    let since = now.checked_sub(delivery.waited).unwrap_or(now);
    let attributes = [
        KeyValue::new("messaging.system", "workbench"),
        KeyValue::new("messaging.destination.name", "notifications"),
        KeyValue::new("messaging.message.id", task_id.clone()),
        KeyValue::new("messaging.message.attempts", i64::from(delivery.attempts)),
    ];
    telemetry::wait::record("wait lease", since, attributes, &sender);
    let trace_id = sender.has_active_span().then(|| sender.span().span_context().trace_id().to_string());
    LoggedTask { task_id, attempts: delivery.attempts, trace_id }
}
