//! Search terms: hashes of the key-value pairs that a search can name. A trace that lacks a term of a query is skipped
//! without being decoded.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::fast::FixedState;

use crate::go_syntax;
use crate::trace::{Kind, StatusCode};

const ERROR: &str = "error";
const SERVICE: &str = "\0service";
const OPERATION: &str = "\0operation";
/// Represents any value whose text is computed only when a search needs it.
const COMPOUND: &str = "\0compound";

/// Terms of one or more spans, in order.
#[derive(Debug, Default)]
pub(crate) struct SearchTerms(pub(super) Vec<u64>);

impl SearchTerms {
    /// Adds an attribute by the text of its value.
    pub(crate) fn attribute(&mut self, key: &str, value: &str) {
        self.0.push(term(key, value));
    }

    /// Adds an attribute whose value is bytes, a list or a map.
    pub(crate) fn compound(&mut self, key: &str) {
        self.0.push(term(key, COMPOUND));
    }

    /// Adds the other searchable fields of a span.
    pub(crate) fn span(&mut self, name: &str, kind: Kind, status: StatusCode) {
        self.0.extend([
            term(OPERATION, name),
            term("span.kind", kind.as_str()),
            term("span.status", status.as_str()),
            error(status == StatusCode::Error),
        ]);
    }

    /// Adds the name and version of a scope.
    pub(crate) fn scope(&mut self, name: &str, version: &str) {
        self.0.extend([term("scope.name", name), term("scope.version", version)]);
    }

    /// Adds the service.
    pub(crate) fn service(&mut self, service: &str) {
        self.0.push(term(SERVICE, service));
    }
}

/// Returns the term of a service.
pub(super) fn service(name: &str) -> u64 {
    term(SERVICE, name)
}

/// Returns the term of an operation.
pub(super) fn operation(name: &str) -> u64 {
    term(OPERATION, name)
}

/// Returns the terms of a tag. A span that has the tag has at least one of them.
pub(super) fn tag(key: &str, value: &str) -> Vec<u64> {
    let mut any = vec![term(key, value), term(key, COMPOUND)];
    if matches!(key, "span.kind" | "span.status") {
        any.push(term(key, &value.to_ascii_lowercase()));
    }
    if key == ERROR
        && let Ok(is_error) = go_syntax::parse_bool(value)
    {
        any.push(error(is_error));
    }
    if let Some(key) = key.strip_prefix("resource.") {
        any.extend([term(key, value), term(key, COMPOUND)]);
    }
    any
}

fn error(is_error: bool) -> u64 {
    term(ERROR, if is_error { "true" } else { "false" })
}

/// Returns the hash of a key and a value.
pub(super) fn term(key: &str, value: &str) -> u64 {
    // The seed is fixed: a collision only costs one unnecessary decoding of a trace.
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(key.as_bytes());
    hasher.write(value.as_bytes());
    hasher.finish()
}
