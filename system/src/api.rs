//! Every type on the wire, once.
//!
//! A client of the original system works unchanged: a number may arrive as a numeric string, unknown members are ignored.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One tutor, as search tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tutor {
    /// Positive.
    pub id: i64,
    /// Display name.
    pub name: String,
    /// The one subject taught.
    pub subject: String,
    /// 0 to 5, one decimal digit.
    pub rating: f64,
}

/// Reply of `POST /token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The JWT.
    pub access_token: String,
    /// Always `bearer`.
    pub token_type: String,
    /// Seconds.
    pub expires_in: u64,
}

/// Reply of the public `GET /search`; `T` is what stands for the list of tutors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchReply<T = Vec<Tutor>> {
    /// Whether the cache answered.
    pub cached: bool,
    /// Best rating first, then by id.
    pub data: T,
}

/// Reply of search's own `GET /search`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tutors<T = Vec<Tutor>> {
    /// Best rating first, then by id.
    pub data: T,
}

/// `POST /book`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookRequest {
    /// Who learns.
    pub student_id: Id,
    /// Who teaches.
    pub tutor_id: Id,
}

/// Reply of `POST /book`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookReply {
    /// Always `success`.
    pub status: String,
    /// The new booking.
    pub booking_id: i64,
    /// Who learns.
    pub student_id: i64,
    /// Who teaches.
    pub tutor_id: i64,
}

/// One booking and what became of its notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Booking {
    /// Grows with each booking.
    pub booking_id: i64,
    /// Who learns.
    pub student_id: i64,
    /// Who teaches.
    pub tutor_id: i64,
    /// Who teaches, by name.
    pub tutor_name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When the notification was recorded as sent.
    pub notified_at: Option<DateTime<Utc>>,
    /// How often the notification was recorded as sent.
    pub deliveries: i32,
}

/// Reply of `GET /bookings`: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bookings {
    /// At most `limit` of them.
    pub bookings: Vec<Booking>,
}

/// Reply of booking's internal `GET /users/{username}`, read by the gateways at log-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The student whom the user acts for.
    pub student_id: i64,
    /// PHC string.
    pub password_hash: String,
}

/// `POST /set/{key}` of the cache, and its reply to `GET /get/{key}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CacheEntry<T = Box<RawValue>> {
    /// Any JSON value.
    pub value: T,
    /// How long it may be served; the cache's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// `POST /enqueue`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnqueueRequest {
    /// What a consumer dispatches on.
    pub task_type: String,
    /// Whatever the consumer of that type expects.
    pub payload: Box<RawValue>,
    /// The sender's trace context, `traceparent` and `tracestate`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub otel: BTreeMap<String, String>,
}

/// Reply of `POST /enqueue`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnqueueReply {
    /// Unique in the queue's life.
    pub task_id: String,
}

/// The task type of a booking's notification.
pub const BOOKING_NOTIFICATION: &str = "booking_notification";

/// The payload of a [`BOOKING_NOTIFICATION`] task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookingNotification {
    /// The booking to tell of.
    pub booking_id: i64,
    /// Whom to tell.
    pub student_id: i64,
    /// Whom to tell as well.
    pub tutor_id: i64,
}

/// A number that may arrive as a JSON number or as a numeric string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Id(pub i64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer, or a string that holds one")
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Id, E> {
                Ok(Id(value))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Id, E> {
                i64::try_from(value).map(Id).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Id, E> {
                value.trim().parse().map(Id).map_err(|_| E::invalid_value(Unexpected::Str(value), &self))
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_may_arrive_as_a_string_and_unknown_members_are_ignored() {
        let request: BookRequest =
            serde_json::from_str(r#"{"student_id":"1","tutor_id":2,"comment":"please"}"#).unwrap();
        assert_eq!(request, BookRequest { student_id: Id(1), tutor_id: Id(2) });
    }

    #[test]
    fn what_is_no_integer_is_refused() {
        for bad in ["1.5", "true", "null", "[]", "\"one\"", "\"\"", "9223372036854775808"] {
            assert!(serde_json::from_str::<Id>(bad).is_err(), "{bad}");
        }
    }
}
