//! Booking: the gateways call it to book and cancel lessons, to list bookings and free slots, and to look up a user at log-in.
//!
//! A lesson is booked in one transaction with the reply to its key, so a repeated request books nothing anew, and with its events in
//! the outbox, so its notification is sent whatever happens after the commit; the queue need not answer. Unknown students and
//! tutors are a 404, a lost race for a slot is a 409.

mod slots;
mod availability;
mod idempotency;
mod outbox;
mod reserve;
mod cancel;
mod relay;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use clap::Args;
use futures::FutureExt as _;
use opentelemetry::Context;
use opentelemetry::trace::FutureExt as _;
use sqlx::PgPool;
use telemetry::server::LogFields;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{BookRequest, Booking, Bookings, User, UserQuery};
use crate::app::{self, App, Error};
use crate::error::{Code, Problem, Result};
use crate::extract::{IdempotencyKey, Json};
use crate::role::Role;
use crate::{database, extract, middleware};
use outbox::Commits;
use relay::Relay;
use reserve::Reservation;

const LIST: &str = "SELECT b.id AS booking_id, b.student_id, b.tutor_id, t.name AS tutor_name, b.created_at,
        lower(b.during) AS starts_at, upper(b.during) AS ends_at, b.cancelled_at, b.trace_id,
        n.sent_at AS notified_at,
        (SELECT max(parked_at) FROM parked_events p WHERE p.booking_id = b.id) AS parked_at,
        (SELECT count(*) FROM notification_effects e WHERE e.booking_id = b.id)::int AS deliveries
    FROM bookings b JOIN tutors t ON t.id = b.tutor_id LEFT JOIN notifications n ON n.booking_id = b.id
    WHERE b.student_id = $1 AND b.id < $2 ORDER BY b.id DESC LIMIT $3";
const FIND_USER: &str = "SELECT student_id, password_hash FROM users WHERE username = $1";

/// Number of bookings in one reply.
const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 1000;

/// Maximum wait on shutdown for running bookings whose caller has gone away.
const GRACE: Duration = Duration::from_secs(4);

/// Settings of the booking service.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(mut_args(app::Settings::defaults(Role::Booking)))]
pub struct Settings {
    /// Relay.
    #[command(flatten)]
    relay: relay::Settings,
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
    /// Announces committed events to the relays.
    commits: Commits,
    /// Running bookings.
    running: TaskTracker,
}

/// Builds the booking service. It is ready while the database answers. On shutdown it finishes the running bookings and publishes
/// their events.
pub(crate) async fn app(settings: &Settings, shutdown: CancellationToken) -> Result<App, Error> {
    settings.relay.check()?;
    let pool = settings.database.connect(settings.process.request_timeout).await?;
    let ready = database::readiness(&pool);
    tokio::spawn(idempotency::expire(pool.clone(), shutdown));
    let commits = Commits::default();
    let relay = Relay::start(&settings.relay, &pool, commits.clone());
    let running = TaskTracker::new();
    let desk = BookingDesk { pool, commits, running: running.clone() };
    let routes = middleware::requests(router(desk), settings.process.request_timeout);
    let finish = async move {
        running.close();
        if timeout(GRACE, running.wait()).await.is_err() {
            tracing::error!(bookings = running.len(), "bookings were interrupted");
        }
        relay.finish().await;
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
    // A task of its own, so that a caller that goes away does not interrupt a transaction, whose connection would be closed.
    let key = key.map(|key| key.key);
    let booking = reserve_and_announce(Arc::clone(&desk), request, key).with_context(Context::current());
    let booked = desk.running.spawn(booking);
    let Reservation { reply, body, is_new } = booked.await.map_err(Problem::internal)??;
    let fields = LogFields::default()
        .with("booking_id", reply.booking_id)
        .with("student_id", reply.student_id)
        .with("tutor_id", reply.tutor_id)
        .with("repeated", !is_new);
    Ok((Extension(fields), ([(header::CONTENT_TYPE, "application/json")], body).into_response()))
}

async fn reserve_and_announce(
    desk: Arc<BookingDesk>,
    request: BookRequest,
    key: Option<String>,
) -> Result<Reservation> {
    let reservation = reserve::reserve(&desk, &request, key.as_deref()).await?;
    if reservation.is_new {
        desk.commits.announce();
    }
    Ok(reservation)
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
