//! Tags as text: `key=value` pairs separated by white space, with quotes around values that contain white space.

use crate::otlp::text::as_text;
use crate::trace::{Attribute, Trace, Value};

/// Maximum length of the key and of the value of an example, in bytes.
const MAX_EXAMPLE: usize = 40;

/// A text that is not a list of tags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParseTagsError {
    #[error("“{0}” is not key=value")]
    NotAPair(String),
    #[error("closing quote missing after “{0}=”")]
    MissingQuote(String),
    #[error("space missing after the quoted value of “{0}”")]
    MissingSpace(String),
}

/// Returns keys and values in order. Within quotes, `\"` is a quote and `\\` a backslash.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, ParseTagsError> {
    let mut tags = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let word = rest.split(char::is_whitespace).next().unwrap_or(rest);
        let key = match word.split_once('=') {
            Some((key, _)) if !key.is_empty() => key.to_owned(),
            _ => return Err(ParseTagsError::NotAPair(word.to_owned())),
        };
        let value = &rest[key.len() + 1..];
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted).ok_or_else(|| ParseTagsError::MissingQuote(key.clone()))?,
            None => {
                let (value, after) = value.split_at(value.find(char::is_whitespace).unwrap_or(value.len()));
                (value.to_owned(), after)
            }
        };
        if !after.is_empty() && !after.starts_with(char::is_whitespace) {
            return Err(ParseTagsError::MissingSpace(key));
        }
        tags.push((key, value));
        rest = after.trim_start();
    }
    Ok(tags)
}

/// Returns a tag as [`parse`] reads it.
pub(super) fn write(key: &str, value: &str) -> String {
    if value.starts_with('"') || value.contains(char::is_whitespace) {
        format!("{key}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        format!("{key}={value}")
    }
}

/// Returns a short tag of one of the spans, the root's first.
pub(super) fn example(trace: &Trace) -> Option<String> {
    let root = trace.root().map(|root| &trace.spans[root]);
    let mut attributes = root.into_iter().chain(&trace.spans).flat_map(|span| &span.attributes);
    attributes.find_map(|Attribute { key, value }| {
        let is_plain = matches!(value, Value::String(_) | Value::Int(_) | Value::Bool(_));
        let value = as_text(value);
        let is_short = |text: &str| (1..=MAX_EXAMPLE).contains(&text.len());
        let is_key = !key.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control());
        let is_shown = is_plain && is_key && is_short(key) && is_short(&value);
        (is_shown && !value.contains(char::is_control)).then(|| write(key, &value))
    })
}

/// Returns the text before the closing quote and the text after it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => match chars.next()?.1 {
                escaped @ ('"' | '\\') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap()
    }

    fn tag(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn tags_are_separated_by_white_space() {
        assert_eq!(parsed("  a=1\tb=2\r\nc=d=e  "), [tag("a", "1"), tag("b", "2"), tag("c", "d=e")]);
        assert_eq!(parsed("empty= x=y"), [tag("empty", ""), tag("x", "y")]);
        assert_eq!(parsed(" \n "), []);
    }

    #[test]
    fn quoted_values_contain_white_space() {
        assert_eq!(parsed(r#"sql="select 1" b=2"#), [tag("sql", "select 1"), tag("b", "2")]);
        assert_eq!(parsed(r#"a="say \"hi\" \\ \n" b="""#), [tag("a", r#"say "hi" \ \n"#), tag("b", "")]);
    }

    #[test]
    fn reads_what_it_writes() {
        for value in ["", "1", "select 1", "say \"hi\"", "\"quoted\"", "back\\slash and space", "a=b"] {
            assert_eq!(parsed(&write("key", value)), [tag("key", value)], "{value:?}");
        }
    }

    #[test]
    fn errors_name_the_invalid_tag() {
        assert_eq!(parse("a=1 error"), Err(ParseTagsError::NotAPair("error".to_owned())));
        assert_eq!(parse("=x"), Err(ParseTagsError::NotAPair("=x".to_owned())));
        assert_eq!(parse("a=\"x y"), Err(ParseTagsError::MissingQuote("a".to_owned())));
        assert_eq!(parse("a=\"x\"y"), Err(ParseTagsError::MissingSpace("a".to_owned())));
    }
}
