//! The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).

use axum::extract::OptionalFromRequestParts;
use axum::http::HeaderValue;
use axum::http::request::Parts;

use crate::api::IDEMPOTENCY_KEY;
use crate::error::{Code, Problem, Result};

/// Maximum length of a key, in bytes.
const MAX_KEY_BYTES: usize = 255;

/// The key of a request. `"abc"`, the form of the draft, and `abc`, which many clients send, are the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdempotencyKey {
    /// The key without quotation marks.
    pub(crate) key: String,
    /// The header as it was received, to pass it on.
    pub(crate) header: HeaderValue,
}

impl<S: Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>> {
        let mut headers = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(header) = headers.next() else { return Ok(None) };
        match parse(header).filter(|_| headers.next().is_none()) {
            Some(key) => Ok(Some(Self { key, header: header.clone() })),
            None => Err(Code::InvalidKey.into()),
        }
    }
}

fn parse(header: &HeaderValue) -> Option<String> {
    let text = header.to_str().ok()?.trim();
    let key = match text.strip_prefix('"') {
        Some(quoted) => unquote(quoted)?,
        None => text.to_owned(),
    };
    let is_valid = (1..=MAX_KEY_BYTES).contains(&key.len()) && !key.contains(char::is_control);
    is_valid.then_some(key)
}

/// Returns the text of a quoted string (RFC 9651, section 3.3.3) whose first quotation mark has been removed.
fn unquote(quoted: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = quoted.chars();
    loop {
        match rest.next()? {
            '"' => return rest.next().is_none().then_some(text),
            '\\' => text.push(rest.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            plain => text.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &[u8]) -> Option<String> {
        parse(&HeaderValue::from_bytes(text).unwrap())
    }

    #[test]
    fn the_quoted_and_the_bare_form_are_one_key() {
        assert_eq!(key(b"abc"), Some("abc".into()));
        assert_eq!(key(b"\"abc\""), Some("abc".into()));
        assert_eq!(key(b" \"a b\" "), Some("a b".into()));
        assert_eq!(key(br#""a\"b\\""#), Some(r#"a"b\"#.into()));
        assert_eq!(key(&[b'x'; 255]), Some("x".repeat(255)));
        assert_eq!(key(format!("\"{}\"", "x".repeat(255)).as_bytes()), Some("x".repeat(255)));
    }

    #[test]
    fn invalid_keys_are_rejected() {
        for bad in
            ["", " ", "\"\"", "\"abc", "\"abc\"d", "\"", r#""a\b""#, r#""abc\""#, "a\tb", "\"abc\"; x=1"]
        {
            assert_eq!(key(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(key("schlüssel".as_bytes()), None);
        assert_eq!(key(&[b'x'; 256]), None);
        assert_eq!(key(&[b'x'; 10_000]), None);
    }
}
