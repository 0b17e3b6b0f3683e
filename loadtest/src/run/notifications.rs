//! Waits for the notification of each accepted booking and counts notifications.
//!
//! Reads `GET /bookings` of each student without tracing: these requests are not part of the run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use collector::latency::Summary;
use system::api::{self, Booking};
use telemetry::contract::TRACEPARENT;

use super::options::Endpoints;
use super::progress::Progress;
use crate::bundle::schema::BookingCounts;
use crate::drive::DriveOutcome;
use crate::measure::{AcceptedBooking, histogram};

/// Bookings per page.
const PAGE: usize = 1000;
/// Interval between two reads of a student's bookings.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The wait ends when no notification has arrived for this long. The lease of a killed worker expires after 30 s.
const UNCHANGED_TIMEOUT: Duration = Duration::from_secs(40);
/// A trace context that is not sampled, so that no service records a span.
const UNTRACED: &str = "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-00";

/// Waits until every accepted booking has been notified, or no further notification arrives.
pub(super) async fn wait(
    http: &reqwest::Client,
    endpoints: &Endpoints,
    driven: &DriveOutcome,
    progress: &Progress,
) -> BookingCounts {
    let check = Check { http, target: endpoints.target.trim_end_matches('/'), tokens: &driven.tokens };
    let accepted = &driven.measured.accepted;
    check.settled(accepted, |notified| progress.notified(notified, accepted.len())).await
}

/// Reads the bookings of students.
struct Check<'a> {
    http: &'a reqwest::Client,
    /// Base URL of the balancer.
    target: &'a str,
    /// A token for each student.
    tokens: &'a BTreeMap<i64, Arc<str>>,
}

impl Check<'_> {
    async fn settled(&self, accepted: &[AcceptedBooking], progress: impl Fn(usize)) -> BookingCounts {
        let mut pending: BTreeMap<i64, HashSet<i64>> = BTreeMap::new();
        for AcceptedBooking { booking, student } in accepted {
            pending.entry(*student).or_default().insert(*booking);
        }
        let mut notified: HashMap<i64, Booking> = HashMap::new();
        let mut changed = Instant::now();
        while !pending.is_empty() && changed.elapsed() < UNCHANGED_TIMEOUT {
            let before = notified.len();
            for (student, bookings) in &mut pending {
                for booking in self.notified(*student, bookings).await {
                    bookings.remove(&booking.booking_id);
                    notified.insert(booking.booking_id, booking);
                }
            }
            pending.retain(|_, bookings| !bookings.is_empty());
            progress(notified.len());
            if notified.len() > before {
                changed = Instant::now();
            }
            if !pending.is_empty() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        summary(accepted.len(), notified.values())
    }

    /// Returns the student's bookings that are in `pending` and have been notified.
    async fn notified(&self, student: i64, pending: &HashSet<i64>) -> Vec<Booking> {
        let oldest = pending.iter().min().copied().unwrap_or_default();
        let mut notified = Vec::new();
        let mut before = None;
        // A page that cannot be read is retried in the next round.
        while let Some(page) = self.page(student, before).await {
            before = page.last().map(|booking| booking.booking_id);
            let last = page.len() < PAGE || before.is_none_or(|id| id <= oldest);
            let wanted =
                |booking: &Booking| booking.notified_at.is_some() && pending.contains(&booking.booking_id);
            notified.extend(page.into_iter().filter(wanted));
            if last {
                break;
            }
        }
        notified
    }

    async fn page(&self, student: i64, before: Option<i64>) -> Option<Vec<Booking>> {
        let before = before.map(|id| format!("&before={id}")).unwrap_or_default();
        let request = self
            .http
            .get(format!("{}/bookings?limit={PAGE}{before}", self.target))
            .bearer_auth(self.tokens.get(&student)?)
            .header(TRACEPARENT, UNTRACED);
        let reply = request.send().await.ok()?.error_for_status().ok()?;
        reply.json::<api::Bookings>().await.ok().map(|page| page.bookings)
    }
}

fn summary<'a>(accepted: usize, notified: impl ExactSizeIterator<Item = &'a Booking>) -> BookingCounts {
    let count = notified.len();
    let (mut duplicate, mut waits) = (0, Vec::with_capacity(count));
    for booking in notified {
        duplicate += u64::try_from(booking.deliveries - 1).unwrap_or_default();
        if let Some(at) = booking.notified_at {
            let nanos = (at - booking.created_at).num_nanoseconds().unwrap_or(i64::MAX);
            waits.push(u64::try_from(nanos).unwrap_or_default());
        }
    }
    BookingCounts {
        accepted: accepted as u64,
        notified: count as u64,
        duplicate,
        lost: accepted.saturating_sub(count) as u64,
        commit_to_notified_us: Summary::of(&histogram(waits.into_iter())),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn booking(booking_id: i64, after_ms: i64, deliveries: i32) -> Booking {
        let created_at: DateTime<Utc> = DateTime::UNIX_EPOCH;
        let notified_at = Some(created_at + chrono::Duration::milliseconds(after_ms));
        Booking {
            booking_id,
            student_id: 1,
            tutor_id: 1,
            tutor_name: "Alice".into(),
            created_at,
            notified_at,
            deliveries,
        }
    }

    #[test]
    fn counts_notified_lost_and_duplicate_bookings() {
        let seen = [booking(1, 20, 1), booking(2, 40, 3)];
        let bookings = summary(3, seen.iter());
        assert_eq!((bookings.accepted, bookings.notified, bookings.lost, bookings.duplicate), (3, 2, 1, 2));
        assert!((bookings.commit_to_notified_us.max - 40_000.0).abs() < 50.0, "{bookings:?}");
    }
}
