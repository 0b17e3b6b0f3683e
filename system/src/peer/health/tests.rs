use super::*;

/// An address at a time that the test moves.
struct Address {
    health: Health,
    now: Instant,
}

impl Address {
    fn new() -> Self {
        let now = Instant::now();
        Self { health: Health::new(now), now }
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn begin(&mut self) -> &mut Self {
        self.health.begin(self.now);
        self
    }

    fn end(&mut self, outcome: Outcome) -> &mut Self {
        self.health.end(outcome, self.now);
        self
    }

    fn is_up(&self) -> bool {
        self.health.is_up(self.now)
    }
}

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn a_failure_takes_the_address_out_until_a_probe_succeeds() {
    let mut address = Address::new();
    address.begin().begin();
    assert!(address.health.end(Outcome::Failed, address.now), "went down");
    assert!(!address.health.end(Outcome::Failed, address.now), "was down");
    assert!(!address.after(MAX_SILENCE).is_up());
    address.begin().end(Outcome::Answered);
    assert!(!address.is_up(), "a process that is stopping still answers");
    assert!(!address.health.probed(false), "no change");
    assert!(address.health.probed(true) && address.is_up());
    assert!(!address.health.probed(true), "no change");
    assert!(address.health.probed(false) && !address.is_up());
}

#[test]
fn an_address_that_answers_no_open_call_is_avoided_before_their_deadline() {
    let mut address = Address::new();
    address.begin().begin().after(MAX_SILENCE - MOMENT);
    assert!(address.is_up());
    address.end(Outcome::Answered).after(MAX_SILENCE - MOMENT);
    assert!(address.is_up(), "a reply ends the silence");
    assert!(!address.after(MOMENT).is_up());
    address.end(Outcome::Dropped);
    assert!(!address.is_up(), "the caller that gave up does not make the address answer");
    assert!(address.health.probed(true) && address.is_up());
}

#[test]
fn a_caller_that_goes_away_early_ejects_nothing() {
    let mut address = Address::new();
    address.begin().after(MOMENT).end(Outcome::Dropped);
    assert!(address.after(MAX_SILENCE).is_up());
}
