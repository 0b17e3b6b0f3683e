//! Writes times as Go's JSON of protobuf does.

/// `2026-11-23T17:44:01.000Z` of milliseconds since the epoch. Howard Hinnant's `civil_from_days`: years begin in
/// March, so that a leap day is their last.
pub(in crate::query::jaeger) fn of_milliseconds(since_epoch: i64) -> String {
    let days = since_epoch.div_euclid(86_400_000) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = (months_since_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let ms = since_epoch.rem_euclid(86_400_000);
    let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::query::jaeger::rfc3339::parse;

    #[test]
    fn times_are_written_to_the_millisecond() {
        assert_eq!(of_milliseconds(1_795_455_841_000), "2026-11-23T17:44:01.000Z");
        assert_eq!(of_milliseconds(951_782_400_007), "2000-02-29T00:00:00.007Z");
        assert_eq!(of_milliseconds(-1), "1969-12-31T23:59:59.999Z");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_as_the_same_time(ms in -62_135_596_800_000..253_402_300_800_000_i64) {
            prop_assert_eq!(parse(&of_milliseconds(ms)), Ok(i128::from(ms) * 1_000_000));
        }
    }
}
