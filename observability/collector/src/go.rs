//! Numbers, flags and durations as Go reads them, and its words for what it cannot read: Jaeger's clients know both.

use std::num::IntErrorKind;

/// Longest part of a caller's text that is repeated to it.
const MAX_SHOWN: usize = 100;

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
    #[error("parsing time {0:?} as \"2006-01-02T15:04:05.999999999Z07:00\": no such time")]
    Time(String),
}

/// The beginning of a text, for an error.
pub(super) fn clipped(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_SHOWN)]
}

pub(super) fn parse_int(text: &str) -> Result<i64, ParseError> {
    text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => out_of_range(text),
        _ => ParseError::Number { function: "ParseInt", text: owned(text), reason: "invalid syntax" },
    })
}

pub(super) fn out_of_range(text: &str) -> ParseError {
    ParseError::Number { function: "ParseInt", text: owned(text), reason: "value out of range" }
}

pub(crate) fn parse_bool(text: &str) -> Result<bool, ParseError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(ParseError::Number { function: "ParseBool", text: owned(text), reason: "invalid syntax" }),
    }
}

/// Nanoseconds of a duration such as `1.5s`, `2h45m`, `300µs` or `0`. Go would take a negative one, but no span has it.
pub(crate) fn parse_duration(text: &str) -> Result<u64, ParseError> {
    let invalid = || ParseError::Duration(owned(text));
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        if unit.is_empty() {
            return Err(ParseError::MissingUnit(owned(text)));
        }
        let unit_ns =
            unit_ns(unit).ok_or_else(|| ParseError::UnknownUnit { unit: owned(unit), text: owned(text) })?;
        let ns = scaled(whole, fraction, unit_ns).ok_or_else(invalid)?;
        total = total.checked_add(ns).filter(|total| i64::try_from(*total).is_ok()).ok_or_else(invalid)?;
        rest = after;
    }
    Ok(total)
}

fn owned(text: &str) -> String {
    clipped(text).to_owned()
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()))
}

fn is_number(letter: char) -> bool {
    letter == '.' || letter.is_ascii_digit()
}

fn unit_ns(unit: &str) -> Option<u64> {
    match unit {
        "ns" => Some(1),
        // The micro sign and the Greek letter, which look the same.
        "us" | "\u{b5}s" | "\u{3bc}s" => Some(1000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => None,
    }
}

fn scaled(whole: &str, fraction: &str, unit_ns: u64) -> Option<u64> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Hours have 13 digits of nanoseconds, so what stands further right is less than one.
    let fraction = &fraction[..fraction.len().min(18)];
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let part = part * u128::from(unit_ns) / 10_u128.pow(fraction.len() as u32);
    whole.checked_mul(unit_ns)?.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, ns) in [
            ("0", 0),
            ("+0", 0),
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
    fn a_duration_that_is_none_is_refused_in_gos_words() {
        for (text, message) in [
            ("20", "time: missing unit in duration \"20\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
            ("", "time: invalid duration \"\""),
            (".s", "time: invalid duration \".s\""),
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
    fn numbers_and_flags_are_refused_in_gos_words() {
        assert_eq!((parse_int("-7"), parse_int("+7")), (Ok(-7), Ok(7)));
        let words = |text| parse_int(text).unwrap_err().to_string();
        assert_eq!(words("x"), "strconv.ParseInt: parsing \"x\": invalid syntax");
        assert_eq!(
            words("9223372036854775808"),
            "strconv.ParseInt: parsing \"9223372036854775808\": value out of range"
        );
        assert_eq!((parse_bool("T"), parse_bool("0")), (Ok(true), Ok(false)));
        assert_eq!(
            parse_bool("yes").unwrap_err().to_string(),
            "strconv.ParseBool: parsing \"yes\": invalid syntax"
        );
    }
}
