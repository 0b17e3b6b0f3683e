//! Tags as they are typed: `key=value` after another, quoted where a value has blanks.

/// A text that is no list of tags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParseTagsError {
    #[error("“{0}” is no key=value")]
    NoValue(String),
    #[error("the quotes after “{0}=” do not end")]
    OpenQuotes(String),
    #[error("a blank is missing after the quotes of “{0}”")]
    Glued(String),
}

/// Keys and values in their order. Within quotes `\"` is a quote and `\\` a backslash.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, ParseTagsError> {
    let mut tags = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let word = rest.split(char::is_whitespace).next().unwrap_or(rest);
        let key = match word.split_once('=') {
            Some((key, _)) if !key.is_empty() => key.to_owned(),
            _ => return Err(ParseTagsError::NoValue(word.to_owned())),
        };
        let value = &rest[key.len() + 1..];
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted).ok_or_else(|| ParseTagsError::OpenQuotes(key.clone()))?,
            None => {
                let (value, after) = value.split_at(value.find(char::is_whitespace).unwrap_or(value.len()));
                (value.to_owned(), after)
            }
        };
        if !after.is_empty() && !after.starts_with(char::is_whitespace) {
            return Err(ParseTagsError::Glued(key));
        }
        tags.push((key, value));
        rest = after.trim_start();
    }
    Ok(tags)
}

/// The text up to the closing quotes, and what comes after them.
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
    fn tags_stand_between_blanks_or_lines() {
        assert_eq!(parsed("  a=1\tb=2\r\nc=d=e  "), [tag("a", "1"), tag("b", "2"), tag("c", "d=e")]);
        assert_eq!(parsed("empty= x=y"), [tag("empty", ""), tag("x", "y")]);
        assert_eq!(parsed(" \n "), []);
    }

    #[test]
    fn quotes_keep_blanks_together() {
        assert_eq!(parsed(r#"sql="select 1" b=2"#), [tag("sql", "select 1"), tag("b", "2")]);
        assert_eq!(parsed(r#"a="say \"hi\" \\ \n" b="""#), [tag("a", r#"say "hi" \ \n"#), tag("b", "")]);
    }

    #[test]
    fn what_is_no_tag_is_named() {
        assert_eq!(parse("a=1 error"), Err(ParseTagsError::NoValue("error".to_owned())));
        assert_eq!(parse("=x"), Err(ParseTagsError::NoValue("=x".to_owned())));
        assert_eq!(parse("a=\"x y"), Err(ParseTagsError::OpenQuotes("a".to_owned())));
        assert_eq!(parse("a=\"x\"y"), Err(ParseTagsError::Glued("a".to_owned())));
    }
}
