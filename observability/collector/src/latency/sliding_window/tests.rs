use proptest::prelude::*;

use super::*;
use crate::latency::timeline::Timeline;

fn slots(spans: &[(u32, u64, bool)]) -> Vec<Slot> {
    let mut timeline = Timeline::default();
    for (index, duration_ns, error) in spans {
        timeline.record(*index, *duration_ns, *error);
    }
    timeline.copy(&(0..u32::MAX), true)
}

#[test]
fn a_window_is_unknown_before_the_first_slot_and_empty_after_the_last() {
    let slots = slots(&[(10, 2_000_000, false), (10, 50, true), (12, 50, false)]);
    let mut window = SlidingWindow::before(&slots);
    window.move_to(&(5..10));
    assert_eq!((window.calls(), window.error_rate(), window.quantile_ms(0.5)), (None, None, None));
    window.move_to(&(6..11));
    assert_eq!((window.calls(), window.error_rate()), (Some(2), Some(0.5)));
    assert_eq!(window.quantile_ms(0.5), Some(50.0 / 1e6));
    window.move_to(&(11..13));
    assert_eq!((window.calls(), window.error_rate()), (Some(1), Some(0.0)));
    window.move_to(&(20..25));
    assert_eq!((window.calls(), window.error_rate(), window.quantile_ms(1.0)), (Some(0), None, None));
}

#[test]
fn skipped_slots_do_not_count() {
    let slots = slots(&[(1, 10, true), (5, 20, true), (9, 30, false)]);
    let mut window = SlidingWindow::before(&slots);
    window.move_to(&(8..10));
    assert_eq!((window.calls(), window.error_rate()), (Some(1), Some(0.0)));
    assert_eq!(window.quantile_ms(0.0), Some(30.0 / 1e6));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_figures_of_a_window_match_its_spans(
        spans in proptest::collection::vec((0..40_u32, (0..64_u32, any::<u64>()), any::<bool>()), 1..200),
        length in 1..20_u32,
        step in 1..9_usize,
        quantile in 0.0..=1.0_f64,
    ) {
        let spans: Vec<(u32, u64, bool)> =
            spans.into_iter().map(|(index, (bits, low), error)| (index, low >> (63 - bits), error)).collect();
        let slots = slots(&spans);
        let mut window = SlidingWindow::before(&slots);
        for end in (0..60_u32).step_by(step) {
            let range = end.saturating_sub(length)..end;
            window.move_to(&range);
            let inside: Vec<_> = spans.iter().filter(|(index, _, _)| range.contains(index)).collect();
            prop_assert_eq!(window.calls().unwrap_or(0), inside.len() as u64);
            let errors = inside.iter().filter(|(_, _, error)| *error).count();
            prop_assert_eq!(window.error_rate(), (!inside.is_empty()).then(|| errors as f64 / inside.len() as f64));
            let mut durations: Vec<u64> = inside.iter().map(|(_, duration_ns, _)| *duration_ns).collect();
            durations.sort_unstable();
            let rank = ((quantile * durations.len() as f64).ceil() as usize).max(1);
            match (durations.get(rank - 1), window.quantile_ms(quantile)) {
                (Some(exact), Some(ms)) => {
                    let exact = *exact as f64 / 1e6;
                    prop_assert!((ms - exact).abs() <= exact * 0.032, "{ms} ms for {exact} ms");
                }
                (exact, ms) => prop_assert!(exact.is_none() && ms.is_none(), "{ms:?} for {exact:?}"),
            }
        }
    }
}
