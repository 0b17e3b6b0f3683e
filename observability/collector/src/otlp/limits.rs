//! Size limits of messages.

/// Maximum size of a message, both compressed and uncompressed.
pub const MAX_MESSAGE: usize = 16 << 20;

/// Maximum number of objects, lists and members in the JSON of one span, resource or scope: twice what a span with the
/// maximum number of attributes, events and links needs.
pub(super) const MAX_JSON_PARTS_PER_SPAN: usize = 400_000;

/// Maximum number of objects, lists and members in a JSON document that is parsed at once. The largest object, a span, takes
/// about 300 bytes in memory, even if its JSON is short.
pub(super) const MAX_JSON_PARTS: usize = 800_000;
