//! The parameters of a query string: names and values, decoded.
//!
//! Of a name that is given more than once, most readers want the first value only, as Go's do. Unlike Go, which leaves
//! out what it cannot decode and so answers another question, this refuses it.

use std::borrow::Cow;

use super::{Refusal, go};

#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Refusal> {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        };
        Ok(Self(pairs.map(pair).collect::<Result<_, Refusal>>()?))
    }

    /// The first value of that name. An empty one counts as not given.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The value of version 3's `camelCase` name or else of its older `snake_case` alias, behind the name found.
    pub(super) fn aliased(&self, name: &'static str) -> Option<(Cow<'static, str>, &str)> {
        self.first(name).map(|value| (Cow::Borrowed(name), value)).or_else(|| {
            let alias = snake_case(name);
            let value = self.first(&alias)?;
            Some((Cow::Owned(alias), value))
        })
    }
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

fn decode(text: &str) -> Result<String, Refusal> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'+', after) => (b' ', after),
            (b'%', [high, low, after @ ..]) => (hex(*high, *low).ok_or_else(|| bad_escape(text))?, after),
            (b'%', _) => return Err(bad_escape(text)),
            (byte, after) => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    match String::from_utf8(bytes) {
        Ok(decoded) if !decoded.contains('\0') => Ok(decoded),
        Ok(_) => Err(Refusal::bad_request(format!("{:?} contains a NUL", go::clipped(text)))),
        Err(_) => Err(Refusal::bad_request(format!("{:?} is not UTF-8", go::clipped(text)))),
    }
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn bad_escape(text: &str) -> Refusal {
    Refusal::bad_request(format!("invalid URL escape in {:?}", go::clipped(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> Parameters {
        Parameters::parse(Some(query)).unwrap()
    }

    #[test]
    fn values_are_decoded_and_the_first_of_a_name_counts() {
        let parameters = parsed("a=x+y%2Bz%C3%BC&&a=2&b&=c&tag=k:v=w");
        assert_eq!(parameters.first("a"), Some("x y+zü"));
        assert_eq!(parameters.all("a").collect::<Vec<_>>(), ["x y+zü", "2"]);
        assert_eq!(parameters.first("b"), None, "empty is not given");
        assert_eq!(parameters.first("tag"), Some("k:v=w"));
        assert_eq!(parsed("a=&a=2").first("a"), None, "the first, even if empty");
        assert!(Parameters::parse(None).unwrap().first("a").is_none());
    }

    #[test]
    fn version_3_names_have_snake_case_aliases() {
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
    fn what_cannot_be_decoded_is_refused() {
        for query in ["a=%", "a=%4", "a=%zz", "%+1=a", "a=%ff", "a=%C3", "a=b%00", "%00=a", "a=%ü1"] {
            let refusal = Parameters::parse(Some(query)).unwrap_err();
            assert_eq!(refusal.status, 400, "{query}");
        }
    }
}
