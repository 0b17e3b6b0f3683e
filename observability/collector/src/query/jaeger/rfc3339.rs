//! Times as version 3 of the API writes them: `2026-11-23T17:44:01.5Z`, `2026-11-23T18:44:01+01:00`.

mod write;

use super::go::{ParseError, clipped};
pub(super) use write::of_milliseconds;

/// Nanoseconds since the epoch, negative before it. Digits beyond nanoseconds are cut off.
pub(crate) fn parse(text: &str) -> Result<i128, ParseError> {
    instant(text).ok_or_else(|| ParseError::Time(clipped(text).to_owned()))
}

fn instant(text: &str) -> Option<i128> {
    let (date, rest) = text.split_once('T')?;
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let (clock, zone) = rest.split_at(rest.find(['Z', '+', '-'])?);
    let (clock, fraction) = match clock.split_once(['.', ',']) {
        Some((clock, fraction)) => (clock, nanoseconds(fraction)?),
        None => (clock, 0),
    };
    let [hour, minute, second] = fields(clock, ':', [2, 2, 2])?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_of(month, year)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let seconds =
        days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset(zone)?;
    in_range.then(|| i128::from(seconds) * 1_000_000_000 + i128::from(fraction))
}

/// Numbers of exactly so many digits.
fn fields<const N: usize>(text: &str, separator: char, lengths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, length) in numbers.iter_mut().zip(lengths) {
        let part = parts.next().filter(|part| part.len() == length && is_digits(part))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn nanoseconds(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || !is_digits(fraction) {
        return None;
    }
    format!("{:0<9}", &fraction[..fraction.len().min(9)]).parse().ok()
}

/// Seconds east of Greenwich.
fn offset(zone: &str) -> Option<i64> {
    let (sign, zone) = match zone.split_at_checked(1)? {
        ("Z", "") => return Some(0),
        ("+", zone) => (1, zone),
        ("-", zone) => (-1, zone),
        _ => return None,
    };
    let [hours, minutes] = fields(zone, ':', [2, 2])?;
    (hours <= 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_of(month: i64, year: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Howard Hinnant's `days_from_civil`: years begin in March, so that a leap day is their last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond_in_any_zone() {
        for (text, ns) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-23T17:44:01Z", 1_795_455_841_000_000_000),
            ("2026-11-23T18:44:01.5+01:00", 1_795_455_841_500_000_000),
            ("2026-11-23T11:14:01,000000001-06:30", 1_795_455_841_000_000_001),
            ("2000-02-29T00:00:00.1234567899Z", 951_782_400_123_456_789),
            ("1969-12-31T23:59:59.9Z", -100_000_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(ns), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "T",
            "1795455841",
            "2026-11-23",
            "2026-11-23 17:44:01Z",
            "2026-11-23T17:44:01",
            "2026-11-23T17:44Z",
            "2026-11-23T17:44:01.Z",
            "2026-11-23T17:44:01.xZ",
            "2026-11-23T17:44:60Z",
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
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
