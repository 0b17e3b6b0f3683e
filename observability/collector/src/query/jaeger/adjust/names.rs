//! Placeholders for missing names of services and operations.

use super::changed_copies::ChangedCopies;
use crate::trace::{Attribute, Resource, Trace, Value};

const SERVICE_NAME: &str = "service.name";

pub(super) fn sanitize(trace: &mut Trace) {
    let mut named = ChangedCopies::default();
    for span in &mut trace.spans {
        if span.name.is_empty() {
            span.name = span.operation().to_owned();
        }
        let name = span.resource.attributes.iter().find(|attribute| attribute.key == SERVICE_NAME);
        if name.and_then(|name| name.value.as_str()).is_none_or(str::is_empty) {
            span.resource = named.of(&span.resource, set_service);
        }
    }
}

fn set_service(resource: &mut Resource) {
    let name = Value::String(resource.service().to_owned());
    match resource.attributes.iter_mut().find(|attribute| attribute.key == SERVICE_NAME) {
        Some(attribute) => attribute.value = name,
        None => resource.attributes.push(Attribute { key: SERVICE_NAME.to_owned(), value: name }),
    }
}
