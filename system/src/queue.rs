//! Queue: booking puts tasks in, notification leases them.
//!
//! Promises first come first served, a bound (503 `queue_full` beyond it), and that a task whose holder neither
//! acknowledges nor gives it back in time is handed out again. Tasks do not survive a restart.

mod line;
mod metrics;
mod waiting;
mod wire;

use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use opentelemetry::KeyValue;
use opentelemetry::trace::TraceContextExt as _;
use serde_json::{Value, json};
use telemetry::{propagation, server};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::{EnqueueReply, EnqueueRequest};
use crate::config::Config;
use crate::error::{Code, Problem, Result};
use crate::extract;
use crate::fallback;
use crate::service::{Role, always_ready};
use line::Handout;
use waiting::Queue;
use wire::{Dequeued, LeaseReply, LeaseRequest, MAX_WAIT, Settlement, Task};

/// A task handed out by `/dequeue` is acknowledged in the same breath.
const AT_ONCE: Duration = Duration::from_millis(1);

pub(crate) fn role(config: &Config, stop: CancellationToken) -> Role {
    let queue = Queue::open(config.queue_capacity, stop);
    telemetry::metrics::register(|registry| registry.register_collector(Box::new(queue.clone())));
    let traced = fallback::bounded(traced(queue.clone()), config.request_timeout);
    // A long poll may wait for longer than a request may take.
    let polled = fallback::bounded(polled(queue), MAX_WAIT + config.request_timeout);
    Role { routes: server::traced(traced).merge(server::logged(polled)), ready: always_ready() }
}

fn traced(queue: Queue) -> Router {
    let router =
        Router::new().route("/enqueue", post(enqueue)).route("/ack", post(ack)).route("/nack", post(nack));
    fallback::problems(router).with_state(queue)
}

/// Polls belong to no request: what they hand out does, and that is told by the `wait lease` span.
fn polled(queue: Queue) -> Router {
    // A HEAD would be answered by GET's handler, and its task handed to nobody.
    let dequeue = get(dequeue).head(|| async { Problem::from(Code::MethodNotAllowed) });
    let router = Router::new().route("/lease", post(lease)).route("/dequeue", dequeue);
    // Unknown paths are answered by the other router: two that are merged cannot both do so.
    router.method_not_allowed_fallback(|| async { Problem::from(Code::MethodNotAllowed) }).with_state(queue)
}

async fn enqueue(
    State(queue): State<Queue>,
    extract::Json(request): extract::Json<EnqueueRequest>,
) -> Result<Json<EnqueueReply>> {
    let EnqueueRequest { task_type, payload, otel } = request;
    let message = propagation::extract_map(&otel);
    let task = Task {
        id: 0,
        task_type: task_type.clone(),
        payload,
        otel,
        attempts: 0,
        enqueued_at: SystemTime::now(),
    };
    let id = queue.lock().enqueue(task, Instant::now()).ok_or(Code::QueueFull)?;
    queue.arrivals.notify_one();
    let task_id = id.to_string();
    // The line belongs to the message's trace, which need not be the request's.
    let _in_its_trace = message.has_active_span().then(|| message.attach());
    tracing::info!(task_id, task_type, "enqueue");
    Ok(Json(EnqueueReply { task_id }))
}

async fn dequeue(State(queue): State<Queue>) -> Result<Json<Dequeued>> {
    let handout = {
        let mut line = queue.lock();
        let now = Instant::now();
        let handout = line.lease(1, AT_ONCE, now).pop();
        handout.inspect(|handout| _ = line.ack(handout.task.id, handout.lease, now))
    };
    match handout {
        Some(handout) => {
            handed_out(&handout);
            Ok(Json(handout.task.into()))
        }
        None => {
            tracing::info!(status = 404, "dequeue");
            Err(Problem::with_detail(Code::NotFound, "The queue is empty."))
        }
    }
}

async fn lease(
    State(queue): State<Queue>,
    extract::Json(request): extract::Json<LeaseRequest>,
) -> Result<Json<LeaseReply>> {
    request.check()?;
    let visibility = Duration::from_millis(request.visibility_ms);
    let wait_until = Instant::now() + Duration::from_millis(request.wait_ms);
    let handouts = queue.wait_and_lease(request.max, visibility, wait_until).await;
    handouts.iter().for_each(handed_out);
    if handouts.is_empty() {
        tracing::info!(status = 404, "dequeue");
    }
    Ok(Json(LeaseReply { tasks: handouts.into_iter().map(Into::into).collect() }))
}

async fn ack(
    State(queue): State<Queue>,
    extract::Json(settled): extract::Json<Settlement>,
) -> Result<Json<Value>> {
    let (id, lease) = settled.held()?;
    let held = queue.lock().ack(id, lease, Instant::now());
    settled_reply(held)
}

async fn nack(
    State(queue): State<Queue>,
    extract::Json(settled): extract::Json<Settlement>,
) -> Result<Json<Value>> {
    let delay = settled.delay()?;
    let (id, lease) = settled.held()?;
    let held = queue.returning(|line| line.nack(id, lease, delay, Instant::now()));
    settled_reply(held)
}

fn settled_reply(held: bool) -> Result<Json<Value>> {
    if held {
        Ok(Json(json!({ "status": "ok" })))
    } else {
        Err(Problem::with_detail(Code::NotFound, "This lease is not held."))
    }
}

/// Records that a task left the queue: a `wait lease` span and a log line, both in the task's own trace.
fn handed_out(handout: &Handout) {
    let task = &handout.task;
    let parent = propagation::extract_map(&task.otel);
    let now = SystemTime::now();
    let since = now.checked_sub(handout.waited).unwrap_or(now);
    let attributes = [
        KeyValue::new("messaging.system", "workbench"),
        KeyValue::new("messaging.destination.name", "notifications"),
        KeyValue::new("messaging.message.id", task.id.to_string()),
        KeyValue::new("messaging.message.attempts", i64::from(task.attempts)),
    ];
    telemetry::wait::record("wait lease", since, attributes, &parent);
    let _in_its_trace = parent.attach();
    tracing::info!(status = 200, task_id = task.id.to_string(), attempts = task.attempts, "dequeue");
}

#[cfg(test)]
mod tests;
