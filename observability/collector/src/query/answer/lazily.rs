//! A list whose elements are made as they are written.

use std::cell::Cell;

use serde::{Serialize, Serializer};

/// Written once; all of its elements together may take more than there is room for.
pub(crate) struct Lazily<I>(Cell<Option<I>>);

impl<I: Iterator<Item: Serialize>> Lazily<I> {
    pub(crate) fn of(list: I) -> Self {
        Self(Cell::new(Some(list)))
    }
}

impl<I: Iterator<Item: Serialize>> Serialize for Lazily<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.take().into_iter().flatten())
    }
}
