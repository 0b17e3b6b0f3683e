//! The plan of a run: due time and content of each request.
//!
//! The plan depends on the seed and the settings alone, so two runs with the same seed send the same requests at the
//! same instants, regardless of the target. Journey starts are drawn independently from the density of the profile; given
//! their number, that is a Poisson process. This module uses neither clock nor sockets.

use std::collections::BinaryHeap;
use std::time::Duration;

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

mod catalogue;
#[cfg(test)]
mod tests;

use catalogue::Catalogue;

/// Maximum number of requests of a plan. The generator keeps each planned request, and then its measurement.
const MAX_REQUESTS: f64 = 3e6;
/// Memory of the generator for each request, in bytes.
const BYTES_PER_REQUEST: f64 = 400.0;
/// Maximum duration of the log-ins before the load. A token expires after one hour, and a load lasts up to 50 minutes.
const MAX_WARM_UP: Duration = Duration::from_secs(600);
/// Seconds between the starts of two bursts in [`Profile::Burst`].
const BURST_PERIOD_S: f64 = 5.0;
/// Range of the pause between two requests of a journey, in milliseconds.
const THINK_MS: std::ops::RangeInclusive<f64> = 100.0..=500.0;

/// Course of the request rate over the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    /// Constant rate
    Steady,
    /// Linear increase from zero to the given rate: half as many requests as `steady`
    Ramp,
    /// The given rate on average, with half of the requests in the first 0.5 s of every 5 s
    Burst,
}

impl Profile {
    /// Returns the name used on the command line and in the bundle.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Profile::Steady => "steady",
            Profile::Ramp => "ramp",
            Profile::Burst => "burst",
        }
    }

    /// Returns the share of the run that has passed when a share `u` of the journeys has started.
    fn quantile(self, u: f64, seconds: f64) -> f64 {
        match self {
            Profile::Steady => u,
            Profile::Ramp => u.sqrt(),
            Profile::Burst => {
                let periods = (seconds / BURST_PERIOD_S).ceil().max(1.0);
                let (period, within) = ((u * periods).floor(), (u * periods).fract());
                let within = if within < 0.5 { within * 0.2 } else { 0.1 + (within - 0.5) * 1.8 };
                (period + within) / periods
            }
        }
    }
}

/// Number of kinds of journeys.
pub(crate) const JOURNEYS: usize = 4;

/// A kind of journey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Journey {
    /// Three searches, each for its own subject.
    Browse,
    /// A search, a booking of a tutor of that subject, and a list of the bookings.
    Book,
    /// A search, a look at the free slots of a tutor, a booking of one of the first, and a list of the bookings. Some repeat the
    /// request to book, and some cancel the booking before they list.
    Choose,
    /// One malicious request, which must be refused or have no effect.
    Intruder,
}

impl Journey {
    /// Every journey, in the order of [`Mix`].
    pub(crate) const ALL: [Journey; JOURNEYS] =
        [Journey::Browse, Journey::Book, Journey::Choose, Journey::Intruder];

    /// Returns the name of the goose scenario.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Journey::Browse => "browse",
            Journey::Book => "book",
            Journey::Choose => "choose",
            Journey::Intruder => "intruder",
        }
    }
}

/// The content of one request. Subjects are indices into the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// `GET /search` for a subject.
    Search { subject: usize },
    /// `POST /book` of a tutor, for the user's own student, at the earliest time.
    Book { tutor: i64 },
    /// `GET /tutors/{id}/slots`.
    Slots { tutor: i64 },
    /// `POST /book` of a slot that the journey saw: the one of this rank, from the earliest on.
    BookSlot { tutor: i64, rank: usize },
    /// The journey's `POST /book` again, with the same key.
    Repeat { tutor: i64 },
    /// `DELETE /bookings/{id}` of the journey's booking.
    Cancel,
    /// `GET /bookings`.
    Bookings,
    /// A malicious request.
    Intrude(Intrusion),
}

/// The kinds of malicious requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intrusion {
    /// An existing user with a wrong password.
    WrongPassword,
    /// A user that does not exist.
    UnknownUser,
    /// A search without credentials.
    MissingToken,
    /// A search with a bearer token that is not a JWT.
    GarbageToken,
    /// A search with an unsigned JWT (`alg: none`) that expired in 2001.
    UnsignedToken,
    /// A booking for another student.
    OtherStudent { tutor: i64 },
    /// SQL in the subject, with a valid token: must find nothing.
    SqlInSubject,
}

/// One request and its due instant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// Due instant since time zero.
    pub(crate) due: Duration,
    /// Content of the request.
    pub(crate) action: Action,
}

/// The requests that one user sends in sequence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlannedJourney {
    /// Kind of the journey.
    pub(crate) journey: Journey,
    /// The requests by due instant; never empty.
    pub(crate) steps: Vec<Step>,
}

impl PlannedJourney {
    fn start(&self) -> Duration {
        self.steps.first().map_or(Duration::ZERO, |step| step.due)
    }

    /// Returns the due instant of the last request.
    pub(crate) fn end(&self) -> Duration {
        self.steps.last().map_or(Duration::ZERO, |step| step.due)
    }
}

/// Share of each kind of journey in the number of journeys.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mix {
    /// Share of [`Journey::Browse`].
    pub(crate) browse: f64,
    /// Share of [`Journey::Book`].
    pub(crate) book: f64,
    /// Share of [`Journey::Choose`].
    pub(crate) choose: f64,
    /// Share of [`Journey::Intruder`].
    pub(crate) intruder: f64,
}

impl Default for Mix {
    fn default() -> Self {
        Mix { browse: 0.70, book: 0.15, choose: 0.10, intruder: 0.05 }
    }
}

impl Mix {
    fn draw(&self, rng: &mut StdRng) -> Journey {
        let shares = [self.browse, self.book, self.choose, self.intruder];
        let mut at = rng.random::<f64>() * shares.iter().sum::<f64>();
        for (journey, share) in Journey::ALL.into_iter().zip(shares) {
            if at < share {
                return journey;
            }
            at -= share;
        }
        Journey::Intruder
    }
}

/// A plan that the generator cannot hold or prepare.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "--rate {rate} for {seconds} s is {requests} requests with {log_ins} log-ins: about {megabytes} MB of memory and \
     {warm_up} of log-ins before the load, at most {MAX_REQUESTS} requests and {max_warm_up} of log-ins are \
     allowed (choose a lower --rate or --duration, or set --users)",
    warm_up = minutes(self.warm_up),
    max_warm_up = minutes(MAX_WARM_UP),
    megabytes = (requests * BYTES_PER_REQUEST / 1e6).ceil()
)]
pub(crate) struct TooLarge {
    rate: f64,
    seconds: f64,
    requests: f64,
    log_ins: f64,
    warm_up: Duration,
}

fn minutes(duration: Duration) -> String {
    collector::format::duration(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// The settings that determine a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlanSpec {
    /// Course of the rate.
    pub(crate) profile: Profile,
    /// Requests per second.
    pub(crate) rate: f64,
    /// Period in which requests are due.
    pub(crate) duration: Duration,
    /// Seed of every random choice.
    pub(crate) seed: u64,
    /// Shares of the journeys.
    pub(crate) mix: Mix,
}

impl PlanSpec {
    /// Returns the number of requests: rate times duration, and half of that for [`Profile::Ramp`].
    pub(crate) fn requests(&self) -> usize {
        let share = if self.profile == Profile::Ramp { 0.5 } else { 1.0 };
        (self.rate * self.duration.as_secs_f64() * share).round() as usize
    }

    /// Rejects a plan of too many requests before it is computed, with an estimate of the log-ins that it takes at `log_in`
    /// each.
    pub(crate) fn check_requests(&self, users: Option<usize>, log_in: Duration) -> Result<(), TooLarge> {
        let requests = self.requests() as f64;
        if requests <= MAX_REQUESTS {
            return Ok(());
        }
        // Of ten journeys seven have three steps, as most others nearly have; a user is busy with one for about 1.6 s.
        let journeys = requests / 3.0;
        let estimate = (journeys / self.duration.as_secs_f64() * 1.6).min(journeys).ceil();
        let log_ins = users.map_or(estimate, |users| users as f64);
        Err(self.too_large(log_ins, log_in))
    }

    /// Rejects a plan that takes too many log-ins, at `log_in` each.
    pub(crate) fn check_users(&self, users: usize, log_in: Duration) -> Result<(), TooLarge> {
        match log_in.saturating_mul(u32::try_from(users).unwrap_or(u32::MAX)) <= MAX_WARM_UP {
            true => Ok(()),
            false => Err(self.too_large(users as f64, log_in)),
        }
    }

    fn too_large(&self, log_ins: f64, log_in: Duration) -> TooLarge {
        let warm_up = Duration::try_from_secs_f64((log_in.as_secs_f64() * log_ins).round());
        TooLarge {
            rate: self.rate,
            seconds: self.duration.as_secs_f64(),
            requests: self.requests() as f64,
            log_ins,
            warm_up: warm_up.unwrap_or(Duration::MAX),
        }
    }

    /// Returns the plan. `tutors` lists the tutor ids of each subject, the most popular subject first.
    pub(crate) fn plan(&self, tutors: &[Vec<i64>]) -> Vec<PlannedJourney> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let catalogue = Catalogue::new(tutors);
        let mut journeys = Vec::new();
        let mut left = self.requests();
        while left > 0 {
            let journey = self.mix.draw(&mut rng);
            let mut actions = catalogue.actions(journey, &mut rng);
            actions.truncate(left);
            left -= actions.len();
            journeys.push(self.place(journey, actions, &mut rng));
        }
        journeys.sort_by_key(PlannedJourney::start);
        journeys
    }

    /// Assigns a due instant to each action, all within the duration.
    fn place(&self, journey: Journey, actions: Vec<Action>, rng: &mut StdRng) -> PlannedJourney {
        let seconds = self.duration.as_secs_f64();
        let mut at = 0.0;
        let offsets: Vec<f64> = (0..actions.len())
            .map(|step| {
                at += if step == 0 { 0.0 } else { rng.random_range(THINK_MS) / 1e3 };
                at
            })
            .collect();
        // If the run is barely longer than a journey, the pauses are shortened.
        let scale = if at > seconds / 2.0 { seconds / 2.0 / at } else { 1.0 };
        let range = seconds - at * scale;
        let start = self.profile.quantile(rng.random(), seconds) * range;
        let steps = offsets
            .iter()
            .zip(actions)
            .map(|(offset, action)| Step { due: Duration::from_secs_f64(start + offset * scale), action })
            .collect();
        PlannedJourney { journey, steps }
    }
}

/// Returns the maximum number of concurrent journeys of this kind if each ends `reply` after its last due instant.
pub(crate) fn concurrency(plan: &[PlannedJourney], journey: Journey, reply: Duration) -> usize {
    let mut ends = BinaryHeap::new();
    let mut maximum = 0;
    for planned in plan.iter().filter(|planned| planned.journey == journey) {
        while ends.peek().is_some_and(|std::cmp::Reverse(end)| *end <= planned.start()) {
            ends.pop();
        }
        ends.push(std::cmp::Reverse(planned.end() + reply));
        maximum = maximum.max(ends.len());
    }
    maximum
}
