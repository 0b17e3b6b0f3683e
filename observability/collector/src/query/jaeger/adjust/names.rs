//! Placeholders for missing names of services and operations.

use std::sync::Arc;

use super::changed_copies::ChangedCopies;
use crate::trace::{Attribute, Resource, Trace, Value};

const SERVICE_NAME: &str = "service.name";

pub(super) fn sanitize(trace: &mut Trace) {
    let mut named = ChangedCopies::default();
    for span in &mut trace.spans {
        if span.name.is_empty() {
            span.name = span.operation().to_owned();
        }
        span.resource = named.of(&span.resource, name_service);
    }
}

/// Sets the name of the service if it is missing.
fn name_service(resource: &mut Arc<Resource>) {
    let name = resource.attributes.iter().find(|attribute| attribute.key == SERVICE_NAME);
    if name.and_then(|name| name.value.as_str()).is_some_and(|name| !name.is_empty()) {
        return;
    }
    let resource = Arc::make_mut(resource);
    let name = Value::String(resource.service().to_owned());
    match resource.attributes.iter_mut().find(|attribute| attribute.key == SERVICE_NAME) {
        Some(attribute) => attribute.value = name,
        None => resource.attributes.push(Attribute { key: SERVICE_NAME.to_owned(), value: name }),
    }
}
