//! Resources and scopes as they arrive, and their sizes.

use crate::otlp::encoded::push_bytes;
use crate::trace::Attribute;

/// Estimated size of a decoded part beside its texts, with the spare capacity of its list.
const PART_BYTES: usize = 2 * size_of::<Attribute>();

/// Estimated bytes per entry beside the encoded and decoded forms.
const OVERHEAD: usize = 512;

/// An encoded resource or scope with the schema URL that belongs to it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Encoded<'m> {
    pub(crate) message: &'m [u8],
    pub(crate) schema: &'m [u8],
}

impl Encoded<'_> {
    /// Returns whether both are the same part of a message.
    pub(crate) fn is(&self, other: &Encoded<'_>) -> bool {
        std::ptr::eq(self.message, other.message) && std::ptr::eq(self.schema, other.schema)
    }

    /// Returns the encoded form that equal resources or scopes share: each part is length-delimited.
    pub(super) fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.message.len() + self.schema.len() + 2 * 6);
        push_bytes(&mut key, 1, self.message);
        push_bytes(&mut key, 2, self.schema);
        key
    }
}

/// Size of a resource or a scope.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    /// Size of the encoded form.
    pub(super) encoded: usize,
    /// Number of attributes, entities and list items.
    pub(super) parts: usize,
}

impl Size {
    /// Returns the estimated size in the table, encoded and decoded.
    pub(super) fn stored(self) -> usize {
        2 * self.encoded + self.parts * PART_BYTES + OVERHEAD
    }
}
