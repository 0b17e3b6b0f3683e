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
fn a_failure_ejects_the_address_for_a_while() {
    for failure in [Outcome::Unreachable, Outcome::TimedOut] {
        let mut address = Address::new();
        address.begin().end(failure);
        assert!(!address.after(EJECTION - MOMENT).is_up(), "{failure:?}");
        assert!(address.after(MOMENT).is_up(), "{failure:?}");
    }
}

#[test]
fn an_ejected_address_gets_one_call_at_a_time_until_it_answers() {
    let mut address = Address::new();
    address.begin().end(Outcome::Unreachable).after(EJECTION).begin();
    assert!(!address.is_up(), "one call is open");
    address.end(Outcome::Unreachable);
    assert!(!address.is_up(), "ejected again");
    address.after(EJECTION).begin().end(Outcome::Answered).begin();
    assert!(address.is_up());
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
    assert!(address.after(EJECTION).is_up());
}

#[test]
fn a_caller_that_goes_away_early_ejects_nothing() {
    let mut address = Address::new();
    address.begin().after(MOMENT).end(Outcome::Dropped);
    assert!(address.after(MAX_SILENCE).is_up());
}

#[test]
fn an_address_that_is_not_ready_stays_down_until_a_probe_succeeds() {
    let mut address = Address::new();
    address.begin();
    assert!(address.health.probed(false));
    assert!(!address.health.probed(false), "no change");
    assert!(!address.end(Outcome::Answered).after(EJECTION).is_up(), "it still finishes requests");
    assert!(address.health.probed(true) && address.is_up());
}
