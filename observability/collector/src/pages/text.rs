//! Names and values from senders: truncated, isolated and without invisible control characters.

use std::borrow::Cow;

use maud::{Markup, html};

/// Maximum length of a name, in characters.
const MAX_NAME_CHARS: usize = 120;
/// Maximum length of a value, in characters. The JSON has the whole value.
const MAX_VALUE_CHARS: usize = 2_000;

/// Renders a name in a `bdi` element, so that right-to-left text does not reorder the text around it.
pub(super) fn name(name: &str) -> Markup {
    html! {
        @match truncate(name, MAX_NAME_CHARS) {
            ("", _) => span.soft { "(no name)" },
            (start, 0) => bdi { (visible(start)) },
            (start, more) => { bdi { (visible(start)) } span.soft { "… (" (more) " more characters)" } },
        }
    }
}

/// Renders a value with its line breaks.
pub(super) fn value(value: &str) -> Markup {
    let (start, more) = truncate(value, MAX_VALUE_CHARS);
    html! {
        bdi.value { (visible(start)) }
        @if more > 0 { span.soft { "… (" (more) " more characters in the JSON)" } }
    }
}

/// Escapes control characters: a bidirectional override would take effect beyond its own element.
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

/// Returns the first `chars` characters and the number of the remaining ones.
fn truncate(text: &str, chars: usize) -> (&str, usize) {
    match text.char_indices().nth(chars) {
        Some((end, _)) => (&text[..end], text[end..].chars().count()),
        None => (text, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_characters_that_change_the_text_direction() {
        assert_eq!(visible("evil \u{202e}gnp.exe\0"), "evil \\u{202e}gnp.exe\\u{0}");
        assert_eq!(visible("two\nlines\tשלום"), "two\nlines\tשלום");
        assert!(!name("a\u{2066}b").0.contains('\u{2066}') && !value("a\u{1b}b").0.contains('\u{1b}'));
    }
}
