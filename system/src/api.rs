//! Every type and header on the wire between processes.
//!
//! Clients of the original system work unchanged: a number may arrive as a numeric string, and unknown members are ignored.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderName;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

mod cache;
mod id;
mod instant;

pub use cache::{CacheEntry, CacheLookup, CacheLookups, DeleteRequest, ReadRequest, SetReply, slots_key};
pub use id::Id;
pub(crate) use instant::parse_instant;

/// Response header: the instance name of the gateway that answered.
pub const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

/// Request header of `POST /book`: a repeated request with the same key gets the first reply again.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Request header: the addresses that the request came through, the client's first.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// One tutor of a search result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tutor {
    /// Positive.
    pub id: i64,
    /// Display name.
    pub name: String,
    /// The only subject that the tutor teaches.
    pub subject: String,
    /// 0 to 5, one decimal digit.
    pub rating: f64,
}

/// Reply of `POST /token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// JSON Web Token, for `Authorization: Bearer`.
    pub access_token: String,
    /// Always `bearer`.
    pub token_type: String,
    /// Lifetime in seconds.
    pub expires_in: u64,
}

/// Reply of the public `GET /search`; `T` is the list of tutors, or its JSON text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchReply<T = Vec<Tutor>> {
    /// Whether the result came from the cache.
    pub cached: bool,
    /// The tutors, by rating in descending order, then by id.
    pub data: T,
}

/// Reply of the search role's `GET /search`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tutors<T = Vec<Tutor>> {
    /// The tutors, by rating in descending order, then by id.
    pub data: T,
}

/// Reply of `GET /subjects`, from search and from the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subjects {
    /// The subjects that are taught, in alphabetical order.
    pub subjects: Vec<Subject>,
}

/// One subject. Spellings that differ only in case are one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name.
    pub subject: String,
    /// Number of tutors that teach it; at least one.
    pub tutors: i64,
}

/// `POST /book`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookRequest {
    /// Id of the student.
    pub student_id: Id,
    /// Id of the tutor.
    pub tutor_id: Id,
    /// When the lesson starts, RFC 3339 with an offset; the earliest free time if absent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "instant::optional")]
    pub starts_at: Option<DateTime<Utc>>,
}

/// Reply of `POST /book`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookReply {
    /// Always `success`.
    pub status: String,
    /// Id of the new booking.
    pub booking_id: i64,
    /// Id of the student.
    pub student_id: i64,
    /// Id of the tutor.
    pub tutor_id: i64,
    /// When the lesson starts.
    pub starts_at: DateTime<Utc>,
    /// When the lesson ends.
    pub ends_at: DateTime<Utc>,
}

/// One booking and the state of its notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Booking {
    /// Later bookings have higher ids.
    pub booking_id: i64,
    /// Id of the student.
    pub student_id: i64,
    /// Id of the tutor.
    pub tutor_id: i64,
    /// Name of the tutor.
    pub tutor_name: String,
    /// When the booking was made.
    pub created_at: DateTime<Utc>,
    /// When the lesson starts; `None` for bookings from before lessons had a time.
    pub starts_at: Option<DateTime<Utc>>,
    /// When the lesson ends.
    pub ends_at: Option<DateTime<Utc>>,
    /// When the booking was cancelled.
    pub cancelled_at: Option<DateTime<Utc>>,
    /// Trace of the request that made the booking, 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// When the notification was first recorded as sent.
    pub notified_at: Option<DateTime<Utc>>,
    /// When the event of the notification was parked, because its task is in the queue's dead letters.
    pub parked_at: Option<DateTime<Utc>>,
    /// Number of times that the notification was recorded as sent.
    pub deliveries: i32,
}

/// Reply of `GET /bookings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bookings {
    /// At most `limit` bookings, newest first.
    pub bookings: Vec<Booking>,
}

/// Body of the booking role's `POST /users/find`, which the gateways call at log-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserQuery {
    /// User name as entered.
    pub username: String,
}

/// Reply of the booking role's `POST /users/find`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The student that the user acts for.
    pub student_id: i64,
    /// Hash of the password, a PHC string.
    pub password_hash: String,
}

/// Body of the queue's `POST /enqueue`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnqueueRequest {
    /// Selects the consumer's handler.
    pub task_type: String,
    /// Any JSON value; its form depends on the task type.
    pub payload: Box<RawValue>,
    /// The sender's trace context, `traceparent` and `tracestate`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub otel: BTreeMap<String, String>,
    /// Id of the sender's event, 1 to 255 bytes. While the queue holds a task of the event (waiting, delayed, leased or dead),
    /// enqueuing it again adds nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
}

/// Reply of `POST /enqueue`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnqueueReply {
    /// Unique until the queue loses its tasks. If the queue holds a task of the event, the id of that task.
    pub task_id: String,
}

/// Reply of `GET /dequeue`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DequeueReply {
    /// Id of the task.
    pub id: String,
    /// Selects the consumer's handler.
    pub task_type: String,
    /// The payload as it was enqueued.
    pub payload: Box<RawValue>,
    /// The sender's trace context.
    #[serde(default)]
    pub otel: BTreeMap<String, String>,
}

/// Body of `POST /lease`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// Maximum number of tasks in the reply.
    pub max: usize,
    /// Length of the lease in milliseconds; the tasks are redelivered when it expires.
    pub visibility_ms: u64,
    /// Maximum wait in milliseconds if no task is available.
    #[serde(default)]
    pub wait_ms: u64,
}

/// Reply of `POST /lease`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeaseReply {
    /// Oldest first; empty if no task was available in time.
    pub tasks: Vec<LeasedTask>,
}

/// One task of a [`LeaseReply`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeasedTask {
    /// Id of the task.
    pub id: String,
    /// Id of the lease.
    pub lease: String,
    /// Selects the consumer's handler.
    pub task_type: String,
    /// The payload as it was enqueued.
    pub payload: Box<RawValue>,
    /// The sender's trace context.
    #[serde(default)]
    pub otel: BTreeMap<String, String>,
    /// Id of the sender's event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Number of leases of the task so far, this one included.
    pub attempts: u32,
    /// When the task was enqueued.
    pub enqueued_at: DateTime<Utc>,
}

/// Reply of `GET /dead?limit=&after=`: tasks whose attempts are used up. They remain until they are redriven, so a reader of
/// all of them passes the id of the last task of a reply as `after`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetters {
    /// In the order in which the tasks were enqueued.
    pub tasks: Vec<DeadTask>,
}

/// One task of [`DeadLetters`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadTask {
    /// Id of the task.
    pub id: String,
    /// Selects the consumer's handler.
    pub task_type: String,
    /// The payload as it was enqueued.
    pub payload: Box<RawValue>,
    /// The sender's trace context.
    #[serde(default)]
    pub otel: BTreeMap<String, String>,
    /// Id of the sender's event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Number of leases of the task.
    pub attempts: u32,
    /// Why the last attempt failed: `expired`, or the reason of the consumer's `POST /nack`, or `unknown` without one.
    pub reason: String,
    /// When the task was enqueued.
    pub enqueued_at: DateTime<Utc>,
    /// When its last attempt failed.
    pub died_at: DateTime<Utc>,
}

/// Body of `POST /redrive`, which returns dead letters to the queue with their attempts at zero.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RedriveRequest {
    /// Ids of the tasks; all dead letters if empty.
    #[serde(default)]
    pub ids: Vec<String>,
}

/// Reply of `POST /redrive`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedriveReply {
    /// Number of tasks that were returned to the queue.
    pub redriven: usize,
}

/// Body of `POST /ack`, which removes a task, and of `POST /nack`, which returns it to the queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SettleRequest {
    /// Id of the task.
    pub id: String,
    /// Id of the lease.
    pub lease: String,
    /// `POST /nack`: time in milliseconds before the task is redelivered; the queue's exponential backoff if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// `POST /nack`: why the attempt failed, for the dead letters. Cut to 500 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Reply of `GET /tutors/{id}/slots?from=&to=`, from booking and from the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// Id of the tutor.
    pub tutor_id: i64,
    /// IANA name of the tutor's time zone.
    pub time_zone: String,
    /// The free slots that start in the requested time, within the horizon; earliest first.
    pub slots: Vec<Slot>,
}

/// How far ahead a lesson can start.
pub const HORIZON: TimeDelta = TimeDelta::weeks(8);

/// One free slot, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slot {
    /// When the lesson starts.
    pub starts_at: DateTime<Utc>,
    /// When the lesson ends.
    pub ends_at: DateTime<Utc>,
}

/// Reply of `DELETE /bookings/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelReply {
    /// Always `cancelled`.
    pub status: String,
    /// Id of the booking.
    pub booking_id: i64,
    /// When it was cancelled.
    pub cancelled_at: DateTime<Utc>,
}

/// Reply of requests that have nothing to return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    /// Always `ok`.
    pub status: String,
}

impl StatusReply {
    /// Returns the reply to a successful request.
    pub fn ok() -> Self {
        Self { status: "ok".into() }
    }
}

/// Task type of the notification of a booking.
pub const BOOKING_NOTIFICATION: &str = "booking_notification";

/// Payload of a [`BOOKING_NOTIFICATION`] task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookingNotification {
    /// Id of the booking.
    pub booking_id: i64,
    /// Id of the student to notify.
    pub student_id: i64,
    /// Id of the tutor to notify.
    pub tutor_id: i64,
}
