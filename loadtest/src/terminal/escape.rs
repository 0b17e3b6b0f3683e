//! Escapes characters that a terminal would execute instead of showing.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns `text` on one line, with each control character as its Rust escape, such as `\u{1b}` or `\n`.
///
/// Escaped are the control characters of ASCII and Latin-1 (terminals accept U+009B in place of `ESC [`), the line and
/// paragraph separators, and the characters that change the direction of the text around them.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    escape(text, is_active)
}

/// Like [`escaped`], but keeps line feeds and tabs.
pub(crate) fn escaped_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_active(c) && !matches!(c, '\n' | '\t'))
}

/// Returns JSON text with the control characters that JSON permits in strings escaped as JSON does, so that it stays equal.
pub(crate) fn escaped_json(json: &str) -> Cow<'_, str> {
    // Outside of strings JSON contains no other control characters than white space.
    let is_hidden = |c| is_active(c) && !matches!(c, '\n' | '\t' | '\r');
    replace(json, is_hidden, |out, c| {
        let _ = write!(out, "\\u{:04x}", u32::from(c));
    })
}

fn escape(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    replace(text, is_escaped, |out, c| {
        let _ = write!(out, "{}", c.escape_default());
    })
}

fn replace(
    text: &str,
    is_replaced: impl Fn(char) -> bool,
    mut write: impl FnMut(&mut String, char),
) -> Cow<'_, str> {
    if !text.contains(&is_replaced) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_replaced(c) { write(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

fn is_active(c: char) -> bool {
    let changes_direction =
        matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || changes_direction || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_control_characters_as_escapes() {
        assert_eq!(escaped("\u{1b}[2Jcache\r\n\u{9b}31m\u{7f}"), r"\u{1b}[2Jcache\r\n\u{9b}31m\u{7f}");
        assert_eq!(escaped("a\u{202e}b\u{2028}c"), r"a\u{202e}b\u{2028}c");
    }

    #[test]
    fn keeps_other_text() {
        for text in ["", "GET /search", "Zoë, naïve, 漢字, 🙂", "C:\\temp"] {
            assert!(matches!(escaped(text), Cow::Borrowed(same) if same == text), "{text}");
        }
        assert_eq!(escaped_lines("one\n\ttwo\u{1b}"), "one\n\ttwo\\u{1b}");
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let value = serde_json::json!({ "name": "\u{9b}31m\u{1b}\u{7f}\u{202e}", "list": [1, 2] });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let escaped = escaped_json(&text);
        assert!(!escaped.contains(|c| is_active(c) && c != '\n'), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
    }
}
