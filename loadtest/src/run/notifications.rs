//! Waits for the notification of each accepted booking, and settles the requests to book that have no reply.
//!
//! Reads `GET /bookings` of each student without tracing: these requests are not part of the run.

mod accepted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use serde::Deserialize;
use telemetry::contract::TRACEPARENT;
use tokio_util::sync::CancellationToken;

use super::options::Endpoints;
use super::progress::Progress;
use crate::bundle::schema::{BookingCounts, HistoryRow};
use crate::drive::DriveOutcome;
use accepted::{Accepted, Listed};

/// Bookings per page.
const PAGE: usize = 1000;
/// Interval between two reads of a student's bookings.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The wait ends when no notification has arrived for this long. An event whose queue was killed is published again after 35 s,
/// and redelivered after another 30 s if its worker is killed as well.
const UNCHANGED_TIMEOUT: Duration = Duration::from_secs(75);
/// The wait ends when the system has not answered for this long. A role that died is back sooner.
const UNREACHABLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of one read.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// A trace context that is not sampled, so that no service records a span.
const UNTRACED: &str = "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-00";

/// Waits until every accepted booking has been notified, no further notification arrives, the system does not answer, or
/// `hurry` is cancelled. Then compares all that the users saw.
pub(super) async fn wait(
    http: &reqwest::Client,
    endpoints: &Endpoints,
    driven: &mut DriveOutcome,
    progress: &Progress,
    hurry: &CancellationToken,
) -> (BookingCounts, Vec<HistoryRow>) {
    let check = Check {
        http,
        target: endpoints.target.trim_end_matches('/'),
        tokens: &driven.tokens,
        // They were valid before the run.
        headers: endpoints.trust.headers().unwrap_or_default(),
    };
    let mut history = std::mem::take(&mut driven.history);
    let confirmed = history.bookings().map(|seen| (seen.booking, seen.student));
    let mut accepted = Accepted::new(confirmed, &driven.measured.open);
    let settled = check.settle(&mut accepted, |settled, count| progress.notified(settled, count));
    if hurry.run_until_cancelled(settled).await.is_none() {
        accepted.unobserved();
    }
    let now = driven.origin.elapsed();
    accepted.found(now).for_each(|seen| history.booked(seen));
    for booking in accepted.listed() {
        history.listed(booking.booking_id, booking.is_cancelled(), now, None);
    }
    let history = HistoryRow::all(&history.contradictions());
    let double_booked = HistoryRow::double_booked(&history);
    (BookingCounts { double_booked, ..accepted.summary() }, history)
}

/// Reply of `GET /bookings`.
#[derive(Deserialize)]
struct Page {
    bookings: Vec<Listed>,
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
    async fn settle(&self, accepted: &mut Accepted, progress: impl Fn(usize, usize)) {
        let (mut changed, mut answered) = (Instant::now(), Instant::now());
        while !accepted.pending.is_empty() && changed.elapsed() < UNCHANGED_TIMEOUT {
            let before = accepted.settled();
            let students: Vec<(i64, i64)> =
                accepted.pending.iter().map(|(student, pending)| (*student, pending.oldest())).collect();
            for (student, oldest) in students {
                let began = Instant::now();
                if let Some(list) = self.list(student, oldest).await {
                    answered = Instant::now();
                    accepted.read(student, list, began);
                } else if answered.elapsed() >= UNREACHABLE_TIMEOUT {
                    break;
                } else if let Some(pending) = accepted.pending.get_mut(&student) {
                    pending.observed = false;
                }
            }
            accepted.forget_settled();
            progress(accepted.settled(), accepted.count());
            if answered.elapsed() >= UNREACHABLE_TIMEOUT {
                return accepted.unobserved();
            }
            if accepted.settled() > before {
                changed = Instant::now();
            }
            if !accepted.pending.is_empty() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
    }

    /// Returns the student's bookings from id `oldest` on; `None` if a page cannot be read.
    async fn list(&self, student: i64, oldest: i64) -> Option<Vec<Listed>> {
        let mut list: Vec<Listed> = Vec::new();
        loop {
            let before = list.last().map(|booking| booking.booking_id);
            let page = self.page(student, before).await?;
            let last = page.len() < PAGE || page.last().is_none_or(|booking| booking.booking_id <= oldest);
            list.extend(page);
            if last {
                return Some(list);
            }
        }
    }

    async fn page(&self, student: i64, before: Option<i64>) -> Option<Vec<Listed>> {
        let before = before.map(|id| format!("&before={id}")).unwrap_or_default();
        let request = self
            .http
            .get(format!("{}/bookings?limit={PAGE}{before}", self.target))
            .bearer_auth(self.tokens.get(&student)?)
            .headers(self.headers.clone())
            .header(TRACEPARENT, UNTRACED)
            .timeout(READ_TIMEOUT);
        let reply = request.send().await.ok()?.error_for_status().ok()?;
        reply.json::<Page>().await.ok().map(|page| page.bookings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let mut accepted = Accepted::new([(1, 1), (2, 2), (3, 2)].into_iter(), &[]);
        let started = Instant::now();
        check.settle(&mut accepted, |_, _| ()).await;
        assert!(started.elapsed() < UNCHANGED_TIMEOUT / 2, "waited {:?}", started.elapsed());
        let counts = accepted.summary();
        assert_eq!((counts.accepted, counts.lost, counts.unknown), (3, 0, 3));
        assert_eq!(counts.commit_to_notified_us, None, "no delay was measured");
    }
}
