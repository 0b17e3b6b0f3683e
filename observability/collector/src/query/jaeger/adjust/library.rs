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

/// A copy of a resource that receives the attributes.
#[derive(Debug)]
struct ExtendedResource {
    resource: Resource,
    /// Positions of the resource's attributes that describe the SDK, by key.
    positions: HashMap<String, usize>,
}

/// Moves the attributes to the resources. A value that differs from the resource's stays, with a warning.
pub(super) fn adjust(trace: &mut Trace) {
    let mut changed: HashMap<*const Resource, ExtendedResource> = HashMap::new();
    for span in trace.spans.iter_mut().filter(|span| span.attributes.iter().any(is_of_library)) {
        let resource = changed
            .entry(Arc::as_ptr(&span.resource))
            .or_insert_with(|| ExtendedResource::new(&span.resource));
        move_attributes(span, resource);
    }
    let changed: HashMap<_, _> =
        changed.into_iter().map(|(original, extended)| (original, Arc::new(extended.resource))).collect();
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

fn move_attributes(span: &mut Span, resource: &mut ExtendedResource) {
    let moved: Vec<_> = span.attributes.extract_if(.., |attribute| is_of_library(attribute)).collect();
    let conflicting: Vec<_> = moved.into_iter().filter_map(|attribute| resource.add(attribute)).collect();
    let conflict = |Attribute { key, .. }: &Attribute| {
        format!("conflicting values between Span and Resource for attribute {key}")
    };
    let conflicts: Vec<_> = conflicting.iter().map(conflict).collect();
    span.attributes.extend(conflicting);
    warnings::add_all(span, conflicts);
}

impl ExtendedResource {
    fn new(original: &Resource) -> Self {
        let attributes = original.attributes.iter().enumerate();
        // In reverse: of attributes with one key, the first counts.
        let of_library = attributes.filter(|(_, attribute)| is_of_library(attribute)).rev();
        let positions = of_library.map(|(position, attribute)| (attribute.key.clone(), position)).collect();
        Self { resource: original.clone(), positions }
    }

    /// Adds an attribute. Returns it if the resource has another value for its key.
    fn add(&mut self, attribute: Attribute) -> Option<Attribute> {
        let attributes = &mut self.resource.attributes;
        let Some(&position) = self.positions.get(&attribute.key) else {
            self.positions.insert(attribute.key.clone(), attributes.len());
            attributes.push(attribute);
            return None;
        };
        match (&attributes[position].value, &attribute.value) {
            (Value::String(existing), Value::String(value)) if existing == value => None,
            _ => Some(attribute),
        }
    }
}
