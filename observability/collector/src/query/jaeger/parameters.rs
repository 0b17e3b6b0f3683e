//! The decoded parameters of a query string.
//!
//! For a repeated name most readers use the first value only, as Go does. Go drops pairs that it cannot decode; here they
//! are rejected. The `form_urlencoded` crate replaces malformed escapes instead of reporting them, so the query is split
//! here and decoded by `percent-encoding`.

use std::borrow::Cow;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use percent_encoding::percent_decode_str;

use super::error::ApiError;
use crate::go_syntax;
use crate::trace::TraceId;

#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        };
        Ok(Self(pairs.map(pair).collect::<Result<_, ApiError>>()?))
    }

    /// Returns the first value of a name; `None` if it is empty.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Returns the value of one of version 3's `camelCase` names or of its older `snake_case` alias, with the name used.
    pub(super) fn aliased(&self, name: &'static str) -> Option<(Cow<'static, str>, &str)> {
        self.first(name).map(|value| (Cow::Borrowed(name), value)).or_else(|| {
            let alias = snake_case(name);
            let value = self.first(&alias)?;
            Some((Cow::Owned(alias), value))
        })
    }

    /// Returns the name by which the request gives a parameter of version 3; without it, the `camelCase` name.
    pub(super) fn name_used(&self, name: &'static str) -> Cow<'static, str> {
        self.aliased(name).map_or(Cow::Borrowed(name), |(name, _)| name)
    }
}

/// Returns the parameter of a path.
pub(super) fn path_parameter(path: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    let Path(text) = path.map_err(|_| ApiError::bad_request("the path is not UTF-8"))?;
    Ok(text)
}

pub(super) fn parse_trace_id(text: &str) -> Result<TraceId, ApiError> {
    text.parse().map_err(|error| ApiError::bad_request(format!("{:?}: {error}", go_syntax::truncated(text))))
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 2);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn decode(text: &str) -> Result<String, ApiError> {
    let invalid = |what: &str| ApiError::bad_request(format!("{what} in {:?}", go_syntax::truncated(text)));
    if has_malformed_escape(text) {
        return Err(invalid("invalid URL escape"));
    }
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8().map_err(|_| invalid("invalid UTF-8"))?;
    if decoded.contains('\0') { Err(invalid("NUL")) } else { Ok(decoded.into_owned()) }
}

/// Returns whether a `%` is not followed by two hexadecimal digits; `percent-encoding` would leave it as it is.
fn has_malformed_escape(text: &str) -> bool {
    let is_escape = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    text.split('%').skip(1).any(|rest| !is_escape(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> Parameters {
        Parameters::parse(Some(query)).unwrap()
    }

    #[test]
    fn decodes_values_and_returns_the_first_of_a_name() {
        let parameters = parsed("a=x+y%2Bz%C3%BC&&a=2&b&=c&tag=k:v=w");
        assert_eq!(parameters.first("a"), Some("x y+zü"));
        assert_eq!(parameters.all("a").collect::<Vec<_>>(), ["x y+zü", "2"]);
        assert_eq!(parameters.first("b"), None, "an empty value counts as missing");
        assert_eq!(parameters.first("tag"), Some("k:v=w"));
        assert_eq!(parsed("a=&a=2").first("a"), None, "the first value counts, even if it is empty");
        assert!(Parameters::parse(None).unwrap().first("a").is_none());
    }

    #[test]
    fn finds_snake_case_aliases_of_version_3_names() {
        let parameters = parsed("query.start_time_min=old&query.serviceName=new&query.service_name=old");
        assert_eq!(
            parameters.aliased("query.startTimeMin"),
            Some((Cow::Owned("query.start_time_min".to_owned()), "old"))
        );
        assert_eq!(
            parameters.aliased("query.serviceName"),
            Some((Cow::Borrowed("query.serviceName"), "new"))
        );
        assert_eq!(parameters.aliased("query.durationMin"), None);
    }

    #[test]
    fn rejects_malformed_escapes_invalid_utf8_and_nul() {
        for query in ["a=%", "a=%4", "a=%zz", "a=%%41", "%+1=a", "a=%ff", "a=%C3", "a=b%00", "%00=a", "a=%ü1"]
        {
            let error = Parameters::parse(Some(query)).unwrap_err();
            assert_eq!(error.status, 400, "{query}");
        }
    }
}
