//! Warnings of a span, kept in an attribute as in Jaeger.

use crate::trace::{Attribute, Span, Value};

/// Attribute in which Jaeger stores the warnings of a span.
pub(in crate::query::jaeger) const WARNINGS: &str = "@jaeger@warnings";

pub(super) fn add(span: &mut Span, warning: String) {
    add_all(span, [warning]);
}

/// Adds several warnings in one pass over the attributes.
pub(super) fn add_all(span: &mut Span, warnings: impl IntoIterator<Item = String>) {
    let mut warnings = warnings.into_iter().map(Value::String).peekable();
    if warnings.peek().is_none() {
        return;
    }
    match span.attributes.iter_mut().find(|attribute| attribute.key == WARNINGS) {
        Some(Attribute { value: Value::Array(list), .. }) => list.extend(warnings),
        // A sender may have set the attribute to a single value.
        Some(Attribute { value, .. }) => {
            let own = std::mem::take(value);
            *value = Value::Array(std::iter::once(own).chain(warnings).collect());
        }
        None => span
            .attributes
            .push(Attribute { key: WARNINGS.to_owned(), value: Value::Array(warnings.collect()) }),
    }
}
