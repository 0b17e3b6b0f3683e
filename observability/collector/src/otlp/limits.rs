//! Size limits of messages and of their parts.

/// Maximum size of a message, both compressed and uncompressed.
pub const MAX_MESSAGE: usize = 16 << 20;

/// Maximum nesting of lists and maps in a value. A list or map at a greater depth is replaced by a marker.
pub(crate) const MAX_DEPTH: usize = 64;

/// Maximum number of attributes, events, links and list items of one span, resource or scope; further ones are dropped. A
/// part of 2 bytes on the wire takes about 70 bytes when decoded.
pub(crate) const MAX_PARTS: usize = 20_000;

/// Maximum number of objects, lists and members in a JSON document that is parsed at once. The largest object, a span, takes
/// about 300 bytes in memory, even if its JSON is short.
pub(super) const MAX_JSON_PARTS: usize = 800_000;
