//! Durations, times and counts in the form in which pages and reports show them.

use chrono::{DateTime, SecondsFormat, Utc};

/// Formats a duration with three significant digits and a unit: `950 ns`, `1.25 ms`, `12.3 s`, `2 min 5 s`, `3 h 20 min`.
pub fn duration(ns: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
    let seconds = ns / 1_000_000_000;
    match ns {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{ns} ns"),
        60_000_000_000..3_600_000_000_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600_000_000_000.. => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => {
            let (unit, size) = UNITS.into_iter().rfind(|(_, size)| ns >= *size).unwrap_or(UNITS[0]);
            let value = ns as f64 / size as f64;
            let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
            format!("{value:.decimals$} {unit}")
        }
    }
}

/// Formats a time as RFC 3339 in UTC, to the microsecond.
pub fn instant(ns: u64) -> String {
    utc(ns).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Formats a time as day and time of day in UTC, to the millisecond.
pub fn short_instant(ns: u64) -> String {
    utc(ns).format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// Formats a count: `1 span`, `2 spans`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn utc(ns: u64) -> DateTime<Utc> {
    // A u64 of nanoseconds reaches the year 2554, which chrono can represent.
    DateTime::from_timestamp((ns / 1_000_000_000) as i64, (ns % 1_000_000_000) as u32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        for (ns, expected) in [
            (0, "0 s"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (1_250_000, "1.25 ms"),
            (12_340_000, "12.3 ms"),
            (500_000_000, "500 ms"),
            (59_900_000_000, "59.9 s"),
            (125_000_000_000, "2 min 5 s"),
            (12_000_000_000_000, "3 h 20 min"),
        ] {
            assert_eq!(duration(ns), expected);
        }
    }

    #[test]
    fn formats_the_earliest_and_the_latest_time() {
        assert_eq!(instant(1_795_455_811_000_500_999), "2026-11-23T17:43:31.000500Z");
        assert_eq!(short_instant(0), "1970-01-01 00:00:00.000");
        assert_eq!(&short_instant(u64::MAX)[..4], "2554");
    }
}
