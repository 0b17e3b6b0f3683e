//! When each request is due, and what it asks for.
//!
//! The whole schedule is planned before the run from the seed alone, so that two runs with one seed send the
//! same requests at the same instants whatever the target does. Journey starts are drawn independently from the
//! profile's density: given their number, that is a Poisson process. Nothing here waits or sends.

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

/// Seconds from one burst to the next in [`Profile::Burst`].
const BURST_PERIOD_S: f64 = 5.0;
/// Pause between two requests of one journey.
const THINK_MS: std::ops::RangeInclusive<f64> = 100.0..=500.0;

/// How the request rate moves over the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    /// The given rate throughout.
    Steady,
    /// From nothing up to the given rate, linearly: half as many requests as `steady`.
    Ramp,
    /// The given rate on average; half of the requests fall into the first tenth of each five seconds.
    Burst,
}

impl Profile {
    /// The name as the command line and the bundle spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Profile::Steady => "steady",
            Profile::Ramp => "ramp",
            Profile::Burst => "burst",
        }
    }

    /// The share of the run that has passed when a share `u` of the journeys has started.
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

/// What a user sets out to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Journey {
    /// Three searches, each for a subject of its own.
    Browse,
    /// Search, book a tutor of that subject, look at the bookings.
    Book,
    /// One request that must be refused, or must at least do no harm.
    Intruder,
}

impl Journey {
    /// Every journey, in the order of [`Mix`].
    pub(crate) const ALL: [Journey; 3] = [Journey::Browse, Journey::Book, Journey::Intruder];

    /// The name of the goose scenario.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Journey::Browse => "browse",
            Journey::Book => "book",
            Journey::Intruder => "intruder",
        }
    }
}

/// One request of a journey. Subjects are indices into the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// `GET /search` for a subject.
    Search { subject: usize },
    /// `POST /book` of a tutor, for the user's own student.
    Book { tutor: i64 },
    /// `GET /bookings`.
    Bookings,
    /// A request that an attacker would send.
    Intrude(Intrusion),
}

/// The ways in which an intruder tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intrusion {
    /// The right user, a wrong password.
    WrongPassword,
    /// A user that does not exist.
    UnknownUser,
    /// A search without credentials.
    MissingToken,
    /// A search with a bearer token that is no JWT.
    GarbageToken,
    /// A search with an unsigned JWT (`alg: none`) that expired long ago.
    UnsignedToken,
    /// A booking in another student's name.
    OtherStudent { tutor: i64 },
    /// SQL in the subject, with a valid token: finds nothing, breaks nothing.
    SqlInSubject,
}

/// One request and the instant at which it is due, counted from the schedule's time zero.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// When it is due.
    pub(crate) due: Duration,
    /// What it asks for.
    pub(crate) action: Action,
}

/// The requests that one user sends one after another.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlannedJourney {
    /// What the user sets out to do.
    pub(crate) journey: Journey,
    /// In the order of their due instants; never empty.
    pub(crate) steps: Vec<Step>,
}

impl PlannedJourney {
    fn start(&self) -> Duration {
        self.steps.first().map_or(Duration::ZERO, |step| step.due)
    }

    fn end(&self) -> Duration {
        self.steps.last().map_or(Duration::ZERO, |step| step.due)
    }
}

/// The share of each journey, by number of journeys.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mix {
    /// Share of [`Journey::Browse`].
    pub(crate) browse: f64,
    /// Share of [`Journey::Book`].
    pub(crate) book: f64,
    /// Share of [`Journey::Intruder`].
    pub(crate) intruder: f64,
}

impl Default for Mix {
    fn default() -> Self {
        Mix { browse: 0.70, book: 0.25, intruder: 0.05 }
    }
}

impl Mix {
    fn draw(&self, rng: &mut StdRng) -> Journey {
        let at = rng.random::<f64>() * (self.browse + self.book + self.intruder);
        if at < self.browse {
            Journey::Browse
        } else if at < self.browse + self.book {
            Journey::Book
        } else {
            Journey::Intruder
        }
    }
}

/// Everything a schedule follows from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// How the rate moves.
    pub(crate) profile: Profile,
    /// Requests a second.
    pub(crate) rate: f64,
    /// From the first due instant to the last.
    pub(crate) duration: Duration,
    /// Decides everything that is random.
    pub(crate) seed: u64,
    /// Which journeys.
    pub(crate) mix: Mix,
}

impl Spec {
    /// How many requests are due in all: rate times duration, half of that for [`Profile::Ramp`].
    pub(crate) fn requests(&self) -> usize {
        let share = if self.profile == Profile::Ramp { 0.5 } else { 1.0 };
        (self.rate * self.duration.as_secs_f64() * share).round() as usize
    }

    /// The schedule. `tutors` lists the tutor ids of each subject of the catalogue, most popular subject first.
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

    /// Gives each action its due instant, the last one still within the duration.
    fn place(&self, journey: Journey, actions: Vec<Action>, rng: &mut StdRng) -> PlannedJourney {
        let seconds = self.duration.as_secs_f64();
        let mut at = 0.0;
        let offsets: Vec<f64> = (0..actions.len())
            .map(|step| {
                at += if step == 0 { 0.0 } else { rng.random_range(THINK_MS) / 1e3 };
                at
            })
            .collect();
        // In a run hardly longer than a journey, people think faster.
        let hurry = if at > seconds / 2.0 { seconds / 2.0 / at } else { 1.0 };
        let room = seconds - at * hurry;
        let start = self.profile.quantile(rng.random(), seconds) * room;
        let steps = offsets
            .iter()
            .zip(actions)
            .map(|(offset, action)| Step { due: Duration::from_secs_f64(start + offset * hurry), action })
            .collect();
        PlannedJourney { journey, steps }
    }
}

/// The most journeys of this kind that are under way at one time, when each lasts `reply` longer than its last
/// due instant.
pub(crate) fn concurrency(plan: &[PlannedJourney], journey: Journey, reply: Duration) -> usize {
    let mut ends = BinaryHeap::new();
    let mut most = 0;
    for planned in plan.iter().filter(|planned| planned.journey == journey) {
        while ends.peek().is_some_and(|std::cmp::Reverse(end)| *end <= planned.start()) {
            ends.pop();
        }
        ends.push(std::cmp::Reverse(planned.end() + reply));
        most = most.max(ends.len());
    }
    most
}
