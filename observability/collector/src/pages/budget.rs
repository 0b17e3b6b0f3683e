//! Limits of a page's size. Content that a sender can repeat or make long is charged to a budget; content that exceeds the
//! budget is replaced by a reference to the JSON.

use std::cell::Cell;

use maud::{Markup, html};

use super::text;

/// Remaining size of a part of a page, in bytes of markup.
#[derive(Debug)]
pub(super) struct MarkupBudget(Cell<usize>);

impl MarkupBudget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Cell::new(bytes))
    }

    /// Renders items until the budget is used up.
    pub(super) fn list<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        render: impl Fn(T) -> Markup,
    ) -> Vec<Markup> {
        let fitting = |item| {
            let before = self.0.get();
            let markup = render(item);
            // Nested lists and values have been charged already.
            let charged = before - self.0.get();
            self.charge(markup.0.len().saturating_sub(charged)).then_some(markup)
        };
        items.into_iter().map_while(fitting).collect()
    }

    /// Renders a value, or a reference to the JSON.
    pub(super) fn value(&self, value: &str) -> Markup {
        let markup = text::value(value);
        if self.charge(markup.0.len()) {
            markup
        } else {
            html! { span.soft { "(in the JSON)" } }
        }
    }

    fn charge(&self, bytes: usize) -> bool {
        let left = self.0.get().checked_sub(bytes);
        left.inspect(|left| self.0.set(*left)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_nested_content_once_and_stops_at_the_limit() {
        let budget = MarkupBudget::new(100);
        let nested = |count: usize| {
            let items = budget.list(0..count, |_| html! { "0123456789" });
            html! { "(" @for item in &items { (item) } ")" }
        };
        let lengths: Vec<usize> =
            budget.list([4, 3, 9, 9, 9], nested).iter().map(|item| item.0.len()).collect();
        assert_eq!(lengths, [42, 32, 22, 2, 2]);
        assert!(MarkupBudget::new(3).value("abc").0.contains("in the JSON"));
    }
}
