//! The resources and instrumentation scopes of a page's spans. Each is shown once and linked from its spans; a scope that has
//! only a name and a version is not listed.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use maud::{Markup, html};

use super::budget::MarkupBudget;
use super::{attributes, text};
use crate::trace::{Resource, Scope, Span};

/// Maximum number of shown resources, and of shown scopes.
const MAX_SHOWN: usize = 100;

/// Maximum size of both lists, in bytes of markup.
const MAX_BYTES: usize = 2 << 20;

/// Distinguishes the processes of one service.
const INSTANCE: &str = "service.instance.id";

/// The resources and scopes of a page's spans.
pub(super) struct ResourceScopeSections {
    resources: Distinct<Resource>,
    scopes: Distinct<Scope>,
}

impl ResourceScopeSections {
    pub(super) fn of<'a>(spans: impl Iterator<Item = &'a Span> + Clone) -> Self {
        let budget = MarkupBudget::new(MAX_BYTES);
        let has_details = |scope: &&Arc<Scope>| !scope.attributes.is_empty() || scope.dropped_attributes > 0;
        let resource = |resource: &Resource| {
            let Resource { attributes, dropped_attributes, schema_url, entity_refs } = resource;
            html! {
                h3 { (resource_name(resource)) }
                (attributes::table(&budget, &html! {}, attributes, *dropped_attributes))
                @if !schema_url.is_empty() { p.hint { "Schema " (budget.value(schema_url)) } }
                @for entity in entity_refs {
                    p.hint {
                        "Entity " (budget.value(&entity.kind)) " identified by "
                        (budget.value(&entity.id_keys.join(", ")))
                    }
                }
            }
        };
        let scope = |scope: &Scope| {
            html! {
                h3 { (scope_name(scope)) }
                (attributes::table(&budget, &html! {}, &scope.attributes, scope.dropped_attributes))
            }
        };
        Self {
            resources: Distinct::of("r", &budget, spans.clone().map(|span| &span.resource), resource),
            scopes: Distinct::of("l", &budget, spans.map(|span| &span.scope).filter(has_details), scope),
        }
    }

    /// Renders the name of a span's resource as a link to its attributes.
    pub(super) fn resource(&self, span: &Span) -> Markup {
        self.resources.link(&span.resource, &resource_name(&span.resource))
    }

    /// Renders the name of a span's scope, as a link if it has attributes; `None` for an empty scope.
    pub(super) fn scope(&self, span: &Span) -> Option<Markup> {
        let scope = &span.scope;
        let is_empty =
            scope.name.is_empty() && scope.version.is_empty() && self.scopes.number(scope).is_none();
        (!is_empty).then(|| self.scopes.link(scope, &scope_name(scope)))
    }

    pub(super) fn sections(&self) -> Markup {
        html! {
            (self.resources.section("resources", "Resources", "The processes that sent the spans."))
            (self.scopes.section("scopes", "Scopes", "The libraries that recorded the spans."))
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

/// Distinct items by their content. Hashes are compared instead of the items themselves: comparing all pairs would take hours
/// if a sender attached a different resource to every span.
struct Distinct<T> {
    /// Prefix of the items' ids on the page.
    prefix: &'static str,
    /// Number of each item, from 1.
    numbers: HashMap<*const T, usize>,
    count: usize,
    /// Markup of the first items.
    shown: Vec<Markup>,
}

impl<T: Debug> Distinct<T> {
    fn of<'a>(
        prefix: &'static str,
        budget: &MarkupBudget,
        items: impl Iterator<Item = &'a Arc<T>>,
        render: impl Fn(&T) -> Markup,
    ) -> Self
    where
        T: 'a,
    {
        let (mut numbers, mut by_digest, mut list) = (HashMap::new(), HashMap::new(), Vec::new());
        let hasher = RandomState::new();
        for item in items {
            numbers.entry(Arc::as_ptr(item)).or_insert_with(|| {
                *by_digest.entry(hasher.hash_one(format!("{item:?}"))).or_insert_with(|| {
                    list.push(item);
                    list.len()
                })
            });
        }
        let shown = budget.list(list.iter().take(MAX_SHOWN), |item| render(item));
        Self { prefix, numbers, count: list.len(), shown }
    }

    /// Returns the number of an item if it is shown.
    fn number(&self, item: &Arc<T>) -> Option<usize> {
        self.numbers.get(&Arc::as_ptr(item)).copied().filter(|number| *number <= self.shown.len())
    }

    fn link(&self, item: &Arc<T>, name: &Markup) -> Markup {
        html! {
            @match self.number(item) {
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
                    ol.resources { @for (number, item) in (1..).zip(&self.shown) { li id={ (self.prefix) (number) } { (item) } } }
                    @if hidden > 0 { p.more { (hidden) " more in the JSON." } }
                }
            }
        }
    }
}
