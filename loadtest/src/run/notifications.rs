//! Waits for the notification of each accepted booking and counts notifications.
//!
//! Reads `GET /bookings` of each student without tracing: these requests are not part of the run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use system::api::{self, Booking};
use telemetry::contract::TRACEPARENT;
use tokio_util::sync::CancellationToken;

use super::options::Endpoints;
use super::progress::Progress;
use crate::bundle::schema::BookingCounts;
use crate::drive::DriveOutcome;
use crate::measure::{AcceptedBooking, summary};

/// Bookings per page.
const PAGE: usize = 1000;
/// Interval between two reads of a student's bookings.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The wait ends when no notification has arrived for this long. The lease of a killed worker expires after 30 s.
const UNCHANGED_TIMEOUT: Duration = Duration::from_secs(40);
/// The wait ends when the system has not answered for this long.
const UNREACHABLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of one read.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// A trace context that is not sampled, so that no service records a span.
const UNTRACED: &str = "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-00";

/// Waits until every accepted booking has been notified, no further notification arrives, the system does not answer, or
/// `hurry` is cancelled.
pub(super) async fn wait(
    http: &reqwest::Client,
    endpoints: &Endpoints,
    driven: &DriveOutcome,
    progress: &Progress,
    hurry: &CancellationToken,
) -> BookingCounts {
    let check = Check {
        http,
        target: endpoints.target.trim_end_matches('/'),
        tokens: &driven.tokens,
        // They were valid before the run.
        headers: endpoints.trust.headers().unwrap_or_default(),
    };
    let accepted = &driven.measured.accepted;
    let mut bookings = Bookings::accepted(accepted);
    let settled = check.settle(&mut bookings, |notified| progress.notified(notified, accepted.len()));
    if hurry.run_until_cancelled(settled).await.is_none() {
        bookings.unobserved();
    }
    bookings.summary()
}

/// The accepted bookings and what is known of their notifications.
#[derive(Debug, Default)]
struct Bookings {
    accepted: usize,
    pending: BTreeMap<i64, Pending>,
    notified: HashMap<i64, Booking>,
}

/// The bookings of one student that have no notification yet.
#[derive(Debug, Default)]
struct Pending {
    bookings: HashSet<i64>,
    /// Whether the last read of the student's bookings succeeded.
    observed: bool,
}

impl Bookings {
    fn accepted(accepted: &[AcceptedBooking]) -> Self {
        let mut bookings = Bookings { accepted: accepted.len(), ..Bookings::default() };
        for AcceptedBooking { booking, student } in accepted {
            bookings.pending.entry(*student).or_default().bookings.insert(*booking);
        }
        bookings
    }

    /// Records that it is unknown whether the pending bookings have been notified.
    fn unobserved(&mut self) {
        self.pending.values_mut().for_each(|pending| pending.observed = false);
    }

    fn summary(&self) -> BookingCounts {
        let (mut duplicate, mut waits) = (0, Vec::with_capacity(self.notified.len()));
        for booking in self.notified.values() {
            duplicate += u64::try_from(booking.deliveries - 1).unwrap_or_default();
            if let Some(at) = booking.notified_at {
                let nanos = (at - booking.created_at).num_nanoseconds().unwrap_or(i64::MAX);
                waits.push(u64::try_from(nanos).unwrap_or_default());
            }
        }
        let pending = |observed: bool| {
            let pending = self.pending.values().filter(|pending| pending.observed == observed);
            pending.map(|pending| pending.bookings.len() as u64).sum()
        };
        BookingCounts {
            accepted: self.accepted as u64,
            notified: self.notified.len() as u64,
            duplicate,
            lost: pending(true),
            unknown: pending(false),
            commit_to_notified_us: summary(waits.into_iter()),
        }
    }
}

/// Reads the bookings of students.
struct Check<'a> {
    http: &'a reqwest::Client,
    /// Base URL of the balancer.
    target: &'a str,
    /// A token for each student.
    tokens: &'a BTreeMap<i64, Arc<str>>,
    /// Headers by which the balancer trusts [`UNTRACED`].
    headers: HeaderMap,
}

impl Check<'_> {
    async fn settle(&self, bookings: &mut Bookings, progress: impl Fn(usize)) {
        let (mut changed, mut answered) = (Instant::now(), Instant::now());
        while !bookings.pending.is_empty() && changed.elapsed() < UNCHANGED_TIMEOUT {
            let before = bookings.notified.len();
            for (student, pending) in &mut bookings.pending {
                let found = self.notified(*student, &pending.bookings).await;
                pending.observed = found.is_some();
                if found.is_some() {
                    answered = Instant::now();
                } else if answered.elapsed() >= UNREACHABLE_TIMEOUT {
                    break;
                }
                for booking in found.into_iter().flatten() {
                    pending.bookings.remove(&booking.booking_id);
                    bookings.notified.insert(booking.booking_id, booking);
                }
            }
            bookings.pending.retain(|_, pending| !pending.bookings.is_empty());
            progress(bookings.notified.len());
            if answered.elapsed() >= UNREACHABLE_TIMEOUT {
                return bookings.unobserved();
            }
            if bookings.notified.len() > before {
                changed = Instant::now();
            }
            if !bookings.pending.is_empty() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
    }

    /// Returns the student's bookings that are in `pending` and have been notified; `None` if a page cannot be read.
    async fn notified(&self, student: i64, pending: &HashSet<i64>) -> Option<Vec<Booking>> {
        let oldest = pending.iter().min().copied().unwrap_or_default();
        let mut notified = Vec::new();
        let mut before = None;
        loop {
            let page = self.page(student, before).await?;
            before = page.last().map(|booking| booking.booking_id);
            let last = page.len() < PAGE || before.is_none_or(|id| id <= oldest);
            let wanted =
                |booking: &Booking| booking.notified_at.is_some() && pending.contains(&booking.booking_id);
            notified.extend(page.into_iter().filter(wanted));
            if last {
                return Some(notified);
            }
        }
    }

    async fn page(&self, student: i64, before: Option<i64>) -> Option<Vec<Booking>> {
        let before = before.map(|id| format!("&before={id}")).unwrap_or_default();
        let request = self
            .http
            .get(format!("{}/bookings?limit={PAGE}{before}", self.target))
            .bearer_auth(self.tokens.get(&student)?)
            .headers(self.headers.clone())
            .header(TRACEPARENT, UNTRACED)
            .timeout(READ_TIMEOUT);
        let reply = request.send().await.ok()?.error_for_status().ok()?;
        reply.json::<api::Bookings>().await.ok().map(|page| page.bookings)
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
            starts_at: None,
            ends_at: None,
            cancelled_at: None,
            trace_id: None,
            notified_at,
            deliveries,
        }
    }

    fn accepted(students: &[i64]) -> Bookings {
        let accepted = students.iter().enumerate();
        let accepted: Vec<AcceptedBooking> = accepted
            .map(|(position, student)| AcceptedBooking { booking: position as i64 + 1, student: *student })
            .collect();
        Bookings::accepted(&accepted)
    }

    #[test]
    fn counts_notified_lost_unknown_and_duplicate_bookings() {
        let mut bookings = accepted(&[1, 1, 1, 2]);
        for seen in [booking(1, 20, 1), booking(2, 40, 3)] {
            bookings.pending.get_mut(&1).unwrap().bookings.remove(&seen.booking_id);
            bookings.notified.insert(seen.booking_id, seen);
        }
        bookings.pending.get_mut(&1).unwrap().observed = true;
        let counts = bookings.summary();
        assert_eq!((counts.accepted, counts.notified, counts.lost, counts.unknown), (4, 2, 1, 1));
        assert_eq!(counts.duplicate, 2);
        let delay = counts.commit_to_notified_us.unwrap();
        assert!((delay.max - 40_000.0).abs() < 50.0, "{counts:?}");
    }

    /// The URL of a port without a listener.
    fn target_without_listener() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    #[tokio::test]
    async fn bookings_are_unknown_and_not_lost_when_nothing_answers() {
        let (http, target) = (crate::http_client::builder().build().unwrap(), target_without_listener());
        let tokens = BTreeMap::from([(1, Arc::from("token")), (2, Arc::from("token"))]);
        let check = Check { http: &http, target: &target, tokens: &tokens, headers: HeaderMap::new() };
        let mut bookings = accepted(&[1, 2, 2]);
        let started = Instant::now();
        check.settle(&mut bookings, |_| ()).await;
        assert!(started.elapsed() < UNCHANGED_TIMEOUT / 2, "waited {:?}", started.elapsed());
        let counts = bookings.summary();
        assert_eq!((counts.accepted, counts.lost, counts.unknown), (3, 0, 3));
        assert_eq!(counts.commit_to_notified_us, None, "no delay was measured");
    }
}
