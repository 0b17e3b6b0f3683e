//! Instants in requests.

use chrono::{DateTime, Datelike as _, Utc};
use serde::Deserialize as _;
use serde::de::{Deserializer, Unexpected};

/// Parses an instant of RFC 3339 with an offset; `t` and `z` may be in either case. A leap second is no instant that the system
/// can store, and has a fraction of 1 s or more.
pub(crate) fn parse_instant(text: &str) -> Option<DateTime<Utc>> {
    let bytes = text.as_bytes();
    // chrono accepts other separators and years of more than four digits, too.
    let has_form = bytes.get(..4)?.iter().all(u8::is_ascii_digit) && matches!(bytes.get(10)?, b'T' | b't');
    let instant = DateTime::parse_from_rfc3339(text).ok().filter(|_| has_form && text.is_ascii())?;
    // In UTC, too, the year must have four digits.
    Some(instant.with_timezone(&Utc)).filter(|instant| (0..=9999).contains(&instant.year()))
}

/// Deserializes an optional member that contains an instant.
pub(super) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<DateTime<Utc>>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let expected = &"an RFC 3339 time with an offset, such as 2026-12-01T09:00:00+01:00";
    let invalid = || serde::de::Error::invalid_value(Unexpected::Str(&text), expected);
    parse_instant(&text).map(Some).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_has_an_offset_and_letters_in_either_case() {
        let nine: DateTime<Utc> = "2026-12-01T09:00:00Z".parse().unwrap();
        for text in [
            "2026-12-01T09:00:00Z",
            "2026-12-01t09:00:00z",
            "2026-12-01T10:00:00+01:00",
            "2026-12-01T04:00:00.000-05:00",
        ] {
            assert_eq!(parse_instant(text), Some(nine), "{text}");
        }
        for text in [
            "2026-12-01T09:00:00",
            "2026-12-01 09:00:00Z",
            "2026-12-01T09:00Z",
            "2026-12-01T09:00:00+0100",
            "2026-12-01T09:00:00\u{2212}01:00",
            "2026-12-01T09:00:61Z",
            "2026-12-01T24:00:00Z",
            "2026-02-29T09:00:00Z",
            "+12026-12-01T09:00:00Z",
            "12026-12-01T09:00:00Z",
            "2026-12-01T09:00:00+24:00",
            "9999-12-31T23:00:00-23:59",
            "0000-01-01T00:00:00+00:01",
            "2026-12-01T09:00:00Z ",
            "",
            "now",
        ] {
            assert_eq!(parse_instant(text), None, "{text}");
        }
        let leap = parse_instant("2026-12-31T23:59:60Z").unwrap();
        assert!(leap.timestamp_subsec_nanos() >= 1_000_000_000);
    }
}
