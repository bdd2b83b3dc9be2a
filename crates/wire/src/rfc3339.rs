//! Times and dates as contracts write them.
//!
//! In: RFC 3339 with an offset. Nearly every producer writes one of a few
//! forms, which [`parse_time`] reads by position; whatever looks otherwise goes
//! to the core's complete parser, so that both agree on every text.
//!
//! Out: [`UtcTime`] in UTC with `Z`, [`CalendarDate`] as `YYYY-MM-DD`.

use std::borrow::Cow;

use churnwatch_core::time::{DAY_MS, Day, EventTime, TimeError, parse_day};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Parses RFC 3339 with an offset, to the millisecond (finer is cut off):
/// [`EventTime::parse`], only faster.
///
/// # Errors
/// Says what is wrong with the text.
pub fn parse_time(text: &str) -> Result<EventTime, TimeError> {
    match parse_usual(text.as_bytes()) {
        Some(time) => Ok(time),
        None => EventTime::parse(text),
    }
}

/// Reads `YYYY-MM-DDTHH:MM:SS[.fraction](Z|+HH:MM|-HH:MM)` from 1970 to 2999.
/// `None` says only that the text looks otherwise, not that it is wrong.
fn parse_usual(text: &[u8]) -> Option<EventTime> {
    let (head, tail) = text.split_at_checked(19)?;
    let separators = [head[4], head[7], head[10], head[13], head[16]];
    if separators != *b"--T::" {
        return None;
    }
    let year = two_digits(&head[0..2])? * 100 + two_digits(&head[2..4])?;
    let (month, day) = (two_digits(&head[5..7])?, two_digits(&head[8..10])?);
    let (hour, minute) = (two_digits(&head[11..13])?, two_digits(&head[14..16])?);
    let second = two_digits(&head[17..19])?;
    let usual = (1970..3000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !usual {
        return None;
    }
    let (fraction_ms, offset) = match tail.split_first()? {
        (b'.', digits) => parse_fraction(digits)?,
        _ => (0, tail),
    };
    let offset_ms = parse_offset(offset)?;
    let in_day = (hour * 3_600 + minute * 60 + second) * 1_000 + fraction_ms;
    let millis = days_since_epoch(year, month, day) * DAY_MS + in_day - offset_ms;
    // Before 1970 a fraction is cut off in the other direction.
    (millis >= 0).then(|| EventTime::from_millis(millis))
}

/// The value of two ASCII digits.
fn two_digits(text: &[u8]) -> Option<i64> {
    let (tens, ones) = (text[0].wrapping_sub(b'0'), text[1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// Milliseconds of one to nine digits after the point, and what follows them.
fn parse_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let digit = |place: usize| {
        if place < digits {
            i64::from(text[place] - b'0')
        } else {
            0
        }
    };
    Some((digit(0) * 100 + digit(1) * 10 + digit(2), &text[digits..]))
}

/// Milliseconds that `Z`, `+HH:MM` or `-HH:MM` lies ahead of UTC.
fn parse_offset(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        b"Z" => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    if digits.len() != 5 || digits[2] != b':' {
        return None;
    }
    let (hours, minutes) = (two_digits(&digits[0..2])?, two_digits(&digits[3..5])?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar. The year is
/// thought to begin in March, so that the leap day comes last.
const fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    // 719468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + (month * 153 + 2) / 5 + (day - 1) - 719_468
}

/// A time, written as RFC 3339 in UTC with `Z`; whole seconds without a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UtcTime(pub EventTime);

impl Serialize for UtcTime {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UtcTime {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        parse_time(&text).map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for UtcTime {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "UtcTime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// A calendar day, written `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CalendarDate(pub Day);

impl Serialize for CalendarDate {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CalendarDate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        parse_day(&text).map(Self).map_err(de::Error::custom)
    }
}

impl JsonSchema for CalendarDate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "CalendarDate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agrees(text: &str) {
        let (ours, cores) = (parse_time(text), EventTime::parse(text));
        assert_eq!(ours, cores, "{text}");
    }

    #[test]
    fn the_usual_forms_take_the_fast_path() {
        for text in [
            "2026-03-01T09:30:00Z",
            "2026-03-01T09:30:00.1Z",
            "2026-03-01T09:30:00.123456789+01:00",
            "2024-02-29T23:59:59-11:30",
            "1970-01-01T00:00:00Z",
        ] {
            assert_eq!(
                parse_usual(text.as_bytes()),
                EventTime::parse(text).ok(),
                "{text}"
            );
            assert!(parse_usual(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn odd_and_wrong_texts_are_judged_as_the_core_judges_them() {
        for text in [
            "",
            "Z",
            "2026-03-01",
            "2026-03-01T09:30:00",
            "2026-03-01T09:30:00z",
            "2026-03-01 09:30:00Z",
            "2026-03-01T09:30Z",
            "2026-03-01T09:30:60Z",
            "2026-03-01T24:00:00Z",
            "2025-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.1234567890Z",
            "2026-01-01T00:00:00+0100",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00-00:00",
            "2026-01-01T00:00:00+01:00[Europe/Berlin]",
            "1969-12-31T23:59:59.9999Z",
            "1970-01-01T00:00:00.0005+00:01",
            "+002026-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "２０２６-01-01T00:00:00Z",
        ] {
            agrees(text);
        }
    }

    proptest! {
        #[test]
        fn a_time_in_the_usual_form_is_read_as_the_core_reads_it(
            (year, month, day) in (1960_i32..3010, 1_u8..14, 0_u8..33),
            (hour, minute, second) in (0_u8..26, 0_u8..62, 0_u8..62),
            fraction in prop_oneof![Just(String::new()), "\\.[0-9]{0,10}"],
            offset in prop_oneof![Just("Z".to_owned()), "[+-][0-2][0-9]:[0-6][0-9]"],
        ) {
            agrees(&format!(
                "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{offset}"
            ));
        }

        #[test]
        fn a_time_with_a_wrong_byte_is_judged_as_the_core_judges_it(
            place in 0_usize..25, byte in 32_u8..127,
        ) {
            let mut text = b"2026-03-01T09:30:00.5+01:00".to_vec();
            text[place] = byte;
            agrees(std::str::from_utf8(&text).expect("ascii"));
        }

        #[test]
        fn a_written_time_reads_back(millis in -10_000_000_000_000_i64..30_000_000_000_000) {
            let time = EventTime::from_millis(millis);
            prop_assert_eq!(parse_time(&time.to_string()), Ok(time));
        }
    }

    #[test]
    fn days_are_counted_through_every_leap_rule() {
        for (text, day) in [
            ("1970-01-01", 0),
            ("2000-02-29", 11_016),
            ("2100-03-01", 47_541),
        ] {
            let time = parse_usual(format!("{text}T00:00:00Z").as_bytes()).expect("usual");
            assert_eq!(time.utc_day(), Day(day), "{text}");
        }
    }
}
