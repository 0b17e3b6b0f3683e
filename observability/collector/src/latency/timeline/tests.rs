use super::*;

fn indices(timeline: &Timeline) -> Vec<u32> {
    timeline.slots.iter().map(|slot| slot.index).collect()
}

/// What it takes, counted anew.
fn bytes(timeline: &Timeline) -> usize {
    let counts: usize = timeline.slots.iter().map(|slot| slot.durations.bytes()).sum();
    timeline.slots.capacity() * size_of::<Slot>() + counts
}

fn packed(timeline: &Timeline) -> Vec<bool> {
    timeline.slots.iter().map(|slot| matches!(slot.durations, Counts::Packed(_))).collect()
}

fn durations(slot: &Slot) -> u32 {
    let mut durations = 0;
    slot.durations.for_each(|_, count| durations += count);
    durations
}

#[test]
fn slots_stay_in_order_however_the_spans_come() {
    let mut timeline = Timeline::default();
    for index in [7, 5, 9, 5, 6, 9, 9] {
        timeline.record(index, 1000, index == 9);
    }
    assert_eq!(indices(&timeline), [5, 6, 7, 9]);
    let counts: Vec<_> =
        timeline.slots.iter().map(|slot| (slot.calls, slot.errors, durations(slot))).collect();
    assert_eq!(counts, [(2, 0, 2), (1, 0, 1), (1, 0, 1), (3, 3, 3)]);
}

#[test]
fn slots_are_packed_when_few_spans_still_come_and_opened_for_those_that_do() {
    let mut timeline = Timeline::default();
    (1..=5).for_each(|index| timeline.record(index, 1000, false));
    assert_eq!(packed(&timeline), [true, true, false, false, false]);
    timeline.record(1, 2000, false);
    assert_eq!(packed(&timeline), [false, true, false, false, false]);
    assert_eq!(durations(&timeline.slots[0]), 2);
    timeline.forget_before(0);
    assert_eq!(packed(&timeline), [true, true, false, false, false]);
}

#[test]
fn its_bytes_are_those_that_it_takes() {
    let mut timeline = Timeline::default();
    for number in 0..20_000_u64 {
        timeline.record((number * 7 % 300) as u32, number * number, false);
        assert_eq!(timeline.bytes(), bytes(&timeline));
    }
    timeline.forget_before(200);
    assert_eq!(timeline.bytes(), bytes(&timeline));
    assert_eq!(indices(&timeline), (200..300).collect::<Vec<_>>());
    timeline.forget_before(300);
    assert_eq!((timeline.bytes(), bytes(&timeline)), (0, 0), "no room is held for nothing");
}

#[test]
fn a_copy_has_what_lies_in_the_range_and_durations_only_if_asked() {
    let mut timeline = Timeline::default();
    (1..=9).for_each(|index| timeline.record(index, 10, true));
    let copied = timeline.copy(&(3..6), true);
    assert_eq!(
        copied.iter().map(|slot| (slot.index, durations(slot))).collect::<Vec<_>>(),
        [(3, 1), (4, 1), (5, 1)]
    );
    let copied = timeline.copy(&(8..100), false);
    assert!(copied.len() == 2 && copied.iter().all(|slot| slot.calls == 1 && durations(slot) == 0));
    let reversed = Range { start: 10, end: 3 };
    assert!(timeline.copy(&reversed, true).is_empty());
}
