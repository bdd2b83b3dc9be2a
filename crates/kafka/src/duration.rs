//! Durations as people write them: `500ms`, `15s`, `5m`, `24h`, `400d`.
//!
//! A bare number is refused: whether `15` means seconds or milliseconds is the
//! kind of thing that is found out in production.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The units, largest first, in milliseconds.
const UNITS: &[(&str, u64)] = &[
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A length of time in whole milliseconds, written as one number and its unit:
/// `ms`, `s`, `m` (minutes), `h` or `d` (24 h).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

/// Why a text is not a [`Span`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// The unit is missing.
    #[error("a duration needs a unit (ms, s, m, h or d): write \"{0}s\" for {0} seconds")]
    NoUnit(String),
    /// The unit is none of ours.
    #[error("unknown unit of time \"{unit}\" in \"{text}\": use ms, s, m, h or d")]
    UnknownUnit {
        /// What stands for a unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// Not a whole number.
    #[error("a duration is a whole number and a unit, such as \"15s\" or \"500ms\": \"{0}\"")]
    NotANumber(String),
    /// More than can be counted in milliseconds.
    #[error("duration too long: \"{0}\"")]
    TooLong(String),
}

impl Span {
    /// Whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Whole days of 24 h.
    pub const fn from_days(days: u64) -> Self {
        Self::from_secs(days * 86_400)
    }

    /// As the standard library has it.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// In milliseconds.
    pub const fn as_millis(self) -> u64 {
        // The constructors and the parser start from 64 bits.
        self.0.as_millis() as u64
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start();
        if number.is_empty() || unit.starts_with(['.', ',']) {
            return Err(SpanError::NotANumber(text.to_owned()));
        }
        if unit.is_empty() {
            return Err(SpanError::NoUnit(number.to_owned()));
        }
        let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(SpanError::UnknownUnit {
                unit: unit.to_owned(),
                text: text.to_owned(),
            });
        };
        let number: u64 = number
            .parse()
            .map_err(|_| SpanError::TooLong(text.to_owned()))?;
        match number.checked_mul(*millis) {
            Some(millis) => Ok(Self::from_millis(millis)),
            None => Err(SpanError::TooLong(text.to_owned())),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.as_millis();
        let (unit, size) = UNITS
            .iter()
            .find(|(_, size)| millis != 0 && millis.is_multiple_of(*size))
            .unwrap_or(&("ms", 1));
        write!(f, "{}{unit}", millis / size)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"15s\", \"500ms\" or \"5m\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }

            // A bare number arrives as one: say what it lacks, not that it is of the wrong type.
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Span, E> {
                Err(E::custom(SpanError::NoUnit(number.to_string())))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Span, E> {
                Err(E::custom(SpanError::NotANumber(number.to_string())))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Span, E> {
                Err(E::custom(SpanError::NotANumber(number.to_string())))
            }
        }

        // `any`, because a number and a text are both worth an answer of their own.
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A whole number and its unit: ms, s, m (minutes), h or d (24 h).",
            "pattern": "^[0-9]+ ?(ms|s|m|h|d)$",
            "examples": ["500ms", "15s", "5m"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<u64, SpanError> {
        text.parse::<Span>().map(Span::as_millis)
    }

    #[test]
    fn every_unit_is_read() {
        let cases = [
            ("500ms", 500),
            ("15s", 15_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("400d", 34_560_000_000),
            ("0s", 0),
            (" 7 s ", 7_000),
        ];
        for (text, millis) in cases {
            assert_eq!(parsed(text), Ok(millis), "{text}");
        }
    }

    #[test]
    fn a_missing_unit_is_named() {
        assert_eq!(parsed("15"), Err(SpanError::NoUnit("15".into())));
        let from_number = serde_json::from_str::<Span>("15").unwrap_err().to_string();
        assert!(
            from_number.contains("needs a unit (ms, s, m, h or d)"),
            "{from_number}"
        );
        assert!(from_number.contains("write \"15s\""), "{from_number}");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        assert!(
            matches!(parsed("15 sec"), Err(SpanError::UnknownUnit { unit, .. }) if unit == "sec")
        );
        for text in ["", "s", "-5s", "1.5s", "1,5s", "soon"] {
            assert!(
                matches!(parsed(text), Err(SpanError::NotANumber(_))),
                "{text}"
            );
        }
        for text in ["99999999999999999999s", "18446744073709551615d"] {
            assert!(matches!(parsed(text), Err(SpanError::TooLong(_))), "{text}");
        }
    }

    #[test]
    fn it_is_written_in_the_largest_unit_that_loses_nothing() {
        let cases = [
            (Span::from_millis(0), "0ms"),
            (Span::from_millis(1_500), "1500ms"),
            (Span::from_secs(90), "90s"),
            (Span::from_secs(120), "2m"),
            (Span::from_days(400), "400d"),
        ];
        for (span, text) in cases {
            assert_eq!(span.to_string(), text);
            assert_eq!(text.parse(), Ok(span));
        }
    }
}
