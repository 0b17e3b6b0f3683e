//! What can be searched for, as hashes: a trace that lacks one of a query's hashes need not be decoded to be passed by.
//!
//! A trace keeps its hashes in Bloom filters of 512 bits, each filled with some 37 of them (a third of its bits by six
//! probes each), so that one filter holds what it was never given once in 700 times; then the next one begins.
//! Source of the formula: Bloom, "Space/time trade-offs in hash coding with allowable errors", CACM 13(7), 1970.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::fast::FixedState;

use crate::go_syntax;
use crate::trace::{Kind, StatusCode};

const ERROR: &str = "error";
const SERVICE: &str = "\0service";
const OPERATION: &str = "\0operation";
/// Stands for a value whose text is made only when it is asked for.
const COMPOUND: &str = "\0compound";

/// Bits set in a filter that is full.
const FULL: u32 = 176;
const PROBES: u32 = 6;

/// A trace of more filters than this has what came again in them, too: looking through all would take ever longer.
const LOOKED_THROUGH: usize = 4;

/// Hashes of what spans hold, one after another.
#[derive(Debug, Default)]
pub(crate) struct Tokens(pub(super) Vec<u64>);

impl Tokens {
    pub(crate) fn attribute(&mut self, key: &str, value: &str) {
        self.0.push(token(key, value));
    }

    /// An attribute whose value is bytes, a list or a map.
    pub(crate) fn compound(&mut self, key: &str) {
        self.0.push(token(key, COMPOUND));
    }

    /// What else of a span can be searched for.
    pub(crate) fn span(&mut self, name: &str, kind: Kind, status: StatusCode) {
        self.0.extend([
            token(OPERATION, name),
            token("span.kind", kind.as_str()),
            token("span.status", status.as_str()),
            error(status == StatusCode::Error),
        ]);
    }

    pub(crate) fn scope(&mut self, name: &str, version: &str) {
        self.0.extend([token("scope.name", name), token("scope.version", version)]);
    }

    pub(crate) fn service(&mut self, service: &str) {
        self.0.push(token(SERVICE, service));
    }
}

/// The hash of a service's name.
pub(super) fn service(name: &str) -> u64 {
    token(SERVICE, name)
}

/// The hash of an operation's name.
pub(super) fn operation(name: &str) -> u64 {
    token(OPERATION, name)
}

/// The hashes of which one must be there for a span to hold the tag.
pub(super) fn tag(key: &str, value: &str) -> Vec<u64> {
    let mut any = vec![token(key, value), token(key, COMPOUND)];
    if matches!(key, "span.kind" | "span.status") {
        any.push(token(key, &value.to_ascii_lowercase()));
    }
    if key == ERROR
        && let Ok(asked) = go_syntax::parse_bool(value)
    {
        any.push(error(asked));
    }
    if let Some(key) = key.strip_prefix("resource.") {
        any.extend([token(key, value), token(key, COMPOUND)]);
    }
    any
}

fn error(is_error: bool) -> u64 {
    token(ERROR, if is_error { "true" } else { "false" })
}

/// The hash of two texts.
pub(super) fn token(key: &str, value: &str) -> u64 {
    // Fixed, as a collision costs no more than a look at the trace.
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(key.as_bytes());
    hasher.write(value.as_bytes());
    hasher.finish()
}

/// The filters of one trace.
#[derive(Debug, Clone, Default)]
pub(super) struct Filters {
    blocks: Vec<[u64; 8]>,
    /// Bits set in the last one.
    set: u32,
}

impl Filters {
    pub(super) fn add(&mut self, token: u64) {
        if self.blocks.iter().rev().take(LOOKED_THROUGH).any(|block| holds(block, token)) {
            return;
        }
        if self.blocks.is_empty() || self.set >= FULL {
            // Most traces need few: no room for more than that is taken.
            self.blocks.reserve_exact(1 + self.blocks.len() / 4);
            self.blocks.push([0; 8]);
            self.set = 0;
        }
        let Some(block) = self.blocks.last_mut() else { return };
        for bit in bits(token) {
            let word = &mut block[bit >> 6];
            self.set += u32::from(*word >> (bit & 63) & 1 == 0);
            *word |= 1 << (bit & 63);
        }
    }

    pub(super) fn may_hold(&self, token: u64) -> bool {
        self.blocks.iter().any(|block| holds(block, token))
    }

    pub(super) fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<[u64; 8]>()
    }
}

fn holds(block: &[u64; 8], token: u64) -> bool {
    bits(token).all(|bit| block[bit >> 6] >> (bit & 63) & 1 == 1)
}

/// Six times nine bits of the hash.
fn bits(token: u64) -> impl Iterator<Item = usize> {
    (0..PROBES).map(move |probe| (token >> (9 * probe)) as usize & 511)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_holds_all_that_it_was_given_and_little_else() {
        let mut filters = Filters::default();
        for number in 0..1000_u32 {
            filters.add(token("key", &number.to_string()));
        }
        assert!((0..1000).all(|number: u32| filters.may_hold(token("key", &number.to_string()))));
        let blocks = filters.blocks.len();
        assert!((20..=32).contains(&blocks), "{blocks}");
        let asked = 100_000;
        let wrong = (0..asked).filter(|number| filters.may_hold(token("other", &number.to_string()))).count();
        assert!(wrong as f64 / f64::from(asked) < 0.0025 * blocks as f64, "{wrong} of {asked}");
    }

    #[test]
    fn what_comes_again_takes_no_room() {
        let mut filters = Filters::default();
        for _ in 0..1000 {
            filters.add(token("http.request.method", "GET"));
        }
        assert_eq!((filters.blocks.len(), filters.set <= PROBES), (1, true));
    }
}
