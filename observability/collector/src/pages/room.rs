//! How much a page may hold. What a sender can repeat, or make long, takes its part of a room; when that is full, the page
//! says that the rest is in the JSON.

use std::cell::Cell;

use maud::{Markup, html};

use super::text;

/// Bytes of markup that are left.
#[derive(Debug)]
pub(super) struct Room(Cell<usize>);

impl Room {
    pub(super) fn of(bytes: usize) -> Self {
        Self(Cell::new(bytes))
    }

    /// The first of the items, as long as there is room for them.
    pub(super) fn list<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        shown: impl Fn(T) -> Markup,
    ) -> Vec<Markup> {
        let fitting = |item| {
            let before = self.0.get();
            let markup = shown(item);
            // What is within it has taken its part already.
            let within = before - self.0.get();
            self.take(markup.0.len().saturating_sub(within)).then_some(markup)
        };
        items.into_iter().map_while(fitting).collect()
    }

    /// A value, or where to find it.
    pub(super) fn value(&self, value: &str) -> Markup {
        let markup = text::value(value);
        if self.take(markup.0.len()) {
            markup
        } else {
            html! { span.soft { "(in the JSON)" } }
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let left = self.0.get().checked_sub(bytes);
        left.inspect(|left| self.0.set(*left)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_never_exceeded_and_what_is_within_counts_once() {
        let room = Room::of(100);
        let within = |count: usize| {
            let items = room.list(0..count, |_| html! { "0123456789" });
            html! { "(" @for item in &items { (item) } ")" }
        };
        let lengths: Vec<usize> =
            room.list([4, 3, 9, 9, 9], within).iter().map(|item| item.0.len()).collect();
        assert_eq!(lengths, [42, 32, 22, 2, 2]);
        assert!(Room::of(3).value("abc").0.contains("in the JSON"));
    }
}
