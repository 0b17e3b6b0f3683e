use super::*;
use crate::measure::{RequestKind, sample};

/// Requests that were late by these milliseconds for these reasons.
fn measured(late: &[(u64, DelayCause)]) -> Measured {
    let of = |(ms, delay_cause): &(u64, DelayCause)| {
        let late_ns = ms * 1_000_000;
        let blocked_ns = if *delay_cause == DelayCause::Generator { 0 } else { late_ns };
        let bare = sample(RequestKind::Search, Duration::ZERO, 0);
        Sample { delay_cause: *delay_cause, late_ns, blocked_ns, ..bare }
    };
    Measured { samples: late.iter().map(of).collect(), ..Measured::default() }
}

fn skew(skew_us: f64, uncertainty_us: f64) -> Surroundings {
    let (client, server) = ("loadtest".to_owned(), "load_balancer".to_owned());
    let skew = ClockSkew { client, server, calls: 100, skew_us, uncertainty_us };
    Surroundings { clock_skews: vec![skew], ..Surroundings::default() }
}

#[test]
fn accepts_a_quiet_machine() {
    let quiet = Surroundings {
        cpu_pressure: Some(0.1),
        hiccup: Duration::from_millis(2),
        other_load: Some(0),
        ..skew(20.0, 50.0)
    };
    let validity = judge(&measured(&[(0, DelayCause::Generator); 10]), quiet);
    assert_eq!((validity.verdict.as_str(), validity.generator_saturated), ("valid", false));
    assert_eq!((validity.clock_skew_us, validity.clock_skew_uncertainty_us), (Some(20.0), Some(50.0)));
}

#[test]
fn waiting_for_earlier_replies_is_no_fault_of_the_generator() {
    for cause in [DelayCause::PreviousReply, DelayCause::BusyUsers] {
        let validity = judge(&measured(&[(50, cause); 10]), Surroundings::default());
        assert_eq!((validity.late_share, validity.waited_share), (1.0, 1.0));
        assert_eq!((validity.generator_saturated, validity.verdict.as_str()), (false, "valid"));
    }
}

#[test]
fn a_generator_that_sends_late_after_a_reply_is_saturated() {
    let mut measured = measured(&[(50, DelayCause::PreviousReply); 10]);
    measured.samples.iter_mut().for_each(|sample| sample.blocked_ns -= 10_000_000);
    assert!(judge(&measured, Surroundings::default()).generator_saturated);
}

#[test]
fn late_sends_and_missing_users_count_as_saturation() {
    for (delay_cause, reason) in
        [(DelayCause::Generator, "generator itself"), (DelayCause::NoFreeUser, "no free user")]
    {
        let late = measured(&[(50, delay_cause), (0, DelayCause::Generator)]);
        let validity = judge(&late, Surroundings::default());
        assert!(validity.generator_saturated && validity.verdict.contains(reason), "{validity:?}");
    }
}

#[test]
fn verdict_names_pauses_and_cpu_pressure() {
    let hiccup = Duration::from_millis(30);
    let busy = Surroundings { cpu_pressure: Some(0.5), hiccup, ..Surroundings::default() };
    let verdict = judge(&measured(&[(0, DelayCause::Generator)]), busy).verdict;
    assert!(verdict.contains("30.0 ms") && verdict.contains("50 %"), "{verdict}");
}

#[test]
fn verdict_names_the_limit_that_the_generator_reached() {
    let mut measured = measured(&[(0, DelayCause::Generator); 10]);
    measured.limits = LimitFailures { descriptors: 7, ports: 2 };
    let limited = Surroundings { descriptor_limit: Some(256), ..Surroundings::default() };
    let validity = judge(&measured, limited);
    assert!(validity.generator_saturated);
    for part in
        ["7 requests failed at the generator's limit of 256 file descriptors", "2 requests failed because"]
    {
        assert!(validity.verdict.contains(part), "{}", validity.verdict);
    }
}

#[test]
fn verdict_names_clocks_that_certainly_differ() {
    let verdict = |surroundings| judge(&measured(&[(0, DelayCause::Generator)]), surroundings).verdict;
    let certain = verdict(skew(-5000.0, 80.0));
    assert!(
        certain.contains("the clock of load_balancer is 5.00 ms (± 80.0 µs) behind that of loadtest"),
        "{certain}"
    );
    assert_eq!(verdict(skew(5000.0, 6000.0)), "valid", "they may agree");
    assert_eq!(verdict(skew(900.0, 10.0)), "valid", "below the resolution of the figures");
}

#[test]
fn verdict_names_other_load_unless_it_is_small() {
    let measured = measured(&[(0, DelayCause::Generator); 1000]);
    let verdict = |others| {
        judge(&measured, Surroundings { other_load: Some(others), ..Surroundings::default() }).verdict
    };
    assert_eq!(verdict(10), "valid");
    assert!(verdict(200).contains("other load was present: 200 requests besides the 1000 of this run"));
}

#[test]
fn monitor_measures_pauses() {
    let monitor = MachineMonitor::start().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while monitor.hiccup_ns.load(Ordering::Relaxed) == 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(monitor.finish().hiccup > Duration::ZERO);
}
