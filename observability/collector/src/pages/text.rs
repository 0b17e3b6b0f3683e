//! What senders wrote, at a length that a page can bear.

use std::borrow::Cow;

use maud::{Markup, html};

/// A name at most; what is longer carries a payload.
const NAME_CHARS: usize = 120;
/// A value at most. The whole of it is in the JSON.
const VALUE_CHARS: usize = 2_000;

/// A name, apart from the text around it: letters written from right to left must not turn that around.
pub(super) fn name(name: &str) -> Markup {
    html! {
        @match cut(name, NAME_CHARS) {
            ("", _) => span.soft { "(no name)" },
            (start, 0) => bdi { (visible(start)) },
            (start, more) => { bdi { (visible(start)) } span.soft { "… (" (more) " more characters)" } },
        }
    }
}

/// A value, with its line breaks.
pub(super) fn value(value: &str) -> Markup {
    let (start, more) = cut(value, VALUE_CHARS);
    html! {
        bdi.value { (visible(start)) }
        @if more > 0 { span.soft { "… (" (more) " more characters in the JSON)" } }
    }
}

/// With its control characters written out: one that turns the direction of writing does so beyond its own element.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_invisible) {
        return Cow::Borrowed(text);
    }
    let written = |c: char| if is_invisible(c) { c.escape_unicode().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(written).collect())
}

fn is_invisible(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && !matches!(c, '\n' | '\t'))
}

/// The first characters, and how many others there are.
fn cut(text: &str, chars: usize) -> (&str, usize) {
    match text.char_indices().nth(chars) {
        Some((end, _)) => (&text[..end], text[end..].chars().count()),
        None => (text, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_turn_the_page_around_is_written_out() {
        assert_eq!(visible("evil \u{202e}gnp.exe\0"), "evil \\u{202e}gnp.exe\\u{0}");
        assert_eq!(visible("two\nlines\tשלום"), "two\nlines\tשלום");
        assert!(!name("a\u{2066}b").0.contains('\u{2066}') && !value("a\u{1b}b").0.contains('\u{1b}'));
    }
}
