//! The operations of all services by their full names. Histograms, in contrast, are limited in number and truncate
//! names.
//!
//! Bounded by two generations: when the current one is full, it replaces the previous one. An operation is removed if it
//! does not recur within a generation.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::fast::{FixedState, RandomState};

use crate::trace::Kind;

/// Maximum length of a name; longer ones are not listed.
const LONGEST_NAME: usize = 4096;

/// Bytes per operation or service beside its name.
const OVERHEAD: usize = 128;

#[derive(Debug)]
pub(super) struct Operations {
    max_bytes: usize,
    current: Generation,
    previous: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    /// Hashes of service, name and kind.
    seen: HashSet<u64, RandomState>,
    by_service: BTreeMap<String, BTreeSet<(String, Kind)>>,
    bytes: usize,
}

impl Operations {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, current: Generation::default(), previous: Generation::default() }
    }

    /// Notes that a span of the operation arrived.
    pub(super) fn record(&mut self, service: &str, name: &str, kind: Kind) {
        let hash = hash(service, name, kind);
        if self.current.seen.contains(&hash) || name.len() > LONGEST_NAME || service.len() > LONGEST_NAME {
            return;
        }
        if self.current.bytes > self.max_bytes / 2 {
            self.previous = std::mem::take(&mut self.current);
        }
        self.current.insert(hash, service, name, kind);
    }

    pub(super) fn of(&self, service: &str) -> BTreeSet<(String, Kind)> {
        let generations = [&self.current, &self.previous].into_iter();
        generations.filter_map(|generation| generation.by_service.get(service)).flatten().cloned().collect()
    }

    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        let generations = [&self.current, &self.previous].into_iter();
        generations.flat_map(|generation| generation.by_service.keys().map(String::as_str))
    }

    /// Returns all operations, the previous generation first.
    pub(super) fn all(&self) -> Vec<(String, String, Kind)> {
        let of_service = |(service, operations): (&String, &BTreeSet<(String, Kind)>)| {
            let named = |(name, kind): &(String, Kind)| (service.clone(), name.clone(), *kind);
            operations.iter().map(named).collect::<Vec<_>>()
        };
        let generations = [&self.previous, &self.current].into_iter();
        generations.flat_map(|generation| generation.by_service.iter()).flat_map(of_service).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        self.current.bytes + self.previous.bytes
    }
}

impl Generation {
    fn insert(&mut self, hash: u64, service: &str, name: &str, kind: Kind) {
        self.seen.insert(hash);
        self.bytes += name.len() + OVERHEAD;
        if let Some(operations) = self.by_service.get_mut(service) {
            operations.insert((name.to_owned(), kind));
        } else {
            self.bytes += service.len() + OVERHEAD;
            self.by_service.insert(service.to_owned(), BTreeSet::from([(name.to_owned(), kind)]));
        }
    }
}

fn hash(service: &str, name: &str, kind: Kind) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(service.as_bytes());
    hasher.write_u8(kind as u8);
    hasher.write(name.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_recurring_operations_among_many_others() {
        let mut operations = Operations::new(100_000);
        for number in 0..100_000 {
            operations.record("ids", &format!("GET /{number}"), Kind::Server);
            operations.record("shop", "GET /search", Kind::Server);
            operations.record("shop", "GET /search", Kind::Client);
            assert!(operations.bytes() < 101_000, "{}", operations.bytes());
        }
        let search = |kind| ("GET /search".to_owned(), kind);
        assert_eq!(operations.of("shop"), BTreeSet::from([search(Kind::Server), search(Kind::Client)]));
        assert!(operations.of("ids").contains(&("GET /99999".to_owned(), Kind::Server)));
        assert!(
            !operations.of("ids").contains(&("GET /1".to_owned(), Kind::Server)),
            "forgets old operations"
        );
        assert_eq!(operations.services().collect::<BTreeSet<_>>(), BTreeSet::from(["ids", "shop"]));
        assert!(operations.of("nobody").is_empty());
    }

    #[test]
    fn recording_all_operations_again_restores_them() {
        let (mut operations, mut again) = (Operations::new(50_000), Operations::new(50_000));
        (0..300).for_each(|number| operations.record("ids", &number.to_string(), Kind::Server));
        operations.all().iter().for_each(|(service, name, kind)| again.record(service, name, *kind));
        assert_eq!(again.of("ids"), operations.of("ids"));
    }
}
