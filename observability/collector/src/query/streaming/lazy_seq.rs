//! Serializes an iterator as a list.

use std::cell::Cell;

use serde::{Serialize, Serializer};

/// A list whose elements are computed while it is serialized, so that only one is in memory at a time. Only the first
/// serialization yields them.
pub(crate) struct LazySeq<I>(Cell<Option<I>>);

impl<I: Iterator<Item: Serialize>> LazySeq<I> {
    pub(crate) fn new(items: I) -> Self {
        Self(Cell::new(Some(items)))
    }
}

impl<I: Iterator<Item: Serialize>> Serialize for LazySeq<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.take().into_iter().flatten())
    }
}
