//! What the users of a schedule choose: subjects, tutors, ways to intrude.

use rand::Rng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Zipf};

use super::{Action, Intrusion, Journey};

/// Popularity of subjects: rank r is asked for in proportion to `1 / r`.
const ZIPF_EXPONENT: f64 = 1.0;

/// Tutor ids by subject, and how often each subject is asked for.
pub(super) struct Catalogue<'a> {
    tutors: &'a [Vec<i64>],
    popularity: Option<Zipf<f64>>,
}

impl<'a> Catalogue<'a> {
    /// Of a catalogue whose most popular subject comes first.
    pub(super) fn new(tutors: &'a [Vec<i64>]) -> Self {
        Catalogue { tutors, popularity: Zipf::new(tutors.len() as f64, ZIPF_EXPONENT).ok() }
    }

    fn subject(&self, rng: &mut StdRng) -> usize {
        self.popularity.map_or(0, |zipf| zipf.sample(rng) as usize - 1)
    }

    /// A tutor of the subject; one of any subject if it has none.
    fn tutor(&self, subject: usize, rng: &mut StdRng) -> i64 {
        let of_subject = self.tutors.get(subject).filter(|ids| !ids.is_empty());
        match of_subject.or_else(|| self.tutors.iter().find(|ids| !ids.is_empty())) {
            Some(ids) => ids[rng.random_range(0..ids.len())],
            None => 1,
        }
    }

    /// What a user who sets out on this journey does.
    pub(super) fn actions(&self, journey: Journey, rng: &mut StdRng) -> Vec<Action> {
        match journey {
            Journey::Browse => (0..3).map(|_| Action::Search { subject: self.subject(rng) }).collect(),
            Journey::Book => {
                let subject = self.subject(rng);
                let tutor = self.tutor(subject, rng);
                vec![Action::Search { subject }, Action::Book { tutor }, Action::Bookings]
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
