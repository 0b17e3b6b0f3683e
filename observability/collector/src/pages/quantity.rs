//! Durations and times as people read them.

use chrono::{DateTime, SecondsFormat, Utc};

/// Three digits or so, in the unit that suits: `950ns`, `1.25ms`, `12.3s`, `2m 5s`, `3h 20m`.
pub(super) fn duration(ns: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
    let seconds = ns / 1_000_000_000;
    match ns {
        0 => "0s".to_owned(),
        1..1_000 => format!("{ns}ns"),
        60_000_000_000..3_600_000_000_000 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600_000_000_000.. => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => {
            let (unit, size) = UNITS.into_iter().rfind(|(_, size)| ns >= *size).unwrap_or(UNITS[0]);
            let value = ns as f64 / size as f64;
            let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
            let digits = format!("{value:.decimals$}");
            let digits =
                if decimals > 0 { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
            format!("{digits}{unit}")
        }
    }
}

/// RFC 3339 in UTC, to the microsecond.
pub(super) fn instant(ns: u64) -> String {
    utc(ns).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Day and time of day in UTC, to the millisecond.
pub(super) fn short_instant(ns: u64) -> String {
    utc(ns).format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// `1 span`, `2 spans`.
pub(super) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

fn utc(ns: u64) -> DateTime<Utc> {
    // 64 bits of nanoseconds end in the year 2554.
    DateTime::from_timestamp((ns / 1_000_000_000) as i64, (ns % 1_000_000_000) as u32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_few_digits_and_a_unit() {
        for (ns, expected) in [
            (0, "0s"),
            (999, "999ns"),
            (1_000, "1µs"),
            (1_250_000, "1.25ms"),
            (12_340_000, "12.3ms"),
            (500_000_000, "500ms"),
            (59_900_000_000, "59.9s"),
            (125_000_000_000, "2m 5s"),
            (12_000_000_000_000, "3h 20m"),
        ] {
            assert_eq!(duration(ns), expected);
        }
    }

    #[test]
    fn every_time_can_be_shown() {
        assert_eq!(instant(1_795_455_811_000_500_999), "2026-11-23T17:43:31.000500Z");
        assert_eq!(short_instant(0), "1970-01-01 00:00:00.000");
        assert_eq!(&short_instant(u64::MAX)[..4], "2554");
    }
}
