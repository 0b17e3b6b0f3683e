//! Booking: the gateways call it to book and cancel lessons, to list bookings and free slots, and to look up a user at log-in.
//!
//! A lesson is booked in one transaction with the reply to its key, so a repeated request books nothing anew. A confirmed
//! booking is committed and its notification is queued; if the notification cannot be queued, the booking is rolled back and
//! the caller gets a 503. Unknown students and tutors are a 404, a lost race for a slot is a 409.

mod slots;
mod availability;
mod idempotency;
mod reserve;
mod cancel;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use clap::Args;
use futures::FutureExt as _;
use opentelemetry::trace::{FutureExt as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use serde_json::value::to_raw_value;
use sqlx::PgPool;
use telemetry::propagation;
use telemetry::server::LogFields;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{
    BOOKING_NOTIFICATION, BookReply, BookRequest, Booking, BookingNotification, Bookings, EnqueueReply,
    EnqueueRequest, User, UserQuery,
};
use crate::app::{self, App, Error};
use crate::error::{Code, Problem, Result};
use crate::extract::{IdempotencyKey, Json};
use crate::peer::{BaseUrls, Peer};
use crate::role::Role;
use crate::{database, extract, middleware};
use reserve::Reservation;

/// Removes the reply of the booking's key, too: a retry books anew.
const DELETE: &str = "WITH deleted AS (DELETE FROM bookings WHERE id = $1)
    DELETE FROM idempotency_keys WHERE student_id = $2 AND key = $3";
const LIST: &str = "SELECT b.id AS booking_id, b.student_id, b.tutor_id, t.name AS tutor_name, b.created_at,
        lower(b.during) AS starts_at, upper(b.during) AS ends_at, b.cancelled_at, b.trace_id, n.sent_at AS notified_at, coalesce(n.deliveries, 0) AS deliveries
    FROM bookings b JOIN tutors t ON t.id = b.tutor_id LEFT JOIN notifications n ON n.booking_id = b.id
    WHERE b.student_id = $1 AND b.id < $2 ORDER BY b.id DESC LIMIT $3";
const FIND_USER: &str = "SELECT student_id, password_hash FROM users WHERE username = $1";

/// Number of bookings in one reply.
const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 1000;

/// Maximum time of a call to the queue; after it the booking is rolled back. Shorter than [`GRACE`], so that
/// running bookings end during a shutdown.
const QUEUE_DEADLINE: Duration = Duration::from_secs(3);

/// Maximum wait on shutdown for running bookings whose caller has gone away.
const GRACE: Duration = Duration::from_secs(4);

/// Settings of the booking service.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(mut_args(app::Settings::defaults(Role::Booking)))]
pub struct Settings {
    /// Base URLs of the queue, separated by commas; a name may have several addresses
    #[arg(long, env = "QUEUE_URL", value_name = "URLS", default_value = Role::Queue.url())]
    queue_url: BaseUrls,
    /// Database.
    #[command(flatten)]
    database: database::Settings,
    /// Process.
    #[command(flatten)]
    pub(crate) process: app::Settings,
}

#[derive(Debug)]
struct BookingDesk {
    pool: PgPool,
    queue: Peer,
    /// Running bookings.
    running: TaskTracker,
}

/// Builds the booking service. It is ready while the database answers, and finishes the running bookings on shutdown.
pub(crate) async fn app(settings: &Settings, _shutdown: CancellationToken) -> Result<App, Error> {
    let pool = settings.database.connect(settings.process.request_timeout).await?;
    let ready = database::readiness(&pool);
    let queue = Peer::new(&settings.queue_url, QUEUE_DEADLINE);
    let running = TaskTracker::new();
    let desk = BookingDesk { pool, queue, running: running.clone() };
    let routes = middleware::requests(router(desk), settings.process.request_timeout);
    let finish = async move {
        running.close();
        if timeout(GRACE, running.wait()).await.is_err() {
            tracing::error!(bookings = running.len(), "bookings were interrupted");
        }
    };
    Ok(App { routes, ready, finish: finish.boxed() })
}

fn router(desk: BookingDesk) -> Router {
    let router = Router::new()
        .route("/book", post(book))
        .route("/bookings", get(bookings))
        .route("/bookings/{id}", delete(cancel::cancel))
        .route("/tutors/{id}/slots", get(availability::slots))
        .route("/users/find", post(user));
    middleware::problems(router).with_state(Arc::new(desk))
}

async fn book(
    State(desk): State<Arc<BookingDesk>>,
    key: Option<IdempotencyKey>,
    Json(request): Json<BookRequest>,
) -> Result<(Extension<LogFields>, Response)> {
    // A task of its own, so that a caller that goes away cannot leave a booking without its notification.
    let key = key.map(|key| key.key);
    let booking = reserve_and_confirm(Arc::clone(&desk), request, key).with_context(Context::current());
    let booked = desk.running.spawn(booking);
    let Reservation { reply, body, is_new } = booked.await.map_err(Problem::internal)??;
    let fields = LogFields::default()
        .with("booking_id", reply.booking_id)
        .with("student_id", reply.student_id)
        .with("tutor_id", reply.tutor_id)
        .with("repeated", !is_new);
    Ok((Extension(fields), ([(header::CONTENT_TYPE, "application/json")], body).into_response()))
}

async fn reserve_and_confirm(
    desk: Arc<BookingDesk>,
    request: BookRequest,
    key: Option<String>,
) -> Result<Reservation> {
    let reservation = reserve::reserve(&desk, &request, key.as_deref()).await?;
    if reservation.is_new {
        confirm(&desk, &reservation.reply, key.as_deref()).await?;
    }
    Ok(reservation)
}

async fn confirm(desk: &BookingDesk, booked: &BookReply, key: Option<&str>) -> Result<()> {
    let BookReply { booking_id, student_id, tutor_id, .. } = *booked;
    let notification = BookingNotification { booking_id, student_id, tutor_id };
    let Err(problem) = enqueue(&desk.queue, notification).await else { return Ok(()) };
    let delete = sqlx::query(DELETE).bind(booking_id).bind(student_id).bind(key).execute(&desk.pool);
    database::query("DELETE bookings", DELETE, delete).await.map_err(|error| database::problem(&error))?;
    tracing::warn!(booking_id, "booking rolled back: its notification could not be queued");
    Err(problem)
}

/// Enqueues the notification in a PRODUCER span, whose context is sent in the message.
async fn enqueue(queue: &Peer, notification: BookingNotification) -> Result<()> {
    let parent = Context::current();
    let tracer = telemetry::tracer();
    let builder = tracer.span_builder("send notifications").with_kind(SpanKind::Producer).with_attributes([
        KeyValue::new("messaging.system", "workbench"),
        KeyValue::new("messaging.operation.name", "send"),
        KeyValue::new("messaging.operation.type", "send"),
        KeyValue::new("messaging.destination.name", "notifications"),
    ]);
    let cx = parent.with_span(tracer.build_with_context(builder, &parent));
    let request = EnqueueRequest {
        task_type: BOOKING_NOTIFICATION.into(),
        payload: to_raw_value(&notification).map_err(Problem::internal)?,
        otel: propagation::inject_map(&cx),
        event_id: None,
    };
    let sent = queue.post("/enqueue", "/enqueue", &request).with_context(cx.clone()).await;
    let sent = sent.and_then(|reply| reply.json::<EnqueueReply>());
    let span = cx.span();
    match &sent {
        Ok(reply) => span.set_attribute(KeyValue::new("messaging.message.id", reply.task_id.clone())),
        Err(_) => {
            span.set_attribute(KeyValue::new("error.type", "not_queued"));
            span.set_status(Status::error(""));
        }
    }
    span.end();
    sent.map(|_| ())
}

async fn bookings(State(desk): State<Arc<BookingDesk>>, uri: Uri) -> Result<axum::Json<Bookings>> {
    let query = extract::query(&uri)?;
    let student = extract::number::<i64>(&query, "student_id")?.ok_or(Code::InvalidRequest)?;
    let limit = extract::number(&query, "limit")?.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let before = extract::number(&query, "before")?.unwrap_or(i64::MAX);
    let list = || sqlx::query_as::<_, Booking>(LIST).bind(student).bind(before).bind(limit);
    let bookings = database::read(&desk.pool, "SELECT bookings", LIST, list).await?;
    Ok(axum::Json(Bookings { bookings }))
}

/// Returns the user of a name. The name is in the body, because logs and spans contain the path, and people enter passwords
/// as user names by mistake.
async fn user(
    State(desk): State<Arc<BookingDesk>>,
    Json(UserQuery { username }): Json<UserQuery>,
) -> Result<axum::Json<User>> {
    // PostgreSQL's `text` cannot contain NUL.
    if username.contains('\0') {
        return Err(Code::NotFound.into());
    }
    let find = || sqlx::query_as::<_, (i64, String)>(FIND_USER).bind(username.clone());
    let rows = database::read(&desk.pool, "SELECT users", FIND_USER, find).await?;
    let (student_id, password_hash) = rows.into_iter().next().ok_or(Code::NotFound)?;
    Ok(axum::Json(User { student_id, password_hash }))
}
