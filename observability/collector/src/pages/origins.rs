//! Where spans come from: each resource, and each library that says more of itself than its name, once, however many
//! spans share it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use maud::{Markup, html};

use super::room::Room;
use super::{attributes, text};
use crate::trace::{Resource, Scope, Span};

/// Resources shown, and libraries.
const SHOWN: usize = 100;

/// Bytes of them.
const BYTES: usize = 2 << 20;

/// Tells apart the processes of one service.
const INSTANCE: &str = "service.instance.id";

/// What the spans of a page share.
pub(super) struct Origins {
    resources: Distinct<Resource>,
    scopes: Distinct<Scope>,
}

impl Origins {
    pub(super) fn of<'a>(spans: impl Iterator<Item = &'a Span> + Clone) -> Self {
        let room = Room::of(BYTES);
        let says_more = |scope: &&Arc<Scope>| !scope.attributes.is_empty() || scope.dropped_attributes > 0;
        let resource = |resource: &Resource| {
            let Resource { attributes, dropped_attributes, schema_url } = resource;
            html! {
                h3 { (resource_name(resource)) }
                (attributes::table(&room, &html! {}, attributes, *dropped_attributes))
                @if !schema_url.is_empty() { p.hint { "Schema " (room.value(schema_url)) } }
            }
        };
        let scope = |scope: &Scope| {
            html! {
                h3 { (scope_name(scope)) }
                (attributes::table(&room, &html! {}, &scope.attributes, scope.dropped_attributes))
            }
        };
        Self {
            resources: Distinct::of("r", &room, spans.clone().map(|span| &span.resource), resource),
            scopes: Distinct::of("l", &room, spans.map(|span| &span.scope).filter(says_more), scope),
        }
    }

    /// The name of a span's resource, which leads to the rest of it.
    pub(super) fn resource(&self, span: &Span) -> Markup {
        self.resources.link(&span.resource, &resource_name(&span.resource))
    }

    /// The name of the library that made a span, if there is anything to say of it.
    pub(super) fn scope(&self, span: &Span) -> Option<Markup> {
        let scope = &span.scope;
        let says_nothing =
            scope.name.is_empty() && scope.version.is_empty() && self.scopes.number(scope).is_none();
        (!says_nothing).then(|| self.scopes.link(scope, &scope_name(scope)))
    }

    pub(super) fn sections(&self) -> Markup {
        html! {
            (self.resources.section("resources", "Resources", "The processes that the spans are of."))
            (self.scopes.section("libraries", "Libraries", "What made the spans."))
        }
    }
}

fn resource_name(resource: &Resource) -> Markup {
    let instance = resource.attributes.iter().find(|attribute| attribute.key == INSTANCE);
    let instance = instance.and_then(|attribute| attribute.value.as_str());
    let instance = instance.filter(|instance| *instance != resource.service());
    html! {
        span.service { (text::name(resource.service())) }
        @if let Some(instance) = instance { " " (text::name(instance)) }
    }
}

fn scope_name(scope: &Scope) -> Markup {
    html! {
        span.service { (text::name(&scope.name)) }
        @if !scope.version.is_empty() { " " (text::name(&scope.version)) }
    }
}

/// Things that look the same are one. Digests tell whether they do, for to compare each with each would take hours where
/// a sender makes one for every span.
struct Distinct<T> {
    /// Of their ids on the page.
    prefix: &'static str,
    /// From one.
    numbers: HashMap<*const T, usize>,
    count: usize,
    /// Of the first of them.
    shown: Vec<Markup>,
}

impl<T: Debug> Distinct<T> {
    fn of<'a>(
        prefix: &'static str,
        room: &Room,
        things: impl Iterator<Item = &'a Arc<T>>,
        shown: impl Fn(&T) -> Markup,
    ) -> Self
    where
        T: 'a,
    {
        let (mut numbers, mut by_digest, mut list) = (HashMap::new(), HashMap::new(), Vec::new());
        let hasher = RandomState::new();
        for thing in things {
            numbers.entry(Arc::as_ptr(thing)).or_insert_with(|| {
                *by_digest.entry(hasher.hash_one(format!("{thing:?}"))).or_insert_with(|| {
                    list.push(thing);
                    list.len()
                })
            });
        }
        let shown = room.list(list.iter().take(SHOWN), |thing| shown(thing));
        Self { prefix, numbers, count: list.len(), shown }
    }

    /// If it is shown.
    fn number(&self, thing: &Arc<T>) -> Option<usize> {
        self.numbers.get(&Arc::as_ptr(thing)).copied().filter(|number| *number <= self.shown.len())
    }

    fn link(&self, thing: &Arc<T>, name: &Markup) -> Markup {
        html! {
            @match self.number(thing) {
                Some(number) => a href={ "#" (self.prefix) (number) } { (name) },
                None => (name),
            }
        }
    }

    fn section(&self, id: &str, title: &str, hint: &str) -> Markup {
        let hidden = self.count - self.shown.len();
        html! {
            @if self.count > 0 {
                section.panel aria-labelledby=(id) {
                    h2 id=(id) { (title) }
                    p.hint { (hint) }
                    ol.origins { @for (number, origin) in (1..).zip(&self.shown) { li id={ (self.prefix) (number) } { (origin) } } }
                    @if hidden > 0 { p.more { (hidden) " more in the JSON." } }
                }
            }
        }
    }
}
