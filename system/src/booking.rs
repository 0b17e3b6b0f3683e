//! Booking: the gateways call it to book, to list bookings, and to look up a user at log-in.
//!
//! Promises that a booking it confirms is committed and that its notification is queued. When the task cannot be queued
//! the booking is taken back and the caller gets 503. Unknown students and tutors are 404.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::{get, post};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use opentelemetry::trace::{FutureExt as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use serde_json::value::to_raw_value;
use sqlx::PgPool;
use telemetry::{propagation, server};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::api::{
    BOOKING_NOTIFICATION, BookReply, BookRequest, Booking, BookingNotification, Bookings, EnqueueReply,
    EnqueueRequest, User,
};
use crate::config::Config;
use crate::error::{Code, Problem, Result};
use crate::extract::{Json, Path};
use crate::peer::Peer;
use crate::service::{Error, Role};
use crate::{database, extract, fallback};

const INSERT: &str = "INSERT INTO bookings (student_id, tutor_id) VALUES ($1, $2) RETURNING id";
const TAKE_BACK: &str = "DELETE FROM bookings WHERE id = $1";
const OF_STUDENT: &str =
    "SELECT b.id AS booking_id, b.student_id, b.tutor_id, t.name AS tutor_name, b.created_at,
        n.sent_at AS notified_at, coalesce(n.deliveries, 0) AS deliveries
    FROM bookings b JOIN tutors t ON t.id = b.tutor_id LEFT JOIN notifications n ON n.booking_id = b.id
    WHERE b.student_id = $1 AND b.id < $2 ORDER BY b.id DESC LIMIT $3";
const BY_USERNAME: &str = "SELECT student_id, password_hash FROM users WHERE username = $1";

/// Bookings in one reply.
const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 1000;

/// The queue answers at once, or not at all: then the booking is taken back, also when the role is stopping.
const QUEUE_DEADLINE: Duration = Duration::from_secs(3);

/// Longest wait, once the role stops, for bookings whose caller is gone.
const GRACE: Duration = Duration::from_secs(4);

/// What the handlers share.
#[derive(Debug)]
struct BookingDesk {
    pool: PgPool,
    queue: Peer,
    /// Bookings under way.
    under_way: TaskTracker,
}

/// The role, and what is left to do once it serves no more.
pub(crate) async fn role(config: &Config) -> Result<(Role, BoxFuture<'static, ()>), Error> {
    let pool = database::connect(config.database_url()?).await?;
    let ready = database::readiness(&pool);
    let queue = config.prompt_peer("QUEUE_URL", &config.peers.queue, QUEUE_DEADLINE)?;
    let under_way = TaskTracker::new();
    let desk = BookingDesk { pool, queue, under_way: under_way.clone() };
    let routes = fallback::bounded(router(desk), config.request_timeout);
    let finish = async move {
        under_way.close();
        if timeout(GRACE, under_way.wait()).await.is_err() {
            tracing::error!(bookings = under_way.len(), "bookings were cut off half-way");
        }
    };
    Ok((Role { routes: server::traced(routes), ready }, finish.boxed()))
}

/// Booking's routes.
fn router(desk: BookingDesk) -> Router {
    let router = Router::new()
        .route("/book", post(book))
        .route("/bookings", get(bookings))
        .route("/users/{username}", get(user));
    fallback::problems(router).with_state(Arc::new(desk))
}

async fn book(
    State(desk): State<Arc<BookingDesk>>,
    Json(request): Json<BookRequest>,
) -> Result<axum::Json<BookReply>> {
    // A caller that goes away must not leave a booking without its notification: what was begun runs to its end.
    let booking = insert_and_confirm(Arc::clone(&desk), request).with_context(Context::current());
    let booked = desk.under_way.spawn(booking);
    let BookingNotification { booking_id, student_id, tutor_id } =
        booked.await.map_err(Problem::internal)??;
    Ok(axum::Json(BookReply { status: "success".into(), booking_id, student_id, tutor_id }))
}

async fn insert_and_confirm(desk: Arc<BookingDesk>, request: BookRequest) -> Result<BookingNotification> {
    let (student_id, tutor_id) = (request.student_id.0, request.tutor_id.0);
    let mut connection = database::acquire(&desk.pool).await?;
    let insert = sqlx::query_scalar(INSERT).bind(student_id).bind(tutor_id).fetch_one(&mut *connection);
    let booking_id: i64 = database::query("INSERT bookings", INSERT, insert)
        .await
        .map_err(|error| database::problem(&error))?;
    drop(connection);
    let notification = BookingNotification { booking_id, student_id, tutor_id };
    confirm(&desk, notification).await?;
    tracing::info!(booking_id, student_id, tutor_id, "booked");
    Ok(notification)
}

async fn confirm(desk: &BookingDesk, notification: BookingNotification) -> Result<()> {
    let Err(problem) = enqueue(&desk.queue, notification).await else { return Ok(()) };
    let take_back = sqlx::query(TAKE_BACK).bind(notification.booking_id).execute(&desk.pool);
    database::query("DELETE bookings", TAKE_BACK, take_back)
        .await
        .map_err(|error| database::problem(&error))?;
    tracing::warn!(booking_id = notification.booking_id, "taken back: its notification could not be queued");
    Err(problem)
}

/// Sends the task inside a PRODUCER span whose context travels in the message.
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
    let mut connection = database::acquire(&desk.pool).await?;
    let rows = sqlx::query_as::<_, Booking>(OF_STUDENT).bind(student).bind(before).bind(limit);
    let rows = database::query("SELECT bookings", OF_STUDENT, rows.fetch_all(&mut *connection)).await;
    Ok(axum::Json(Bookings { bookings: rows.map_err(|error| database::problem(&error))? }))
}

async fn user(State(desk): State<Arc<BookingDesk>>, Path(username): Path) -> Result<axum::Json<User>> {
    // PostgreSQL's text holds no NUL.
    if username.contains('\0') {
        return Err(Code::NotFound.into());
    }
    let mut connection = database::acquire(&desk.pool).await?;
    let row = sqlx::query_as::<_, (i64, String)>(BY_USERNAME).bind(username).fetch_optional(&mut *connection);
    let row =
        database::query("SELECT users", BY_USERNAME, row).await.map_err(|error| database::problem(&error))?;
    let (student_id, password_hash) = row.ok_or(Code::NotFound)?;
    Ok(axum::Json(User { student_id, password_hash }))
}
