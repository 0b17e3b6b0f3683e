use super::*;

fn indices(timeline: &Timeline) -> Vec<u32> {
    timeline.slots.iter().map(|slot| slot.index).collect()
}

/// The bytes of a timeline, counted independently.
fn bytes(timeline: &Timeline) -> usize {
    let counts: usize = timeline.slots.iter().map(|slot| slot.durations.bytes()).sum();
    timeline.slots.capacity() * size_of::<Slot>() + counts
}

fn packed(timeline: &Timeline) -> Vec<bool> {
    timeline.slots.iter().map(|slot| matches!(slot.durations, DurationCounts::Packed(_))).collect()
}

fn durations(slot: &Slot) -> u32 {
    let mut durations = 0;
    slot.durations.for_each(|_, count| durations += count);
    durations
}

#[test]
fn slots_stay_in_order_when_spans_arrive_out_of_order() {
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
fn packs_old_slots_and_unpacks_them_for_late_spans() {
    let mut timeline = Timeline::default();
    (1..=5).for_each(|index| timeline.record(index, 1000, false));
    assert_eq!(packed(&timeline), [true, true, false, false, false]);
    timeline.record(1, 2000, false);
    assert_eq!(packed(&timeline), [false, true, false, false, false]);
    assert_eq!(durations(&timeline.slots[0]), 2);
    timeline.remove_before(0);
    assert_eq!(packed(&timeline), [true, true, false, false, false]);
}

#[test]
fn reported_bytes_match_the_allocation() {
    let mut timeline = Timeline::default();
    for number in 0..20_000_u64 {
        timeline.record((number * 7 % 300) as u32, number * number, false);
        assert_eq!(timeline.bytes(), bytes(&timeline));
    }
    timeline.remove_before(200);
    assert_eq!(timeline.bytes(), bytes(&timeline));
    assert_eq!(indices(&timeline), (200..300).collect::<Vec<_>>());
    timeline.remove_before(300);
    assert_eq!((timeline.bytes(), bytes(&timeline)), (0, 0), "an empty timeline takes no memory");
}

#[test]
fn copies_the_range_with_durations_only_on_request() {
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
