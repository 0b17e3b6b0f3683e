//! What became of the accepted bookings: each must be notified, once.
//!
//! Asked of the system itself, through `GET /bookings` of each student, without tracing: the requests of this
//! check are no part of the run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use collector::latency::Summary;
use system::api::{self, Booking};

use crate::bundle::schema::Bookings;
use crate::measure::{Accepted, histogram};

/// Bookings in one page.
const PAGE: usize = 1000;
/// Between two looks at a student whose bookings are not all notified.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Nothing more is waited for once no notification has come for this long: longer than the 30 s for which a worker that
/// died holds its tasks up.
const STANDS_STILL: Duration = Duration::from_secs(40);
/// Not sampled, so that no service records a span.
const UNTRACED: &str = "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-00";

/// Asks for the bookings of students.
pub(crate) struct Check {
    /// Sends the requests.
    pub(crate) http: reqwest::Client,
    /// The balancer's URL.
    pub(crate) target: String,
    /// A token for each student.
    pub(crate) tokens: BTreeMap<i64, Arc<str>>,
}

impl Check {
    /// Returns when every accepted booking was notified, or nothing more comes.
    pub(crate) async fn settled(&self, accepted: &[Accepted], progress: impl Fn(usize)) -> Bookings {
        let mut waiting: BTreeMap<i64, HashSet<i64>> = BTreeMap::new();
        for Accepted { booking, student } in accepted {
            waiting.entry(*student).or_default().insert(*booking);
        }
        let mut notified: HashMap<i64, Booking> = HashMap::new();
        let mut changed = Instant::now();
        while !waiting.is_empty() && changed.elapsed() < STANDS_STILL {
            let before = notified.len();
            for (student, bookings) in &mut waiting {
                for booking in self.notified(*student, bookings).await {
                    bookings.remove(&booking.booking_id);
                    notified.insert(booking.booking_id, booking);
                }
            }
            waiting.retain(|_, bookings| !bookings.is_empty());
            progress(notified.len());
            if notified.len() > before {
                changed = Instant::now();
            }
            if !waiting.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        summary(accepted.len(), notified.values())
    }

    /// Those of the student's bookings that are looked for and have been notified.
    async fn notified(&self, student: i64, looked_for: &HashSet<i64>) -> Vec<Booking> {
        let oldest = looked_for.iter().min().copied().unwrap_or_default();
        let mut found = Vec::new();
        let mut before = None;
        // A page that cannot be read is read again in the next round, until nothing comes for too long.
        while let Some(page) = self.page(student, before).await {
            before = page.last().map(|booking| booking.booking_id);
            let last = page.len() < PAGE || before.is_none_or(|id| id <= oldest);
            let wanted =
                |booking: &Booking| booking.notified_at.is_some() && looked_for.contains(&booking.booking_id);
            found.extend(page.into_iter().filter(wanted));
            if last {
                break;
            }
        }
        found
    }

    async fn page(&self, student: i64, before: Option<i64>) -> Option<Vec<Booking>> {
        let before = before.map(|id| format!("&before={id}")).unwrap_or_default();
        let request = self
            .http
            .get(format!("{}/bookings?limit={PAGE}{before}", self.target))
            .bearer_auth(self.tokens.get(&student)?)
            .header("traceparent", UNTRACED);
        let reply = request.send().await.ok()?.error_for_status().ok()?;
        reply.json::<api::Bookings>().await.ok().map(|page| page.bookings)
    }
}

fn summary<'a>(accepted: usize, notified: impl ExactSizeIterator<Item = &'a Booking>) -> Bookings {
    let count = notified.len();
    let (mut duplicate, mut waits) = (0, Vec::with_capacity(count));
    for booking in notified {
        duplicate += u64::try_from(booking.deliveries - 1).unwrap_or_default();
        if let Some(at) = booking.notified_at {
            let nanos = (at - booking.created_at).num_nanoseconds().unwrap_or(i64::MAX);
            waits.push(u64::try_from(nanos).unwrap_or_default());
        }
    }
    Bookings {
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
    fn what_was_accepted_is_notified_or_lost_and_repetitions_are_counted() {
        let seen = [booking(1, 20, 1), booking(2, 40, 3)];
        let bookings = summary(3, seen.iter());
        assert_eq!((bookings.accepted, bookings.notified, bookings.lost, bookings.duplicate), (3, 2, 1, 2));
        assert!((bookings.commit_to_notified_us.max - 40_000.0).abs() < 50.0, "{bookings:?}");
    }
}
