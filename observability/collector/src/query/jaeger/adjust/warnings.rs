//! Warnings of a span, kept in an attribute as in Jaeger.

use crate::trace::{Attribute, Span, Value};

/// Attribute in which Jaeger stores the warnings of a span.
pub(in crate::query::jaeger) const WARNINGS: &str = "@jaeger@warnings";

pub(super) fn add(span: &mut Span, warning: &str) {
    let warning = Value::String(warning.to_owned());
    match span.attributes.iter_mut().find(|attribute| attribute.key == WARNINGS) {
        Some(Attribute { value: Value::Array(list), .. }) => list.push(warning),
        // A sender may have set the attribute to a single value.
        Some(Attribute { value, .. }) => *value = Value::Array(vec![std::mem::take(value), warning]),
        None => {
            span.attributes.push(Attribute { key: WARNINGS.to_owned(), value: Value::Array(vec![warning]) })
        }
    }
}
