use std::collections::BTreeMap;

use super::*;

fn rotation(count: usize) -> Rotation {
    let urls = (0..count).map(|n| format!("http://127.0.0.1:{}", 9000 + n).parse().unwrap());
    Rotation::new(urls.map(|url| Upstream::new(&url)).collect())
}

fn firsts(rotation: &Rotation, requests: usize) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        *counts.entry(rotation.candidates().next().unwrap().port()).or_default() += 1;
    }
    counts
}

#[test]
fn gateways_take_turns() {
    assert_eq!(firsts(&rotation(2), 101), BTreeMap::from([(9000, 51), (9001, 50)]));
}

#[test]
fn a_gateway_that_is_down_is_skipped_and_the_others_get_equal_shares() {
    let rotation = rotation(3);
    rotation.gateways[1].mark_down();
    assert_eq!(firsts(&rotation, 100), BTreeMap::from([(9000, 50), (9002, 50)]));
    rotation.gateways[1].set_up(true);
    assert_eq!(firsts(&rotation, 99), BTreeMap::from([(9000, 33), (9001, 33), (9002, 33)]));
}

#[test]
fn without_a_gateway_there_is_no_candidate() {
    let rotation = rotation(2);
    rotation.gateways.iter().for_each(Upstream::mark_down);
    assert_eq!(rotation.candidates().count(), 0);
    assert!(!rotation.any_up());
}
