//! Properties that hold for every seed, rate and profile.

use super::*;

fn spec(profile: Profile, rate: f64, seconds: f64, seed: u64) -> PlanSpec {
    PlanSpec { profile, rate, duration: Duration::from_secs_f64(seconds), seed, mix: Mix::default() }
}

fn tutors() -> Vec<Vec<i64>> {
    (0..50).map(|subject| (0..20).map(|n| 1 + subject + 50 * n).collect()).collect()
}

fn dues(plan: &[PlannedJourney]) -> Vec<Duration> {
    plan.iter().flat_map(|journey| journey.steps.iter().map(|step| step.due)).collect()
}

fn every_case() -> impl Iterator<Item = PlanSpec> {
    [Profile::Steady, Profile::Ramp, Profile::Burst].into_iter().flat_map(|profile| {
        [(1.0, 1.0), (3.0, 0.4), (50.0, 2.5), (200.0, 20.0), (333.3, 7.7)]
            .into_iter()
            .flat_map(move |(rate, seconds)| (0..8).map(move |seed| spec(profile, rate, seconds, seed)))
    })
}

#[test]
fn plans_rate_times_duration_requests_within_the_duration() {
    for case in every_case() {
        let plan = case.plan(&tutors());
        let dues = dues(&plan);
        let expected = case.rate * case.duration.as_secs_f64();
        let expected = if case.profile == Profile::Ramp { expected / 2.0 } else { expected };
        assert_eq!(dues.len(), expected.round() as usize, "{case:?}");
        assert!(dues.iter().all(|due| *due <= case.duration + Duration::from_nanos(1)), "{case:?}");
    }
}

#[test]
fn orders_journeys_and_steps_by_due_instant() {
    for case in every_case() {
        let plan = case.plan(&tutors());
        assert!(plan.iter().all(|journey| !journey.steps.is_empty()));
        assert!(plan.windows(2).all(|pair| pair[0].start() <= pair[1].start()), "{case:?}");
        for journey in &plan {
            assert!(journey.steps.windows(2).all(|pair| pair[0].due < pair[1].due), "{case:?}");
        }
    }
}

#[test]
fn equal_seeds_give_equal_plans() {
    for case in every_case() {
        assert_eq!(case.plan(&tutors()), case.plan(&tutors()));
    }
    let (seven, eight) = (spec(Profile::Steady, 100.0, 5.0, 7), spec(Profile::Steady, 100.0, 5.0, 8));
    assert_ne!(seven.plan(&tutors()), eight.plan(&tutors()));
}

#[test]
fn journeys_have_the_shares_of_the_mix() {
    let plan = spec(Profile::Steady, 1000.0, 60.0, 7).plan(&tutors());
    for (journey, share) in
        [(Journey::Browse, 0.70), (Journey::Book, 0.15), (Journey::Choose, 0.10), (Journey::Intruder, 0.05)]
    {
        let seen =
            plan.iter().filter(|planned| planned.journey == journey).count() as f64 / plan.len() as f64;
        // Four standard deviations of a share among some 20,000 journeys.
        assert!(
            (seen - share).abs() < 4.0 * (share * (1.0 - share) / plan.len() as f64).sqrt(),
            "{journey:?} {seen}"
        );
    }
}

#[test]
fn steady_starts_are_uniform() {
    let case = spec(Profile::Steady, 500.0, 40.0, 11);
    let plan = case.plan(&tutors());
    // Kolmogorov-Smirnov at 0.1 %: 1.95 / sqrt(n), plus what keeping a journey within the run may shift.
    let n = plan.len() as f64;
    let furthest = plan.iter().enumerate().fold(0.0_f64, |most, (rank, journey)| {
        most.max((journey.start().as_secs_f64() / 40.0 - rank as f64 / n).abs())
    });
    assert!(furthest < 1.95 / n.sqrt() + 1.0 / 40.0, "{furthest}");
}

#[test]
fn gaps_between_starts_follow_a_poisson_process() {
    let plan = spec(Profile::Steady, 500.0, 40.0, 12).plan(&tutors());
    // The last second starts fewer journeys, as each ends within the run.
    let starts: Vec<f64> =
        plan.iter().map(|journey| journey.start().as_secs_f64()).filter(|start| *start < 39.0).collect();
    let gaps: Vec<f64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    let dispersion = variance.sqrt() / mean;
    assert!(
        (0.93..1.07).contains(&dispersion),
        "the deviation of an exponential gap equals its mean: {dispersion}"
    );
}

#[test]
fn a_ramp_has_a_quarter_of_its_requests_in_the_first_half() {
    let dues = dues(&spec(Profile::Ramp, 500.0, 40.0, 13).plan(&tutors()));
    let early = dues.iter().filter(|due| due.as_secs_f64() < 20.0).count() as f64 / dues.len() as f64;
    assert!((0.22..0.28).contains(&early), "{early}");
}

#[test]
fn a_burst_has_half_of_its_starts_in_a_tenth_of_the_time() {
    let plan = spec(Profile::Burst, 500.0, 40.0, 14).plan(&tutors());
    // Keeping journeys within the run moves the later windows by up to a second: look at the first only.
    let first: Vec<f64> =
        plan.iter().map(|journey| journey.start().as_secs_f64()).filter(|start| *start < 4.9).collect();
    let burst = first.iter().filter(|start| **start < 0.5).count() as f64 / first.len() as f64;
    assert!((0.45..0.55).contains(&burst), "{burst}");
}

#[test]
fn subjects_are_requested_by_popularity() {
    let mut requested = vec![0_u32; 50];
    for journey in spec(Profile::Steady, 1000.0, 30.0, 15).plan(&tutors()) {
        for step in journey.steps {
            if let Action::Search { subject } = step.action {
                requested[subject] += 1;
            }
        }
    }
    assert!(requested.iter().all(|count| *count > 0), "{requested:?}");
    let ratio = f64::from(requested[0]) / f64::from(requested[9]);
    assert!((8.0..12.5).contains(&ratio), "rank 10 must be requested a tenth as often as rank 1: {ratio}");
}

#[test]
fn books_a_tutor_of_the_searched_subject() {
    let mut booked = 0;
    for journey in spec(Profile::Steady, 300.0, 10.0, 16).plan(&tutors()) {
        if let [
            Step { action: Action::Search { subject }, .. },
            Step { action: Action::Book { tutor }, .. },
            ..,
        ] = journey.steps.as_slice()
        {
            assert!(tutors()[*subject].contains(tutor));
            booked += 1;
        }
    }
    assert!(booked > 100, "{booked} journeys booked what they had searched");
}

#[test]
fn chooses_among_the_slots_of_one_tutor_and_sometimes_repeats_or_cancels() {
    let plan = spec(Profile::Steady, 1000.0, 20.0, 17).plan(&tutors());
    let (mut repeated, mut cancelled, mut ended) = (0, 0, 0);
    for journey in plan.iter().filter(|planned| planned.journey == Journey::Choose) {
        let actions: Vec<&Action> = journey.steps.iter().map(|step| &step.action).collect();
        // The last journey of a plan may be cut off.
        let [
            Action::Search { subject },
            Action::Slots { tutor },
            Action::BookSlot { tutor: booked, .. },
            rest @ ..,
        ] = actions.as_slice()
        else {
            ended += 1;
            continue;
        };
        assert!(tutor == booked && tutors()[*subject].contains(tutor));
        repeated += u32::from(rest.contains(&&Action::Repeat { tutor: *tutor }));
        cancelled += u32::from(rest.contains(&&Action::Cancel));
    }
    assert!(repeated > 50 && cancelled > 50 && ended <= 1, "{repeated} {cancelled} {ended}");
}

#[test]
fn concurrency_counts_overlapping_journeys() {
    let at = |starts: &[u64]| -> Vec<PlannedJourney> {
        starts
            .iter()
            .map(|start| {
                let step = |ms| Step { due: Duration::from_millis(ms), action: Action::Bookings };
                PlannedJourney { journey: Journey::Book, steps: vec![step(*start), step(start + 100)] }
            })
            .collect()
    };
    let reply = Duration::from_millis(50);
    assert_eq!(concurrency(&at(&[0, 150, 300]), Journey::Book, reply), 1);
    assert_eq!(concurrency(&at(&[0, 149, 250]), Journey::Book, reply), 2);
    assert_eq!(concurrency(&at(&[0, 10, 20]), Journey::Book, reply), 3);
    assert_eq!(concurrency(&at(&[0, 10, 20]), Journey::Browse, reply), 0);
}

#[test]
fn rejects_plans_that_take_too_much_memory_or_too_many_log_ins() {
    let log_in = Duration::from_millis(40);
    let huge = spec(Profile::Steady, 1e6, 3000.0, 1).check_requests(None, log_in).unwrap_err().to_string();
    for part in ["3000000000 requests", "1200000 MB", "3000000 requests and 10 min 0 s", "h", "--duration"] {
        assert!(huge.contains(part), "{part}: {huge}");
    }
    let short = spec(Profile::Steady, 1e6, 1.0, 1);
    assert_eq!(short.check_requests(None, log_in), Ok(()), "the number of requests is within the bound");
    let short = short.check_users(400_000, log_in).unwrap_err().to_string();
    for part in ["1000000 requests with 400000 log-ins", "400 MB", "4 h 26 min of log-ins before the load"] {
        assert!(short.contains(part), "{part}: {short}");
    }
    let usual = spec(Profile::Steady, 1000.0, 3000.0, 1);
    assert_eq!((usual.check_requests(None, log_in), usual.check_users(1000, log_in)), (Ok(()), Ok(())));
}
