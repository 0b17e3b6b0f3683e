//! Parses numbers, booleans, durations and times as Jaeger's clients send them, with the error texts of Go's standard
//! library, which those clients show. Formats durations and times as Jaeger's warnings contain them.
//!
//! Durations are parsed by hand: `humantime` and `jiff` do not accept Go's fractions (`1.5s`, `0.2ms`), and crates for Go's
//! syntax are unmaintained. Times are parsed by `chrono`.

use std::num::IntErrorKind;

use chrono::DateTime;

/// Longest part of a caller's text that an error message repeats, in bytes.
const MAX_QUOTED: usize = 100;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    #[error("strconv.{function}: parsing {text:?}: {reason}")]
    Number { function: &'static str, text: String, reason: &'static str },
    #[error("time: invalid duration {0:?}")]
    Duration(String),
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit { unit: String, text: String },
    #[error("parsing time {0:?} as \"2006-01-02T15:04:05.999999999Z07:00\": invalid or out of range")]
    Time(String),
}

/// Returns the first 100 bytes of a text, for an error message.
pub(super) fn truncated(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_QUOTED)]
}

pub(super) fn parse_int(text: &str) -> Result<i64, ParseError> {
    text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => out_of_range(text),
        _ => ParseError::Number { function: "ParseInt", text: quoted(text), reason: "invalid syntax" },
    })
}

pub(super) fn out_of_range(text: &str) -> ParseError {
    ParseError::Number { function: "ParseInt", text: quoted(text), reason: "value out of range" }
}

pub(crate) fn parse_bool(text: &str) -> Result<bool, ParseError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(ParseError::Number { function: "ParseBool", text: quoted(text), reason: "invalid syntax" }),
    }
}

/// Parses an RFC 3339 time into nanoseconds since the epoch; times before 1970 are negative.
///
/// Digits beyond nanoseconds are cut off.
pub(crate) fn parse_time(text: &str) -> Result<i128, ParseError> {
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| ParseError::Time(quoted(text)))?;
    Ok(i128::from(time.timestamp()) * 1_000_000_000 + i128::from(time.timestamp_subsec_nanos()))
}

/// Parses a duration such as `1.5s`, `2h45m`, `300µs` or `0` into nanoseconds.
///
/// Signs are rejected: no span has a negative duration.
pub(crate) fn parse_duration(text: &str) -> Result<u64, ParseError> {
    let invalid = || ParseError::Duration(quoted(text));
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err(invalid());
    }
    let (mut total, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let (number, after) = split(rest, |letter| !is_number(letter));
        let (unit, after) = split(after, is_number);
        if number.is_empty() {
            return Err(invalid());
        }
        if unit.is_empty() {
            return Err(ParseError::MissingUnit(quoted(text)));
        }
        let unit_ns = unit_ns(unit)
            .ok_or_else(|| ParseError::UnknownUnit { unit: quoted(unit), text: quoted(text) })?;
        let ns = scaled(number, unit_ns).ok_or_else(invalid)?;
        total = total.checked_add(ns).filter(|total| i64::try_from(*total).is_ok()).ok_or_else(invalid)?;
        rest = after;
    }
    Ok(total)
}

/// Formats nanoseconds as Go's `time.Duration`: `1h0m2.5s`, `-4ms`, `1.5µs`.
pub(crate) fn format_duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let (unit, decimals, suffix) = match ns {
        0 => return "0s".to_owned(),
        1..1_000 => (1, 0, "ns"),
        1_000..1_000_000 => (1_000, 3, "\u{b5}s"),
        1_000_000..1_000_000_000 => (1_000_000, 6, "ms"),
        _ => (1_000_000_000, 9, "s"),
    };
    let (whole, fraction) = (ns / unit, fraction(ns % unit, decimals));
    let (hours, minutes) = (whole / 3600, whole / 60 % 60);
    match (suffix, whole) {
        ("s", 3600..) => format!("{sign}{hours}h{minutes}m{}{fraction}s", whole % 60),
        ("s", 60..) => format!("{sign}{minutes}m{}{fraction}s", whole % 60),
        _ => format!("{sign}{whole}{fraction}{suffix}"),
    }
}

/// Formats nanoseconds since the epoch as Go's `time.Time` in UTC: `2026-11-26 05:46:40.0655 +0000 UTC`.
pub(crate) fn format_time(ns: i64) -> String {
    let time = DateTime::from_timestamp_nanos(ns);
    let fraction = fraction(time.timestamp_subsec_nanos().into(), 9);
    format!("{}{fraction} +0000 UTC", time.format("%Y-%m-%d %H:%M:%S"))
}

/// Formats a fraction of the given number of decimals, without zeros at its end.
fn fraction(number: u64, decimals: usize) -> String {
    let digits = if number == 0 { String::new() } else { format!(".{number:0decimals$}") };
    digits.trim_end_matches('0').to_owned()
}

fn quoted(text: &str) -> String {
    truncated(text).to_owned()
}

/// Splits a text before the first matching letter.
fn split(text: &str, at: fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(at).unwrap_or(text.len()))
}

fn is_number(letter: char) -> bool {
    letter == '.' || letter.is_ascii_digit()
}

fn unit_ns(unit: &str) -> Option<u64> {
    match unit {
        "ns" => Some(1),
        // U+00B5 (micro sign) and U+03BC (Greek mu).
        "us" | "\u{b5}s" | "\u{3bc}s" => Some(1000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => None,
    }
}

/// Returns a decimal number of units in nanoseconds, or `None` if it is malformed or out of range.
fn scaled(number: &str, unit_ns: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // An hour in nanoseconds has 13 digits; digits of the fraction beyond the 18th are less than a nanosecond.
    let fraction = &fraction[..fraction.len().min(18)];
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let part = part * u128::from(unit_ns) / 10_u128.pow(fraction.len() as u32);
    whole.checked_mul(unit_ns)?.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_durations_as_go_does() {
        for (text, ns) in [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("1.2ms", 1_200_000),
            (".5us", 500),
            ("1.s", 1_000_000_000),
            ("3µs", 3000),
            ("3μs", 3000),
            ("2h45m0.5s", 9_900_500_000_000),
            ("1000000000ns", 1_000_000_000),
            ("0.333333333333333333333h", 1_199_999_999_999),
            ("9223372036854775807ns", i64::MAX as u64),
        ] {
            assert_eq!(parse_duration(text), Ok(ns), "{text}");
        }
    }

    #[test]
    fn rejects_invalid_durations_with_the_messages_of_go() {
        for (text, message) in [
            ("20", "time: missing unit in duration \"20\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
            ("", "time: invalid duration \"\""),
            (".s", "time: invalid duration \".s\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
            ("-5s", "time: invalid duration \"-5s\""),
            ("s", "time: invalid duration \"s\""),
            ("9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""),
            ("99999999999999999999999s", "time: invalid duration \"99999999999999999999999s\""),
            ("2562047h48m", "time: invalid duration \"2562047h48m\""),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), message);
        }
        let long = parse_duration(&"ü".repeat(10_000)).unwrap_err().to_string();
        assert!(long.len() < 200, "{long}");
    }

    #[test]
    fn rejects_invalid_numbers_and_booleans_with_the_messages_of_go() {
        assert_eq!((parse_int("-7"), parse_int("+7")), (Ok(-7), Ok(7)));
        let message = |text| parse_int(text).unwrap_err().to_string();
        assert_eq!(message("x"), "strconv.ParseInt: parsing \"x\": invalid syntax");
        assert_eq!(
            message("9223372036854775808"),
            "strconv.ParseInt: parsing \"9223372036854775808\": value out of range"
        );
        assert_eq!((parse_bool("T"), parse_bool("0")), (Ok(true), Ok(false)));
        assert_eq!(
            parse_bool("yes").unwrap_err().to_string(),
            "strconv.ParseBool: parsing \"yes\": invalid syntax"
        );
    }

    #[test]
    fn formats_durations_and_times_as_go_does() {
        for (ns, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1\u{b5}s"),
            (-4_000_000, "-4ms"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (3_600_000_000_000, "1h0m0s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(format_duration(ns), text);
        }
        for (ns, text) in [
            (0, "1970-01-01 00:00:00 +0000 UTC"),
            (-1, "1969-12-31 23:59:59.999999999 +0000 UTC"),
            (1_795_455_841_500_000_000, "2026-11-23 17:44:01.5 +0000 UTC"),
        ] {
            assert_eq!(format_time(ns), text);
        }
    }

    #[test]
    fn parses_times_in_any_zone_to_the_nanosecond() {
        for (text, ns) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-23T17:44:01Z", 1_795_455_841_000_000_000),
            ("2026-11-23T18:44:01.5+01:00", 1_795_455_841_500_000_000),
            ("2026-11-23T11:14:01.000000001-06:30", 1_795_455_841_000_000_001),
            ("2000-02-29T00:00:00.1234567899Z", 951_782_400_123_456_789),
            ("1969-12-31T23:59:59.9Z", -100_000_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000_000_000),
        ] {
            assert_eq!(parse_time(text), Ok(ns), "{text}");
        }
    }

    #[test]
    fn rejects_invalid_times() {
        for text in [
            "",
            "T",
            "1795455841",
            "2026-11-23",
            "2026-11-23T17:44:01",
            "2026-11-23T17:44Z",
            "2026-11-23T17:44:01.Z",
            "2026-11-23T17:44:01.xZ",
            "2026-11-23T24:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "+026-01-01T00:00:00Z",
            "2026-11-23T17:44:01Zx",
            "2026-11-23T17:44:01+1:00",
            "2026-11-23T17:44:01+0100",
            "2026-11-23T17:44:01ü",
            "99999-11-23T17:44:01Z",
        ] {
            assert!(parse_time(text).is_err(), "{text:?}");
        }
    }
}
