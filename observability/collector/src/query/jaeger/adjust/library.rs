//! Attributes that describe the OpenTelemetry SDK: the UI shows them with the process, so they belong to the resource.

use std::collections::HashMap;
use std::sync::Arc;

use super::warnings;
use crate::trace::{Attribute, Resource, Span, Trace, Value};

const LIBRARY_KEYS: [&str; 5] = [
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
    "telemetry.distro.name",
    "telemetry.distro.version",
];

/// Moves the attributes to the resources. A value that differs from the resource's stays, with a warning.
pub(super) fn adjust(trace: &mut Trace) {
    let mut changed: HashMap<*const Resource, Resource> = HashMap::new();
    for span in trace.spans.iter_mut().filter(|span| span.attributes.iter().any(is_of_library)) {
        let resource =
            changed.entry(Arc::as_ptr(&span.resource)).or_insert_with(|| Resource::clone(&span.resource));
        move_attributes(span, resource);
    }
    let changed: HashMap<_, _> =
        changed.into_iter().map(|(original, resource)| (original, Arc::new(resource))).collect();
    // The originals are dropped only after the last comparison of addresses.
    let mut originals = Vec::new();
    for span in trace.spans.iter_mut().filter(|_| !changed.is_empty()) {
        if let Some(resource) = changed.get(&Arc::as_ptr(&span.resource)) {
            originals.push(std::mem::replace(&mut span.resource, Arc::clone(resource)));
        }
    }
}

fn is_of_library(attribute: &Attribute) -> bool {
    LIBRARY_KEYS.contains(&attribute.key.as_str())
}

fn move_attributes(span: &mut Span, resource: &mut Resource) {
    for attribute in span.attributes.extract_if(.., |attribute| is_of_library(attribute)).collect::<Vec<_>>()
    {
        let existing = resource.attributes.iter().find(|other| other.key == attribute.key);
        match existing.map(|existing| (&existing.value, &attribute.value)) {
            None => resource.attributes.push(attribute),
            Some((Value::String(existing), Value::String(value))) if existing == value => {}
            Some(_) => {
                let key = &attribute.key;
                let conflict = format!("conflicting values between Span and Resource for attribute {key}");
                span.attributes.push(attribute);
                warnings::add(span, &conflict);
            }
        }
    }
}
