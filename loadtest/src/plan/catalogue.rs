//! The choices of the users: subjects, tutors, malicious requests.

use rand::Rng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Zipf};

use super::{Action, Intrusion, Journey};

/// Popularity of subjects: the subject of rank r is requested in proportion to `1 / r`.
const ZIPF_EXPONENT: f64 = 1.0;
/// Number of slots, from the earliest on, among which users choose. Few, so that some choose what another user, or their own
/// student, has booked meanwhile.
const CHOICES: usize = 8;

/// Tutor ids and popularity of each subject.
pub(super) struct Catalogue<'a> {
    tutors: &'a [Vec<i64>],
    popularity: Option<Zipf<f64>>,
}

impl<'a> Catalogue<'a> {
    /// Creates a catalogue from the tutor ids of each subject, the most popular subject first.
    pub(super) fn new(tutors: &'a [Vec<i64>]) -> Self {
        Catalogue { tutors, popularity: Zipf::new(tutors.len() as f64, ZIPF_EXPONENT).ok() }
    }

    fn subject(&self, rng: &mut StdRng) -> usize {
        self.popularity.map_or(0, |zipf| zipf.sample(rng) as usize - 1)
    }

    /// Draws a tutor of the subject, or of any subject if it has none.
    fn tutor(&self, subject: usize, rng: &mut StdRng) -> i64 {
        let of_subject = self.tutors.get(subject).filter(|ids| !ids.is_empty());
        match of_subject.or_else(|| self.tutors.iter().find(|ids| !ids.is_empty())) {
            Some(ids) => ids[rng.random_range(0..ids.len())],
            None => 1,
        }
    }

    /// Draws the actions of a journey.
    pub(super) fn actions(&self, journey: Journey, rng: &mut StdRng) -> Vec<Action> {
        match journey {
            Journey::Browse => (0..3).map(|_| Action::Search { subject: self.subject(rng) }).collect(),
            Journey::Book => {
                let subject = self.subject(rng);
                let tutor = self.tutor(subject, rng);
                vec![Action::Search { subject }, Action::Book { tutor }, Action::Bookings]
            }
            Journey::Choose => {
                let subject = self.subject(rng);
                let tutor = self.tutor(subject, rng);
                let rank = rng.random_range(0..CHOICES);
                let mut actions = vec![
                    Action::Search { subject },
                    Action::Slots { tutor },
                    Action::BookSlot { tutor, rank },
                ];
                match rng.random_range(0..4) {
                    0 => actions.push(Action::Repeat { tutor }),
                    1 => actions.push(Action::Cancel),
                    _ => {}
                }
                actions.push(Action::Bookings);
                actions
            }
            Journey::Intruder => vec![Action::Intrude(self.intrusion(rng))],
        }
    }

    fn intrusion(&self, rng: &mut StdRng) -> Intrusion {
        match rng.random_range(0..7) {
            0 => Intrusion::WrongPassword,
            1 => Intrusion::UnknownUser,
            2 => Intrusion::MissingToken,
            3 => Intrusion::GarbageToken,
            4 => Intrusion::UnsignedToken,
            5 => {
                let subject = self.subject(rng);
                Intrusion::OtherStudent { tutor: self.tutor(subject, rng) }
            }
            _ => Intrusion::SqlInSubject,
        }
    }
}
