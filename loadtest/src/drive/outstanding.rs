//! The planned requests that have no reply yet.

use std::time::Duration;

use crate::measure::RequestKind;
use crate::plan::PlannedJourney;

/// Every planned request by due instant, and whether it was answered.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// Ordered by due instant.
    requests: Vec<(Duration, RequestKind)>,
    answered: Vec<bool>,
    /// All requests before this one were answered.
    first: usize,
}

impl Outstanding {
    /// Returns the requests of a plan, none of them answered.
    pub(super) fn of(plan: &[PlannedJourney]) -> Self {
        let steps = plan.iter().flat_map(|journey| &journey.steps);
        let mut requests: Vec<_> = steps.map(|step| (step.due, RequestKind::of(&step.action))).collect();
        requests.sort_unstable();
        Outstanding { answered: vec![false; requests.len()], requests, first: 0 }
    }

    /// Marks a request as answered, rightly or not.
    pub(super) fn answer(&mut self, due: Duration, kind: RequestKind) {
        let from = self.requests.partition_point(|request| *request < (due, kind));
        let equal = self.requests[from..].iter().take_while(|request| **request == (due, kind)).count();
        if let Some(offset) = self.answered[from..from + equal].iter().position(|answered| !answered) {
            self.answered[from + offset] = true;
        }
        while self.answered.get(self.first).is_some_and(|answered| *answered) {
            self.first += 1;
        }
    }

    /// Returns the requests that were due by `now` and have no reply, earliest first.
    pub(super) fn due_by(&self, now: Duration) -> impl Iterator<Item = (Duration, RequestKind)> {
        let rest = self.requests.iter().zip(&self.answered).skip(self.first);
        let due = rest.take_while(move |((due, _), _)| *due <= now);
        due.filter(|(_, answered)| !**answered).map(|(request, _)| *request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Action, Journey, Step};

    #[test]
    fn lists_the_due_requests_without_a_reply() {
        let at = |ms, action| Step { due: Duration::from_millis(ms), action };
        let journey = |steps| PlannedJourney { journey: Journey::Book, steps };
        let plan = [
            journey(vec![at(10, Action::Bookings), at(30, Action::Book { tutor: 1 })]),
            journey(vec![at(10, Action::Bookings), at(20, Action::Search { subject: 0 })]),
        ];
        let mut outstanding = Outstanding::of(&plan);
        let due = |outstanding: &Outstanding, ms| {
            let due = outstanding.due_by(Duration::from_millis(ms));
            due.map(|(due, kind)| (due.as_millis(), kind)).collect::<Vec<_>>()
        };
        assert_eq!(due(&outstanding, 9), []);
        assert_eq!(due(&outstanding, 20).len(), 3);
        outstanding.answer(Duration::from_millis(10), RequestKind::Bookings);
        outstanding.answer(Duration::from_millis(20), RequestKind::Search);
        assert_eq!(due(&outstanding, 30), [(10, RequestKind::Bookings), (30, RequestKind::Book)]);
        outstanding.answer(Duration::from_millis(10), RequestKind::Bookings);
        outstanding.answer(Duration::from_millis(10), RequestKind::Bookings);
        assert_eq!(due(&outstanding, 30), [(30, RequestKind::Book)]);
        outstanding.answer(Duration::from_millis(30), RequestKind::Book);
        assert_eq!(due(&outstanding, 1000), []);
    }
}
