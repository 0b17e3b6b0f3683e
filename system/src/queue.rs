//! Queue: booking enqueues tasks, notification leases them.
//!
//! Tasks are leased in the order of arrival. A task that is neither acknowledged nor returned before its lease expires is
//! redelivered. A full queue answers 503 `queue_full`. A restart empties the queue.

mod policy;
mod shared;
mod metrics;

use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use clap::Args;
use opentelemetry::KeyValue;
use opentelemetry::trace::TraceContextExt as _;
use serde::Serialize;
use telemetry::arguments::{at_least, at_least_one};
use telemetry::propagation;
use telemetry::server::LogFields;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::{
    DequeueReply, EnqueueReply, EnqueueRequest, LeaseReply, LeaseRequest, LeasedTask, SettleRequest,
    StatusReply,
};
use crate::app::{self, App, Error};
use crate::error::{Code, Problem, Result};
use crate::extract;
use crate::middleware;
use crate::role::Role;
use policy::{Delivery, LeaseId, Task, TaskId};
use shared::SharedQueue;

/// Maximum number of tasks in one reply of `POST /lease`.
const MAX_TASKS: usize = 1000;

/// Maximum wait of `POST /lease` for a task.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Maximum length of a lease and of a delay, in milliseconds.
const MAX_HOLD_MS: u64 = 600_000;

/// Length of the lease of `GET /dequeue`, which is acknowledged at once.
const DEQUEUE_LEASE: Duration = Duration::from_millis(1);

/// Settings of the queue.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(mut_args(app::Settings::defaults(Role::Queue)))]
pub struct Settings {
    /// Maximum number of tasks, leased ones included (at least 1)
    #[arg(long, env = "QUEUE_CAPACITY", value_name = "TASKS", default_value_t = 100_000, value_parser = at_least_one)]
    queue_capacity: usize,
    /// Maximum size of all tasks, in bytes (at least 65536)
    #[arg(long, env = "QUEUE_MAX_BYTES", value_name = "BYTES", default_value_t = 64 << 20, value_parser = at_least(64_usize << 10))]
    queue_max_bytes: usize,
    /// Process.
    #[command(flatten)]
    pub(crate) process: app::Settings,
}

/// Builds the queue.
pub(crate) async fn app(settings: &Settings, shutdown: CancellationToken) -> Result<App, Error> {
    let limit = settings.process.request_timeout;
    let queue = SharedQueue::open(settings.queue_capacity, settings.queue_max_bytes, shutdown);
    telemetry::metrics::register(|registry| registry.register_collector(Box::new(queue.clone())));
    let requests = middleware::requests(request_routes(queue.clone()), limit);
    // A long poll may last longer than a request.
    let polls = middleware::polls(poll_routes(queue), limit, MAX_WAIT);
    Ok(App::new(requests.merge(polls)))
}

fn request_routes(queue: SharedQueue) -> Router {
    let router =
        Router::new().route("/enqueue", post(enqueue)).route("/ack", post(ack)).route("/nack", post(nack));
    middleware::problems(router).with_state(queue)
}

/// Polls have no span, because they belong to no request. The `wait lease` span of each task shows its delivery.
fn poll_routes(queue: SharedQueue) -> Router {
    // Otherwise GET's handler would answer a HEAD and the task would be lost.
    let dequeue = get(dequeue).head(|| async { Problem::from(Code::MethodNotAllowed) });
    let router = Router::new().route("/lease", post(lease)).route("/dequeue", dequeue);
    // Only one of two merged routers can have a fallback for unknown paths: it is in `request_routes`.
    router.method_not_allowed_fallback(|| async { Problem::from(Code::MethodNotAllowed) }).with_state(queue)
}

async fn enqueue(
    State(queue): State<SharedQueue>,
    extract::Json(request): extract::Json<EnqueueRequest>,
) -> Result<(Extension<LogFields>, Json<EnqueueReply>)> {
    let EnqueueRequest { task_type, payload, otel, event_id: _ } = request;
    let task = Task::new(task_type.clone(), payload, otel);
    let id = queue.lock().enqueue(task, Instant::now()).ok_or(Code::QueueFull)?;
    queue.available.notify_one();
    let task_id = id.to_string();
    let fields = LogFields::default().with("task_id", &task_id).with("task_type", task_type);
    Ok((Extension(fields), Json(EnqueueReply { task_id })))
}

async fn dequeue(State(queue): State<SharedQueue>) -> Result<(Extension<LogFields>, Json<DequeueReply>)> {
    let delivery = {
        let mut queue = queue.lock();
        let now = Instant::now();
        let delivery = queue.lease(1, DEQUEUE_LEASE, now).pop();
        delivery.inspect(|delivery| _ = queue.ack(delivery.task.id, delivery.lease, now))
    };
    let delivery = delivery.ok_or_else(|| Problem::with_detail(Code::NotFound, "The queue is empty."))?;
    let fields = log_fields(std::slice::from_ref(&delivery));
    let Task { id, task_type, payload, otel, .. } = delivery.task;
    Ok((Extension(fields), Json(DequeueReply { id: id.to_string(), task_type, payload, otel })))
}

async fn lease(
    State(queue): State<SharedQueue>,
    extract::Json(request): extract::Json<LeaseRequest>,
) -> Result<(Extension<LogFields>, Json<LeaseReply>)> {
    check(&request)?;
    let visibility = Duration::from_millis(request.visibility_ms);
    let wait_until = Instant::now() + Duration::from_millis(request.wait_ms);
    let deliveries = queue.wait_and_lease(request.max, visibility, wait_until).await;
    let fields = log_fields(&deliveries);
    let tasks = deliveries.into_iter().map(leased_task).collect();
    Ok((Extension(fields), Json(LeaseReply { tasks })))
}

fn check(request: &LeaseRequest) -> Result<()> {
    let is_valid = (1..=MAX_TASKS).contains(&request.max)
        && (1..=MAX_HOLD_MS).contains(&request.visibility_ms)
        && Duration::from_millis(request.wait_ms) <= MAX_WAIT;
    let limits = "`max` must be 1 to 1000, `visibility_ms` 1 to 600000, `wait_ms` at most 30000.";
    if is_valid { Ok(()) } else { Err(Problem::with_detail(Code::InvalidRequest, limits)) }
}

fn leased_task(Delivery { task, lease, .. }: Delivery) -> LeasedTask {
    LeasedTask {
        id: task.id.to_string(),
        lease: lease.to_string(),
        task_type: task.task_type,
        payload: task.payload,
        otel: task.otel,
        event_id: None,
        attempts: task.attempts,
        enqueued_at: task.enqueued_at.into(),
    }
}

async fn ack(
    State(queue): State<SharedQueue>,
    extract::Json(request): extract::Json<SettleRequest>,
) -> Result<Json<StatusReply>> {
    let (id, lease) = ids(&request)?;
    if queue.lock().ack(id, lease, Instant::now()) { Ok(Json(StatusReply::ok())) } else { Err(expired()) }
}

async fn nack(
    State(queue): State<SharedQueue>,
    extract::Json(request): extract::Json<SettleRequest>,
) -> Result<Json<StatusReply>> {
    if request.delay_ms > MAX_HOLD_MS {
        return Err(Problem::with_detail(Code::InvalidRequest, "`delay_ms` must be at most 600000."));
    }
    let delay = Duration::from_millis(request.delay_ms);
    let (id, lease) = ids(&request)?;
    let returned = queue.update(|queue| queue.nack(id, lease, delay, Instant::now()));
    if returned { Ok(Json(StatusReply::ok())) } else { Err(expired()) }
}

/// Parses the ids of a request. They are opaque to consumers, so an invalid id is treated as an unknown one.
fn ids(request: &SettleRequest) -> Result<(TaskId, LeaseId)> {
    request.id.parse().ok().zip(request.lease.parse().ok()).ok_or_else(expired)
}

/// Returns the problem for an expired lease, and also for an unknown one.
fn expired() -> Problem {
    Problem::with_detail(Code::NotFound, "The lease has expired.")
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
    let task = &delivery.task;
    let task_id = task.id.to_string();
    let sender = propagation::extract_map(&task.otel);
    let now = SystemTime::now();
    let since = now.checked_sub(delivery.waited).unwrap_or(now);
    let attributes = [
        KeyValue::new("messaging.system", "workbench"),
        KeyValue::new("messaging.destination.name", "notifications"),
        KeyValue::new("messaging.message.id", task_id.clone()),
        KeyValue::new("messaging.message.attempts", i64::from(task.attempts)),
    ];
    telemetry::wait::record("wait lease", since, attributes, &sender);
    let trace_id = sender.has_active_span().then(|| sender.span().span_context().trace_id().to_string());
    LoggedTask { task_id, attempts: task.attempts, trace_id }
}

#[cfg(test)]
mod tests;
