use std::collections::BTreeMap;

use super::*;

fn rotation(count: usize) -> Rotation {
    Rotation::new(
        (0..count).map(|n| Gateway::parse(&format!("http://127.0.0.1:{}", 9000 + n)).unwrap()).collect(),
    )
}

fn firsts(rotation: &Rotation, requests: usize) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        *counts.entry(rotation.candidates().next().unwrap().port()).or_default() += 1;
    }
    counts
}

#[test]
fn turns_are_strict() {
    assert_eq!(firsts(&rotation(2), 101), BTreeMap::from([(9000, 51), (9001, 50)]));
}

#[test]
fn one_that_is_down_is_skipped_and_the_others_share_alike() {
    let rotation = rotation(3);
    rotation.gateways[1].mark_down();
    assert_eq!(firsts(&rotation, 100), BTreeMap::from([(9000, 50), (9002, 50)]));
    rotation.gateways[1].set_up(true);
    assert_eq!(firsts(&rotation, 99), BTreeMap::from([(9000, 33), (9001, 33), (9002, 33)]));
}

#[test]
fn with_none_up_there_is_nothing_to_try() {
    let rotation = rotation(2);
    rotation.gateways.iter().for_each(Gateway::mark_down);
    assert_eq!(rotation.candidates().count(), 0);
    assert!(!rotation.any_up());
}
