//! Queue: booking enqueues tasks, notification leases them.
//!
//! Tasks are leased in the order of arrival. A task that is neither acknowledged nor returned before its lease expires is
//! redelivered after a delay that doubles with each attempt. A task whose attempts are used up becomes a dead letter, until it
//! is redriven. While the queue holds a task of an event, it adds no other task of that event. A full queue answers 503
//! `queue_full`; dead letters count. A restart empties the queue.

mod limits;
mod task;
mod policy;
mod memory;
mod metrics;

use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::http::Uri;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use clap::Args;
use opentelemetry::KeyValue;
use opentelemetry::trace::TraceContextExt as _;
use serde::Serialize;
use telemetry::arguments::{bytes, within};
use telemetry::propagation;
use telemetry::server::LogFields;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::{
    DeadLetters, DeadTask, DequeueReply, EnqueueReply, EnqueueRequest, LeaseReply, LeaseRequest, LeasedTask,
    RedriveReply, RedriveRequest, SettleRequest, StatusReply,
};
use crate::app::{self, App, Error};
use crate::error::{Code, Problem, Result};
use crate::extract;
use crate::middleware;
use crate::role::Role;
use limits::Limits;
use memory::SharedQueue;
use policy::{Dead, Delivery, Enqueued, LeaseId, TaskId};
use task::{FailedAttempt, Task};

/// Maximum number of tasks in one reply of `POST /lease`.
const MAX_TASKS: usize = 1000;

/// Maximum wait of `POST /lease` for a task.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Maximum length of a lease and of a delay, in milliseconds.
const MAX_HOLD_MS: u64 = 600_000;

/// Maximum length of an event's id, in bytes.
const MAX_EVENT_ID: usize = 255;

/// Length to which the reason of a failed attempt is cut, in bytes.
const MAX_REASON: usize = 500;

/// Number of dead letters in one reply.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// Delay after the first failed attempt of a task: its cause is unlikely to go away at once.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// Length of the lease of `GET /dequeue`, which is acknowledged at once.
const DEQUEUE_LEASE: Duration = Duration::from_millis(1);

/// Maximum of `QUEUE_CAPACITY`.
const MAX_CAPACITY: usize = 100_000_000;

/// Settings of the queue.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(mut_args(app::Settings::defaults(Role::Queue)))]
pub struct Settings {
    /// Maximum number of tasks, leased and dead ones included (at least 1)
    #[arg(long, env = "QUEUE_CAPACITY", value_name = "TASKS", default_value_t = 100_000, value_parser = within(1..=MAX_CAPACITY))]
    queue_capacity: usize,
    /// Maximum size of all tasks, in bytes (at least 65536)
    #[arg(long, env = "QUEUE_MAX_BYTES", value_name = "BYTES", default_value_t = 64 << 20, value_parser = bytes::<usize>)]
    queue_max_bytes: usize,
    /// Number of leases of a task after which it becomes a dead letter (1 to 1000)
    #[arg(
        long, env = "QUEUE_MAX_ATTEMPTS", value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    queue_max_attempts: u32,
    /// Process.
    #[command(flatten)]
    pub(crate) process: app::Settings,
}

impl Settings {
    fn limits(&self) -> Limits {
        Limits {
            tasks: self.queue_capacity,
            bytes: self.queue_max_bytes,
            attempts: self.queue_max_attempts,
            first_backoff: FIRST_BACKOFF,
        }
    }
}

/// Builds the queue.
pub(crate) async fn app(settings: &Settings, shutdown: CancellationToken) -> Result<App, Error> {
    let limit = settings.process.request_timeout;
    let queue = SharedQueue::open(settings.limits(), shutdown);
    telemetry::metrics::register(|registry| registry.register_collector(Box::new(queue.clone())));
    let requests = middleware::requests(request_routes(queue.clone()), limit);
    // A long poll may last longer than a request.
    let polls = middleware::polls(poll_routes(queue), limit, MAX_WAIT);
    Ok(App::new(requests.merge(polls)))
}

fn request_routes(queue: SharedQueue) -> Router {
    let router = Router::new()
        .route("/enqueue", post(enqueue))
        .route("/ack", post(ack))
        .route("/nack", post(nack))
        .route("/redrive", post(redrive));
    middleware::problems(router).with_state(queue)
}

/// Polls of consumers and relays have no span, because they belong to no request. The `wait lease` span of each task shows its
/// delivery.
fn poll_routes(queue: SharedQueue) -> Router {
    // Otherwise GET's handler would answer a HEAD and the task would be lost.
    let dequeue = get(dequeue).head(|| async { Problem::from(Code::MethodNotAllowed) });
    let router =
        Router::new().route("/lease", post(lease)).route("/dequeue", dequeue).route("/dead", get(dead));
    // Only one of two merged routers can have a fallback for unknown paths: it is in `request_routes`.
    router.method_not_allowed_fallback(|| async { Problem::from(Code::MethodNotAllowed) }).with_state(queue)
}

async fn enqueue(
    State(queue): State<SharedQueue>,
    extract::Json(request): extract::Json<EnqueueRequest>,
) -> Result<(Extension<LogFields>, Json<EnqueueReply>)> {
    if request.event_id.as_ref().is_some_and(|id| !(1..=MAX_EVENT_ID).contains(&id.len())) {
        return Err(Problem::with_detail(Code::InvalidRequest, "`event_id` must have 1 to 255 bytes."));
    }
    let fields = LogFields::default().with("task_type", request.task_type.clone());
    let enqueued = queue.lock().enqueue(Task::new(request), Instant::now()).ok_or(Code::QueueFull)?;
    let (id, fields) = match enqueued {
        Enqueued::Added(id) => {
            queue.available.notify_one();
            (id, fields)
        }
        Enqueued::Duplicate(id) => (id, fields.with("duplicate", true)),
    };
    let task_id = id.to_string();
    let fields = fields.with("task_id", &task_id);
    Ok((Extension(fields), Json(EnqueueReply { task_id })))
}

async fn dequeue(State(queue): State<SharedQueue>) -> Result<(Extension<LogFields>, Json<DequeueReply>)> {
    let delivery = {
        let mut queue = queue.lock();
        let now = Instant::now();
        let delivery = queue.lease(1, DEQUEUE_LEASE, now).pop();
        delivery.inspect(|delivery| _ = queue.ack(delivery.id, delivery.lease, now))
    };
    let delivery = delivery.ok_or_else(|| Problem::with_detail(Code::NotFound, "The queue is empty."))?;
    let fields = log_fields(std::slice::from_ref(&delivery));
    let Task { task_type, payload, otel, .. } = Task::clone(&delivery.task);
    Ok((Extension(fields), Json(DequeueReply { id: delivery.id.to_string(), task_type, payload, otel })))
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

fn leased_task(Delivery { id, lease, task, attempts, .. }: Delivery) -> LeasedTask {
    let Task { task_type, payload, otel, event_id, enqueued_at } = Task::clone(&task);
    let (id, lease) = (id.to_string(), lease.to_string());
    LeasedTask { id, lease, task_type, payload, otel, event_id, attempts, enqueued_at }
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
    if request.delay_ms.is_some_and(|delay| delay > MAX_HOLD_MS) {
        return Err(Problem::with_detail(Code::InvalidRequest, "`delay_ms` must be at most 600000."));
    }
    let (id, lease) = ids(&request)?;
    let delay = request.delay_ms.map(Duration::from_millis);
    let failed = FailedAttempt { delay, reason: request.reason.map(cut) };
    let returned = queue.update(|queue| queue.nack(id, lease, failed, Instant::now()));
    if returned { Ok(Json(StatusReply::ok())) } else { Err(expired()) }
}

/// Cuts the reason of a failed attempt. A longer one is not refused, because then the attempt would end only with its lease.
fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    reason
}

async fn dead(State(queue): State<SharedQueue>, uri: Uri) -> Result<Json<DeadLetters>> {
    let query = extract::query(&uri)?;
    let limit = extract::number(&query, "limit")?.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let after = extract::number::<TaskId>(&query, "after")?.unwrap_or_default();
    let dead = queue.lock().dead(after, limit);
    Ok(Json(DeadLetters { tasks: dead.into_iter().map(dead_task).collect() }))
}

fn dead_task((id, Dead { task, attempts, reason, died_at }): (TaskId, Dead)) -> DeadTask {
    let Task { task_type, payload, otel, event_id, enqueued_at } = Task::clone(&task);
    DeadTask {
        id: id.to_string(),
        task_type,
        payload,
        otel,
        event_id,
        attempts,
        reason,
        enqueued_at,
        died_at,
    }
}

async fn redrive(
    State(queue): State<SharedQueue>,
    extract::Json(RedriveRequest { ids }): extract::Json<RedriveRequest>,
) -> Result<(Extension<LogFields>, Json<RedriveReply>)> {
    // An id that is not a number is an unknown one.
    let known =
        (!ids.is_empty()).then(|| ids.iter().filter_map(|id| id.parse().ok()).collect::<Vec<TaskId>>());
    let redriven = queue.update(|queue| queue.redrive(known.as_deref(), Instant::now()));
    Ok((Extension(LogFields::default().with("redriven", redriven)), Json(RedriveReply { redriven })))
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

#[cfg(test)]
mod tests;
