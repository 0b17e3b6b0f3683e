//! Texts and numbers in the forms that JavaScript programs and hand-written files use.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A text; numbers and booleans become text, and null the empty text.
#[derive(Debug, Default)]
pub(super) struct Text(pub(super) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Text, E> {
                Ok(Text(text))
            }

            fn visit_bool<E: Error>(self, flag: bool) -> Result<Text, E> {
                Ok(Text(flag.to_string()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_unit<E: Error>(self) -> Result<Text, E> {
                Ok(Text::default())
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

/// A number of microseconds, converted to nanoseconds. It may be negative, have decimals, or be a text; null is 0.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Microseconds(pub(super) i128);

/// A time that nanoseconds since the epoch cannot represent.
#[derive(Debug, thiserror::Error)]
#[error("{0} µs exceed the range of nanosecond timestamps, which ends in the year 2554")]
pub(super) struct TimeOutOfRange(i128);

impl Microseconds {
    /// Returns nanoseconds since the epoch; 0 for an earlier time.
    pub(super) fn since_epoch(self) -> Result<u64, TimeOutOfRange> {
        u64::try_from(self.0.max(0)).map_err(|_| TimeOutOfRange(self.0 / 1000))
    }
}

impl<'de> Deserialize<'de> for Microseconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MicrosecondsVisitor;

        impl Visitor<'_> for MicrosecondsVisitor {
            type Value = Microseconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of microseconds")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Microseconds, E> {
                Ok(Microseconds(i128::from(number) * 1000))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Microseconds, E> {
                Ok(Microseconds(i128::from(number) * 1000))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Microseconds, E> {
                // Conversions saturate.
                let whole = number.trunc() as i64;
                Ok(Microseconds(1000 * i128::from(whole) + (number.fract() * 1000.0).round() as i128))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Microseconds, E> {
                let wrong = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
                match text.parse::<i64>() {
                    Ok(number) => self.visit_i64(number),
                    Err(_) => {
                        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
                        let number = number.ok_or_else(wrong)?;
                        self.visit_f64(number)
                    }
                }
            }

            fn visit_unit<E: Error>(self) -> Result<Microseconds, E> {
                Ok(Microseconds::default())
            }
        }

        deserializer.deserialize_any(MicrosecondsVisitor)
    }
}
