//! Attributes sorted by key and events by time. Numeric IPv4 addresses in the attributes of spans and resources become text.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::changed_copies::ChangedCopies;
use crate::trace::{Attribute, Resource, Scope, Trace, Value};

pub(super) fn adjust(trace: &mut Trace) {
    let mut resources = ChangedCopies::default();
    let mut scopes = ChangedCopies::default();
    for span in &mut trace.spans {
        span.resource = resources.of(&span.resource, |resource: &mut Arc<Resource>| {
            let resource = Arc::make_mut(resource);
            sort(&mut resource.attributes);
            write_addresses(&mut resource.attributes);
        });
        span.scope =
            scopes.of(&span.scope, |scope: &mut Arc<Scope>| sort(&mut Arc::make_mut(scope).attributes));
        sort(&mut span.attributes);
        write_addresses(&mut span.attributes);
        span.events.sort_by_key(|event| event.time_ns);
        span.events.iter_mut().for_each(|event| sort(&mut event.attributes));
        span.links.iter_mut().for_each(|link| sort(&mut link.attributes));
    }
}

fn sort(attributes: &mut [Attribute]) {
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
}

/// Older clients send an address as its 32 bits.
fn write_addresses(attributes: &mut [Attribute]) {
    for Attribute { key, value } in attributes {
        if key == "ip" || key == "peer.ipv4" {
            let bits = match *value {
                Value::Int(number) => number as u32,
                Value::Double(number) => number as u32,
                _ => continue,
            };
            *value = Value::String(Ipv4Addr::from_bits(bits).to_string());
        }
    }
}
