//! Maximum length of attribute values, so that a caller cannot make spans large.

/// Maximum length of a value that comes from a request, such as its path or user agent, in bytes.
pub(crate) const MAX_REQUEST_VALUE_BYTES: usize = 256;

/// Maximum length of any other value, in bytes.
pub(crate) const MAX_VALUE_BYTES: usize = 4096;

/// Returns the first 256 bytes of a value that comes from a request, or fewer so that no character is cut.
pub(crate) fn from_request(value: &str) -> &str {
    truncated(value, MAX_REQUEST_VALUE_BYTES)
}

/// Returns the first `limit` bytes of `value`, or fewer so that no character is cut.
pub(crate) fn truncated(value: &str, limit: usize) -> &str {
    &value[..value.floor_char_boundary(limit)]
}
